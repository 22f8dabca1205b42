#include "backends/kernels/blend.hpp"

#include "test/backends/kernel_checks.hpp"

using namespace osteon;
using namespace osteon::test;

namespace {

const Shape kShapes[] = {{1}, {3, 5}, {0, 4}, {2, 3, 33}, {37, 128}};

/// `values`, onto what a sink held where it adds.
std::vector<double> onto(const Array& old, bool add, std::vector<double> values) {
  for (std::size_t i = 0; add && i < values.size(); ++i)
    values[i] += old.at(static_cast<std::int64_t>(i));
  return values;
}

}  // namespace

TEST_CASE("lerp and its gradients agree with plain loops") {
  for (const Shape& shape : kShapes)
    for (const DType dtype : kFloating) {
      CAPTURE(shape);
      CAPTURE(dtype);
      const Array a = Array::random(dtype, shape, 1), b = Array::random(dtype, shape, 2),
                  gate = Array::random(dtype, shape, 3), dy = Array::random(dtype, shape, 4),
                  old = Array::random(dtype, shape, 5);
      std::vector<double> want, want_a, want_b, want_gate;
      for (std::int64_t i = 0; i < a.numel(); ++i) {
        want.push_back(a.at(i) + (b.at(i) - a.at(i)) * gate.at(i));
        want_a.push_back(dy.at(i) * (1 - gate.at(i)));
        want_b.push_back(dy.at(i) * gate.at(i));
        want_gate.push_back(dy.at(i) * (b.at(i) - a.at(i)));
      }
      Array y(dtype, shape);
      kernels::lerp(kDevice, a.view(), b.view(), gate.view(), y.view());
      check_close(y, want, 4);
      for (const bool add : {false, true}) {
        Array da = old, db = old, dgate = old, alone = old, in_place = dy;
        kernels::lerp_backward(kDevice, dy.view(), a.view(), b.view(), gate.view(), da.sink(add), db.sink(add),
                               dgate.sink(add));
        check_close(da, onto(old, add, want_a), 4);
        check_close(db, onto(old, add, want_b), 4);
        check_close(dgate, onto(old, add, want_gate), 4);
        kernels::lerp_backward(kDevice, dy.view(), a.view(), b.view(), gate.view(), {}, alone.sink(add), {});
        CHECK(alone == db);
        if (!add) {  // a sink may be dy
          kernels::lerp_backward(kDevice, in_place.view(), a.view(), b.view(), gate.view(), in_place.sink(false),
                                 alone.sink(false), dgate.sink(false));
          CHECK(in_place == da);
          CHECK(alone == db);
        }
      }
    }
}

TEST_CASE("gated_key and its gradients agree with plain loops") {
  for (const Shape& shape : kShapes)
    for (const DType dtype : kFloating) {
      CAPTURE(shape);
      CAPTURE(dtype);
      const std::int64_t d = shape[-1];
      const Array k = Array::random(dtype, shape, 1), gate = Array::random(dtype, shape, 2),
                  strength = Array::random(dtype, {d}, 3), dy = Array::random(dtype, shape, 4),
                  old = Array::random(dtype, shape, 5), old_strength = Array::random(accumulator(dtype), {d}, 6);
      std::vector<double> want, want_k, want_gate, want_strength(static_cast<std::size_t>(d));
      for (std::int64_t i = 0; i < k.numel(); ++i) {
        const double s = strength.at(i % d), factor = 1 + (gate.at(i) - 1) * s;
        want.push_back(k.at(i) * factor);
        want_k.push_back(dy.at(i) * factor);
        want_gate.push_back(dy.at(i) * k.at(i) * s);
        want_strength[static_cast<std::size_t>(i % d)] += dy.at(i) * k.at(i) * (gate.at(i) - 1);
      }
      Array y(dtype, shape);
      kernels::gated_key(kDevice, k.view(), gate.view(), strength.view(), y.view());
      check_close(y, want, 4);
      for (const bool add : {false, true}) {
        Array dk = old, dgate = old, dstrength = old_strength, alone = old_strength, in_place = dy;
        kernels::gated_key_backward(kDevice, dy.view(), k.view(), gate.view(), strength.view(), dk.sink(add),
                                    dgate.sink(add), dstrength.sink(add));
        check_close(dk, onto(old, add, want_k), 4);
        check_close(dgate, onto(old, add, want_gate), 4);
        check_close(dstrength, onto(old_strength, add, want_strength), 32);
        kernels::gated_key_backward(kDevice, dy.view(), k.view(), gate.view(), strength.view(), {}, {},
                                    alone.sink(add));
        CHECK(alone == dstrength);
        if (!add) {
          kernels::gated_key_backward(kDevice, in_place.view(), k.view(), gate.view(), strength.view(),
                                      in_place.sink(false), {}, alone.sink(false));
          CHECK(in_place == dk);
          CHECK(alone == dstrength);
        }
      }
    }
}

TEST_CASE("lerp and gated_key give the same bits for any number of threads and any split of the rows") {
  const std::int64_t rows = 80, d = 103;
  for (const DType dtype : kFloating) {
    const Array x = Array::random(dtype, {rows, d}, 1), gate = Array::random(dtype, {rows, d}, 2),
                strength = Array::random(dtype, {d}, 3);
    const auto run = [&](std::int64_t step) {
      std::vector<Array> out(7, x);
      out.push_back(Array::random(accumulator(dtype), {d}, 4));
      for (std::int64_t n = 0; n < rows; n += step) {
        const auto part = [&](auto& a) { return a.view().slice_rows(n, n + step); };
        const auto onto = [&](Array& a) { return Sink{part(a), true}; };
        kernels::lerp(kDevice, part(x), part(x), part(gate), part(out[0]));
        kernels::lerp_backward(kDevice, part(x), part(x), part(gate), part(gate), onto(out[1]), onto(out[2]),
                               onto(out[3]));
        kernels::gated_key(kDevice, part(x), part(gate), strength.view(), part(out[4]));
        kernels::gated_key_backward(kDevice, part(x), part(x), part(gate), strength.view(), onto(out[5]), onto(out[6]),
                                    out[7].sink(true));
      }
      return out;
    };
    CHECK(run(rows) == run(20));
    check_thread_counts([&] { return run(rows); });
  }
}

TEST_CASE("lerp and gated_key refuse shapes and dtypes that do not fit") {
  Array a(DType::f32, {2, 3}), b(DType::f32, {3, 2}), half(DType::bf16, {2, 3}), two(DType::f32, {2}),
      three(DType::f32, {3});
  CHECK_THROWS_WITH_AS(kernels::lerp(kDevice, a.view(), b.view(), a.view(), a.view()),
                       "lerp: b, gate and y: expected shape [2, 3], got [3, 2]", ShapeError);
  CHECK_THROWS_AS(kernels::lerp(kDevice, a.view(), a.view(), a.view(), half.view()), ShapeError);
  CHECK_THROWS_AS(kernels::lerp_backward(kDevice, a.view(), a.view(), a.view(), a.view(), {}, {}, half.sink(false)),
                  ShapeError);
  CHECK_THROWS_WITH_AS(kernels::gated_key(kDevice, a.view(), a.view(), two.view(), a.view()),
                       "gated_key: strength: expected 3 elements, got shape [2]", ShapeError);
  CHECK_THROWS_AS(
      kernels::gated_key_backward(kDevice, a.view(), a.view(), a.view(), three.view(), b.sink(false), {}, {}),
      ShapeError);
  CHECK_THROWS_AS(
      kernels::gated_key_backward(kDevice, a.view(), a.view(), a.view(), three.view(), {}, {}, two.sink(false)),
      ShapeError);
}
