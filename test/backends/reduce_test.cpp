#include "backends/kernels/reduce.hpp"

#include <functional>

#include "test/backends/kernel_checks.hpp"

using namespace osteon;
using namespace osteon::test;

namespace {

double scalar(const std::function<void(Sink)>& run, DType dtype, double old, bool add) {
  Array out(dtype, {});
  out.set(0, old);
  run(out.sink(add));
  return out.at(0);
}

}  // namespace

TEST_CASE("sum and sum_squares agree with plain loops") {
  for (const std::int64_t n : {0, 1, 7, 4095, 4096, 4097, 50001})
    for (const DType dtype : kFloating)
      for (const DType to : {accumulator(dtype), DType::f64})
        for (const bool add : {false, true}) {
          CAPTURE(n);
          CAPTURE(dtype);
          const Array x = Array::random(dtype, {n}, 1);
          double sum = 0, squares = 0;
          for (const double value : x.doubles()) {
            sum += value;
            squares += value * value;
          }
          const double old = add ? 5 : 0, tolerance = to == DType::f64 ? 1e-12 : 1e-6;
          CHECK(scalar([&](Sink out) { kernels::sum(kDevice, x.view(), -2, out); }, to, 5, add) ==
                doctest::Approx(old - 2 * sum).epsilon(tolerance));
          CHECK(scalar([&](Sink out) { kernels::sum_squares(kDevice, x.view(), out); }, DType::f64, 5, add) ==
                doctest::Approx(old + squares).epsilon(1e-12));
        }
}

TEST_CASE("a sum's factor may lie in the device's memory") {
  const Array x = Array::random(DType::f32, {1000}, 1);
  Array third(DType::f64, {1});
  third.set(0, 1.0 / 3);
  const auto sum = [&](const Factor& factor) {
    return scalar([&](Sink out) { kernels::sum(kDevice, x.view(), factor, out); }, DType::f64, 2, true);
  };
  CHECK(sum({1.0, third.view()}) == sum(1.0 / 3));
  CHECK(sum({-2.0, third.view()}) == sum(-2.0 * (1.0 / 3)));
}

TEST_CASE("sums over more elements than one batch of blocks are complete") {
  const std::int64_t n = 512 * 4096 + 4096 + 3;
  const Array ones = [&] {
    Array a(DType::bf16, {n});
    for (std::int64_t i = 0; i < n; ++i)
      a.set(i, 1);
    return a;
  }();
  CHECK(scalar([&](Sink out) { kernels::sum(kDevice, ones.view(), 1, out); }, DType::f64, 0, false) ==
        static_cast<double>(n));
}

TEST_CASE("sums take elements from any place in memory") {
  for (const DType dtype : kFloating) {
    const Array x = Array::random(dtype, {5000, 1}, 1);
    for (const std::int64_t first : {1, 3, 8}) {
      double sum = 0;
      for (std::int64_t i = first; i < 4999; ++i)
        sum += x.at(i);
      const ConstView part = x.view().slice_rows(first, 4999);
      CHECK(scalar([&](Sink out) { kernels::sum(kDevice, part, 1, out); }, DType::f64, 0, false) ==
            doctest::Approx(sum).epsilon(1e-12));
    }
  }
}

TEST_CASE("column sums agree with plain loops, onto a sink of any floating dtype") {
  for (const Shape& shape : {Shape{1, 1}, Shape{7, 3}, Shape{0, 5}, Shape{3, 0}, Shape{200, 130}, Shape{2, 9, 65}})
    for (const DType dtype : kFloating)
      for (const DType to : kFloating)
        for (const bool add : {false, true}) {
          CAPTURE(shape);
          CAPTURE(dtype);
          CAPTURE(to);
          const std::int64_t d = shape[-1];
          const Array a = Array::random(dtype, shape, 1), b = Array::random(to, shape, 2),
                      old = Array::random(to, {d}, 3);
          std::vector<double> sum(static_cast<std::size_t>(d)), dot(static_cast<std::size_t>(d));
          for (std::int64_t j = 0; j < d; ++j) {
            const auto at = static_cast<std::size_t>(j);
            sum[at] = dot[at] = add ? old.at(j) : 0;
            for (std::int64_t n = 0; n < shape.rows(); ++n) {
              sum[at] += a.at(n * d + j);
              dot[at] += a.at(n * d + j) * b.at(n * d + j);
            }
          }
          Array y = old, z = old;
          kernels::column_sum(kDevice, a.view(), y.sink(add));
          kernels::column_dot(kDevice, a.view(), b.view(), z.sink(add));
          const double slack = to == DType::f64 && dtype != DType::f64 ? 0x1p30 : 20;  // column sums of f32 in f64
          check_close(y, sum, slack);
          check_close(z, dot, slack);
        }
}

TEST_CASE("row sums of squares agree with plain loops") {
  for (const Shape& shape : {Shape{1, 1}, Shape{7, 3}, Shape{0, 5}, Shape{200, 130}})
    for (const DType dtype : kFloating) {
      const Array x = Array::random(dtype, shape, 1);
      Array y(accumulator(dtype), {shape[0]});
      kernels::row_sum_squares(kDevice, x.view(), y.view());
      std::vector<double> want(static_cast<std::size_t>(shape[0]));
      for (std::int64_t i = 0; i < x.numel(); ++i)
        want[static_cast<std::size_t>(i / shape[1])] += x.at(i) * x.at(i);
      check_close(y, want, 4);
    }
}

TEST_CASE("reductions give the same bits for any number of threads and any split of the rows") {
  for (const DType dtype : kFloating) {
    const Array x = Array::random(dtype, {300, 200}, 1), y = Array::random(dtype, {300, 200}, 2);
    const DType sums = accumulator(dtype);
    const auto columns = [&](std::int64_t step) {
      std::vector<Array> out(2, Array::random(sums, {200}, 3));
      for (std::int64_t row = 0; row < 300; row += step) {
        const std::int64_t end = std::min<std::int64_t>(row + step, 300);
        kernels::column_sum(kDevice, x.view().slice_rows(row, end), out[0].sink(true));
        kernels::column_dot(kDevice, x.view().slice_rows(row, end), y.view().slice_rows(row, end), out[1].sink(true));
      }
      return out;
    };
    CHECK(columns(300) == columns(77));
    check_thread_counts([&] {
      std::vector<Array> out = columns(300);
      out.insert(out.end(), 3, Array(DType::f64, {}));
      kernels::sum(kDevice, x.view(), 0.7, out[2].sink(false));
      kernels::sum_squares(kDevice, x.view(), out[3].sink(false));
      out[4] = Array(sums, {300});
      kernels::row_sum_squares(kDevice, x.view(), out[4].view());
      return out;
    });
  }
}

TEST_CASE("count_nonfinite counts NaN and both infinities") {
  for (const DType dtype : kFloating) {
    Array x = Array::random(dtype, {30001}, 1), count(DType::i32, {});
    kernels::count_nonfinite(kDevice, x.view(), count.view());
    CHECK(count.at(0) == 0);
    x.set(0, std::nan(""));
    x.set(20000, INFINITY);
    x.set(30000, -INFINITY);
    kernels::count_nonfinite(kDevice, x.view(), count.view());
    CHECK(count.at(0) == 3);
  }
}

TEST_CASE("argmax_rows takes the first of equals, and NaN as the largest") {
  for (const DType dtype : kFloating) {
    Array x(dtype, {5, 4}), index(DType::i32, {5});
    const double rows[] = {1, 3, 3, 2, -1,        -2,        -INFINITY, -0.5, 1, std::nan(""), 7, std::nan(""),
                           0, 0, 0, 0, -INFINITY, -INFINITY, -INFINITY, -1};
    for (std::int64_t i = 0; i < 20; ++i)
      x.set(i, rows[i]);
    kernels::argmax_rows(kDevice, x.view(), index.view());
    CHECK(index.doubles() == std::vector<double>{1, 3, 1, 0, 3});
  }
}

TEST_CASE("argmax_rows finds the largest of rows of any width, and of many rows") {
  for (const Shape& shape : {Shape{9, 33}, Shape{2, 1000}, Shape{100, 70}}) {
    CAPTURE(shape);
    const Array x = Array::random(DType::f32, shape, 7);
    Array index(DType::i32, {shape[0]});
    kernels::argmax_rows(kDevice, x.view(), index.view());
    for (std::int64_t row = 0; row < shape[0]; ++row) {
      std::int64_t best = 0;
      for (std::int64_t j = 1; j < shape[1]; ++j)
        if (x.at(row * shape[1] + j) > x.at(row * shape[1] + best))
          best = j;
      CHECK(index.at(row) == static_cast<double>(best));
    }
  }
}

TEST_CASE("reductions refuse shapes and dtypes that do not fit") {
  Array x(DType::f32, {2, 3}), two(DType::f32, {2}), index(DType::i32, {1}), wide(DType::f64, {2}),
      ids(DType::i32, {2, 3});
  CHECK_THROWS_WITH_AS(kernels::sum(kDevice, x.view(), 1, two.sink(false)),
                       "sum: out: expected 1 elements, got shape [2]", ShapeError);
  CHECK_THROWS_WITH_AS(kernels::sum(kDevice, ids.view(), 1, two.sink(false)), "sum: expected a floating dtype, got i32",
                       ShapeError);
  CHECK_THROWS_AS(kernels::sum_squares(kDevice, x.view(), two.sink(false)), ShapeError);
  CHECK_THROWS_AS(kernels::column_sum(kDevice, x.view(), two.sink(false)), ShapeError);
  CHECK_THROWS_AS(kernels::column_dot(kDevice, x.view(), two.view(), two.sink(false)), ShapeError);
  CHECK_THROWS_AS(kernels::row_sum_squares(kDevice, x.view(), wide.view()), ShapeError);
  CHECK_THROWS_AS(kernels::count_nonfinite(kDevice, x.view(), two.view()), ShapeError);
  CHECK_THROWS_AS(kernels::argmax_rows(kDevice, x.view(), index.view()), ShapeError);
  CHECK_THROWS_AS(kernels::argmax_rows(kDevice, Array(DType::f32, {1, 0}).view(), index.view()), ShapeError);
}
