#include "backends/kernels/swiglu.hpp"

#include "test/backends/kernel_checks.hpp"
#include "test/reference/swiglu.hpp"

using namespace osteon;
using namespace osteon::test;

namespace {

Array wide_random(DType dtype, const Shape& shape, std::uint64_t seed) {
  Array a = Array::random(dtype, shape, seed);
  for (std::int64_t i = 0; i < a.numel(); ++i)
    a.set(i, 20 * a.at(i));
  return a;
}

}  // namespace

TEST_CASE("swiglu and its gradient agree with plain loops") {
  for (const Shape& shape : {Shape{1}, Shape{3, 5}, Shape{0, 4}, Shape{2, 3, 33}, Shape{70, 512}})
    for (const DType dtype : kFloating) {
      CAPTURE(shape);
      CAPTURE(dtype);
      const Array gate = wide_random(dtype, shape, 1), up = Array::random(dtype, shape, 2),
                  dy = Array::random(dtype, shape, 3);
      Array y(dtype, shape);
      kernels::swiglu(kDevice, gate.view(), up.view(), y.view());
      std::vector<double> want, want_gate, want_up;
      for (std::int64_t i = 0; i < y.numel(); ++i) {
        want.push_back(reference::swiglu(gate.at(i), up.at(i)));
        want_gate.push_back(reference::swiglu_dgate(dy.at(i), gate.at(i), up.at(i)));
        want_up.push_back(reference::swiglu_dup(dy.at(i), gate.at(i)));
      }
      check_close(y, want, 2);
      for (const bool add : {false, true}) {
        const Array old = Array::random(dtype, shape, 4);
        Array dgate = old, dup = old, gate_alone = old, up_alone = old;
        kernels::swiglu_backward(kDevice, dy.view(), gate.view(), up.view(), dgate.sink(add), dup.sink(add));
        auto sum = [&](std::vector<double> to) {
          for (std::size_t i = 0; add && i < to.size(); ++i)
            to[i] += old.at(static_cast<std::int64_t>(i));
          return to;
        };
        check_close(dgate, sum(want_gate), 8);
        check_close(dup, sum(want_up), 4);
        kernels::swiglu_backward(kDevice, dy.view(), gate.view(), up.view(), gate_alone.sink(add), {});
        kernels::swiglu_backward(kDevice, dy.view(), gate.view(), up.view(), {}, up_alone.sink(add));
        CHECK(gate_alone == dgate);
        CHECK(up_alone == dup);
      }
    }
}

TEST_CASE("swiglu is stable far from zero and lets NaN through") {
  Array gate(DType::f32, {4}), up(DType::f32, {4}), y(DType::f32, {4}), dgate = y, dup = y;
  const double values[] = {-500, 500, std::nan(""), -0.0};
  for (std::int64_t i = 0; i < 4; ++i) {
    gate.set(i, values[i]);
    up.set(i, 2);
  }
  kernels::swiglu(kDevice, gate.view(), up.view(), y.view());
  CHECK(y.at(0) == 0);
  CHECK(y.at(1) == 1000);
  CHECK(std::isnan(y.at(2)));
  CHECK(y.at(3) == 0);
  kernels::swiglu_backward(kDevice, up.view(), gate.view(), up.view(), dgate.sink(false), dup.sink(false));
  CHECK(dgate.at(0) == 0);
  CHECK(dgate.at(1) == 4);
  CHECK(std::isnan(dgate.at(2)));
  CHECK(dgate.at(3) == 2);
  CHECK(std::isnan(dup.at(2)));
}

TEST_CASE("swiglu gives the same bits for any number of threads") {
  for (const DType dtype : kFloating) {
    const Array x = wide_random(dtype, {211, 303}, 1);
    check_thread_counts([&] {
      std::vector<Array> out(3, x);
      kernels::swiglu(kDevice, x.view(), x.view(), out[0].view());
      kernels::swiglu_backward(kDevice, x.view(), x.view(), x.view(), out[1].sink(true), out[2].sink(true));
      return out;
    });
  }
}

TEST_CASE("swiglu refuses shapes and dtypes that do not fit") {
  Array a(DType::f32, {2, 3}), b(DType::f32, {3, 2}), half(DType::bf16, {2, 3});
  CHECK_THROWS_WITH_AS(kernels::swiglu(kDevice, a.view(), b.view(), a.view()),
                       "swiglu: up: expected shape [2, 3], got [3, 2]", ShapeError);
  CHECK_THROWS_AS(kernels::swiglu(kDevice, a.view(), a.view(), half.view()), ShapeError);
  CHECK_THROWS_AS(kernels::swiglu_backward(kDevice, b.view(), a.view(), a.view(), {}, {}), ShapeError);
  CHECK_THROWS_AS(kernels::swiglu_backward(kDevice, a.view(), a.view(), a.view(), half.sink(false), {}), ShapeError);
  CHECK_THROWS_AS(kernels::swiglu_backward(kDevice, a.view(), a.view(), a.view(), {}, b.sink(false)), ShapeError);
}
