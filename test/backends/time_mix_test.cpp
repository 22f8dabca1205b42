#include "backends/kernels/time_mix.hpp"

#include "test/backends/kernel_checks.hpp"

using namespace osteon;
using namespace osteon::test;

namespace {

/// The operands, and what plain loops make of them.
struct Case {
  Array x, mix, extra, last, dy;
  bool with_extra, with_last;
  std::vector<double> y, dx, dmix, dextra;

  Case(DType dtype, const Shape& shape, bool extra_given, bool last_given)
      : x(Array::random(dtype, shape, 1)),
        mix(Array::random(dtype, {shape[2]}, 2)),
        extra(Array::random(dtype, shape, 3)),
        last(Array::random(dtype, {shape[0], shape[2]}, 4)),
        dy(Array::random(dtype, shape, 5)),
        with_extra(extra_given),
        with_last(last_given),
        dx(static_cast<std::size_t>(shape.numel())),
        dmix(static_cast<std::size_t>(shape[2])) {
    const std::int64_t seq_len = shape[1], d = shape[2];
    for (std::int64_t i = 0; i < x.numel(); ++i) {
      const std::int64_t row = i / d, j = i % d;
      const bool first = row % seq_len == 0;
      const double before = !first ? x.at(i - d) : with_last ? last.at(row / seq_len * d + j) : 0;
      const double way = before - x.at(i), share = mix.at(j) + (with_extra ? extra.at(i) : 0);
      y.push_back(x.at(i) + way * share);
      dextra.push_back(dy.at(i) * way);
      dmix[static_cast<std::size_t>(j)] += dy.at(i) * way;
      dx[static_cast<std::size_t>(i)] += dy.at(i) * (1 - share);
      if (!first)
        dx[static_cast<std::size_t>(i - d)] += dy.at(i) * share;
    }
  }

  ConstView extra_view() const { return with_extra ? extra.view() : ConstView{}; }
  ConstView last_view() const { return with_last ? last.view() : ConstView{}; }
  void backward(Sink to_x, Sink to_mix, Sink to_extra) const {
    kernels::time_mix_backward(kDevice, dy.view(), x.view(), mix.view(), extra_view(), last_view(), to_x, to_mix,
                               to_extra);
  }
};

std::vector<double> onto(const Array& old, bool add, std::vector<double> values) {
  for (std::size_t i = 0; add && i < values.size(); ++i)
    values[i] += old.at(static_cast<std::int64_t>(i));
  return values;
}

}  // namespace

TEST_CASE("time_mix and its gradients agree with plain loops") {
  for (const Shape& shape : {Shape{1, 1, 1}, Shape{2, 1, 3}, Shape{0, 3, 4}, Shape{2, 5, 7}, Shape{3, 9, 64}})
    for (const DType dtype : kFloating)
      for (const bool with_extra : {false, true})
        for (const bool with_last : {false, true}) {
          CAPTURE(shape);
          CAPTURE(dtype);
          CAPTURE(with_extra);
          CAPTURE(with_last);
          const Case c(dtype, shape, with_extra, with_last);
          Array y(dtype, shape);
          kernels::time_mix(kDevice, c.x.view(), c.mix.view(), c.extra_view(), c.last_view(), y.view());
          check_close(y, c.y, 8);
          const Array old = Array::random(dtype, shape, 6), old_mix = Array::random(accumulator(dtype), {shape[2]}, 7);
          for (const bool add : {false, true}) {
            Array dx = old, dextra = old, dmix = old_mix, x_alone = old, extra_alone = old, mix_alone = old_mix;
            c.backward(dx.sink(add), dmix.sink(add), dextra.sink(add));
            check_close(dx, onto(old, add, c.dx), 8);
            check_close(dextra, onto(old, add, c.dextra), 8);
            check_close(dmix, onto(old_mix, add, c.dmix), 32);
            c.backward(x_alone.sink(add), {}, {});
            c.backward({}, mix_alone.sink(add), {});
            c.backward({}, {}, extra_alone.sink(add));
            CHECK(x_alone == dx);
            CHECK(mix_alone == dmix);
            CHECK(extra_alone == dextra);
          }
        }
}

TEST_CASE("time_mix gives the same bits for any number of threads and any split of the batch") {
  const std::int64_t batch = 6, seq_len = 13, d = 40;
  for (const DType dtype : kFloating) {
    const Case c(dtype, {batch, seq_len, d}, true, true);
    const auto run = [&](std::int64_t step) {
      std::vector<Array> out(3, c.x);
      out.push_back(Array::random(accumulator(dtype), {d}, 8));
      for (std::int64_t n = 0; n < batch; n += step) {
        const auto part = [&](auto& a) {
          return a.view().slice_rows(n * seq_len, (n + step) * seq_len).reshape({step, seq_len, d});
        };
        const ConstView last = c.last.view().slice_rows(n, n + step);
        kernels::time_mix(kDevice, part(c.x), c.mix.view(), part(c.extra), last, part(out[0]));
        kernels::time_mix_backward(kDevice, part(c.dy), part(c.x), c.mix.view(), part(c.extra), last,
                                   {part(out[1]), true}, out[3].sink(true), {part(out[2]), false});
      }
      return out;
    };
    CHECK(run(batch) == run(2));
    check_thread_counts([&] { return run(batch); });
  }
}

TEST_CASE("time_mix refuses shapes and dtypes that do not fit") {
  Array x(DType::f32, {2, 3, 4}), mix(DType::f32, {4}), small(DType::f32, {3}), other(DType::f32, {3, 2, 4}),
      half(DType::bf16, {2, 3, 4}), last(DType::f32, {2, 4}), wrong_last(DType::f32, {3, 4});
  CHECK_THROWS_WITH_AS(kernels::time_mix(kDevice, x.view(), small.view(), {}, {}, x.view()),
                       "time_mix: mix: expected 4 elements, got shape [3]", ShapeError);
  CHECK_THROWS_AS(kernels::time_mix(kDevice, x.view(), mix.view(), other.view(), {}, x.view()), ShapeError);
  CHECK_THROWS_AS(kernels::time_mix(kDevice, x.view(), mix.view(), {}, wrong_last.view(), x.view()), ShapeError);
  CHECK_THROWS_AS(kernels::time_mix(kDevice, x.view(), mix.view(), {}, last.view(), half.view()), ShapeError);
  CHECK_THROWS_AS(kernels::time_mix_backward(kDevice, other.view(), x.view(), mix.view(), {}, {}, {}, {}, {}),
                  ShapeError);
  CHECK_THROWS_AS(kernels::time_mix_backward(kDevice, x.view(), x.view(), mix.view(), {}, {}, half.sink(false), {}, {}),
                  ShapeError);
  CHECK_THROWS_AS(
      kernels::time_mix_backward(kDevice, x.view(), x.view(), mix.view(), {}, {}, {}, small.sink(false), {}),
      ShapeError);
}
