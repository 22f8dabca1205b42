#include "backends/kernels/elementwise.hpp"

#include <functional>

#include "test/backends/kernel_checks.hpp"

using namespace osteon;
using namespace osteon::test;

namespace {

const Shape kShapes[] = {{1, 1}, {3, 5}, {0, 4}, {4, 0}, {1, 129}, {65, 1}, {2, 3, 7}, {130, 257}};

std::vector<double> zip(const Array& a, const Array& b, const std::function<double(double, double)>& f) {
  std::vector<double> out;
  for (std::int64_t i = 0; i < a.numel(); ++i)
    out.push_back(f(a.at(i), b.at(i)));
  return out;
}

}  // namespace

TEST_CASE("copy converts between all dtypes with one rounding") {
  for (const Shape& shape : kShapes)
    for (const DType from : {DType::f32, DType::bf16, DType::f64, DType::i32})
      for (const DType to : {DType::f32, DType::bf16, DType::f64, DType::i32}) {
        CAPTURE(from);
        CAPTURE(to);
        Array x = Array::random(from == DType::i32 ? DType::f64 : from, shape, 1), y(to, shape);
        for (std::int64_t i = 0; i < x.numel(); ++i)
          x.set(i, 1000 * x.at(i));
        if (from == DType::i32)
          x = converted(x, DType::i32);
        kernels::copy(kDevice, x.view(), y.view());
        std::vector<double> want = x.doubles();
        if (to == DType::i32)
          for (double& value : want)
            value = std::nearbyint(value);
        check_close(y, want, 0);
      }
}

TEST_CASE("copy rounds f64 and i32 to bf16 once, to nearest even") {
  // 1 + 2^-8 lies between two bf16 values; a little more decides, and an f32 on the way would forget it.
  const double half_way = 1 + 0x1p-8;
  Array x(DType::f64, {6}), y(DType::bf16, {6});
  const double values[] = {half_way, half_way + 0x1p-40, half_way - 0x1p-40, -half_way - 0x1p-40, 1e300, 0x1p-140};
  for (std::int64_t i = 0; i < 6; ++i)
    x.set(i, values[i]);
  kernels::copy(kDevice, x.view(), y.view());
  CHECK(y.at(0) == 1);
  CHECK(y.at(1) == 1 + 0x1p-7);
  CHECK(y.at(2) == 1);
  CHECK(y.at(3) == -1 - 0x1p-7);
  CHECK(y.at(4) == INFINITY);
  CHECK(y.at(5) == 0);
  const Array whole = integers({1}, {(1 << 25) + (1 << 17) + 1});  // 1 + 2^-8 + 2^-25, times 2^25
  Array rounded(DType::bf16, {1});
  kernels::copy(kDevice, whole.view(), rounded.view());
  CHECK(rounded.at(0) == (1 + 0x1p-7) * 0x1p25);
}

TEST_CASE("copy to i32 rounds to even, saturates and makes NaN 0") {
  Array x(DType::f64, {6}), y(DType::i32, {6});
  const double values[] = {0.5, 1.5, -2.5, 1e12, -1e12, std::nan("")};
  for (std::int64_t i = 0; i < 6; ++i)
    x.set(i, values[i]);
  kernels::copy(kDevice, x.view(), y.view());
  CHECK(y.doubles() == std::vector<double>{0, 2, -2, 2147483647.0, -2147483648.0, 0});
}

TEST_CASE("fill, add, mul and scale agree with plain loops") {
  for (const Shape& shape : kShapes)
    for (const DType dtype : kFloating) {
      CAPTURE(shape);
      CAPTURE(dtype);
      const Array a = Array::random(dtype, shape, 1), b = Array::random(dtype, shape, 2),
                  old = Array::random(dtype, shape, 3);
      Array y = old;
      kernels::fill(kDevice, y.view(), 0.1);
      check_close(y, std::vector<double>(static_cast<std::size_t>(shape.numel()), 0.1), 0);
      kernels::add(kDevice, a.view(), b.view(), y.view());
      const std::vector<double> sum = zip(a, b, std::plus<>());
      check_close(y, sum, 0);
      for (const bool add : {false, true}) {
        Array product = old;
        kernels::mul(kDevice, a.view(), b.view(), product.sink(add));
        std::vector<double> want = zip(a, b, std::multiplies<>());
        for (std::size_t i = 0; add && i < want.size(); ++i)
          want[i] += old.at(static_cast<std::int64_t>(i));
        check_close(product, want, 1);
        for (const DType to : kFloating) {
          const Array start = Array::random(to, shape, 4);
          Array scaled = start;
          kernels::scale(kDevice, a.view(), -1.5, scaled.sink(add));
          check_close(scaled, zip(a, start, [&](double v, double s) { return -1.5 * v + (add ? s : 0); }), 1);
        }
      }
    }
}

TEST_CASE("elementwise kernels may work in place and keep NaN, infinity and -0") {
  Array x(DType::f32, {4}), one(DType::f32, {4});
  const double values[] = {std::nan(""), INFINITY, -0.0, 2};
  for (std::int64_t i = 0; i < 4; ++i) {
    x.set(i, values[i]);
    one.set(i, 1);
  }
  kernels::mul(kDevice, x.view(), one.view(), x.sink(false));
  CHECK(std::isnan(x.at(0)));
  CHECK(x.at(1) == INFINITY);
  CHECK(std::signbit(x.at(2)));
  CHECK(x.at(3) == 2);
}

TEST_CASE("row and column factors and biases agree with plain loops") {
  for (const Shape& shape : {Shape{1, 1}, Shape{3, 5}, Shape{0, 4}, Shape{2, 3, 7}, Shape{130, 257}})
    for (const DType dtype : kFloating)
      for (const DType factor_dtype : kFloating) {
        CAPTURE(shape);
        CAPTURE(dtype);
        CAPTURE(factor_dtype);
        const std::int64_t rows = shape.rows(), d = shape[-1];
        const Array x = Array::random(dtype, shape, 1), old = Array::random(dtype, shape, 2),
                    factors = Array::random(factor_dtype, {d}, 3), bias = Array::random(factor_dtype, {d}, 4),
                    by_row = Array::random(factor_dtype, {rows}, 5);
        const auto each = [&](const std::function<double(std::int64_t, std::int64_t, std::int64_t)>& f) {
          std::vector<double> out;
          for (std::int64_t n = 0; n < rows; ++n)
            for (std::int64_t j = 0; j < d; ++j)
              out.push_back(f(n * d + j, n, j));
          return out;
        };
        Array y = x;
        kernels::repeat_rows(kDevice, bias.view(), y.view());
        check_close(y, each([&](auto, auto, auto j) { return bias.at(j); }), 1);
        for (const bool add : {false, true})
          for (const bool with_bias : {false, true}) {
            y = old;
            kernels::scale_columns(kDevice, x.view(), factors.view(), with_bias ? bias.view() : ConstView{},
                                   y.sink(add));
            check_close(y, each([&](auto i, auto, auto j) {
                          return x.at(i) * factors.at(j) + (with_bias ? bias.at(j) : 0) + (add ? old.at(i) : 0);
                        }),
                        2);
          }
        for (const DType to : kFloating) {
          Array scaled(to, shape);
          kernels::scale_rows(kDevice, x.view(), by_row.view(), scaled.view());
          check_close(scaled, each([&](auto i, auto n, auto) { return x.at(i) * by_row.at(n); }), 1);
        }
      }
}

TEST_CASE("transpose and copy_columns move elements, and add where asked to") {
  for (const DType dtype : kFloating)
    for (const bool add : {false, true}) {
      for (const Shape& shape : {Shape{1, 1}, Shape{3, 5}, Shape{33, 70}, Shape{0, 4}, Shape{200, 130}}) {
        const std::int64_t d = shape[0], k = shape[1];
        const Array x = Array::random(dtype, shape, 1), old = Array::random(dtype, {k, d}, 2);
        Array y = old;
        kernels::transpose(kDevice, x.view(), y.sink(add));
        std::vector<double> want;
        for (std::int64_t j = 0; j < k; ++j)
          for (std::int64_t i = 0; i < d; ++i)
            want.push_back(x.at(i * k + j) + (add ? old.at(j * d + i) : 0));
        check_close(y, want, 0);
      }
      for (const DType to : kFloating) {
        const Array x = Array::random(dtype, {70, 9}, 1), old = Array::random(to, {70, 5}, 2);
        Array y = old;
        kernels::copy_columns(kDevice, x.view(), 4, y.sink(add), 1, 3);
        std::vector<double> want;
        for (std::int64_t n = 0; n < 70; ++n)
          for (std::int64_t j = 0; j < 5; ++j)
            want.push_back(j < 1 || j > 3 ? old.at(n * 5 + j) : x.at(n * 9 + 3 + j) + (add ? old.at(n * 5 + j) : 0));
        check_close(y, want, 1);
      }
    }
}

TEST_CASE("elementwise kernels give the same bits for any number of threads") {
  for (const DType dtype : kFloating) {
    const Array x = Array::random(dtype, {150, 257}, 1), b = Array::random(dtype, {257}, 2);
    check_thread_counts([&] {
      std::vector<Array> out(5, x);
      kernels::mul(kDevice, x.view(), x.view(), out[0].sink(true));
      kernels::scale(kDevice, x.view(), 0.3, out[1].sink(true));
      kernels::scale_columns(kDevice, x.view(), b.view(), b.view(), out[2].sink(true));
      kernels::repeat_rows(kDevice, b.view(), out[3].view());
      out[4] = Array(dtype, {257, 150});
      kernels::transpose(kDevice, x.view(), out[4].sink(true));
      return out;
    });
  }
}

TEST_CASE("elementwise kernels refuse shapes and dtypes that do not fit") {
  Array a(DType::f32, {2, 3}), b(DType::f32, {3, 2}), half(DType::bf16, {2, 3}), ids(DType::i32, {2, 3}),
      d(DType::f32, {2});
  CHECK_THROWS_WITH_AS(kernels::add(kDevice, a.view(), b.view(), a.view()), "add: b: expected shape [2, 3], got [3, 2]",
                       ShapeError);
  CHECK_THROWS_WITH_AS(kernels::add(kDevice, a.view(), a.view(), half.view()), "add: y: expected f32, got bf16",
                       ShapeError);
  CHECK_THROWS_WITH_AS(kernels::add(kDevice, ids.view(), ids.view(), ids.view()),
                       "add: expected a floating dtype, got i32", ShapeError);
  CHECK_THROWS_AS(kernels::mul(kDevice, a.view(), half.view(), a.sink(false)), ShapeError);
  CHECK_THROWS_AS(kernels::scale(kDevice, a.view(), 1, d.sink(false)), ShapeError);
  CHECK_THROWS_AS(kernels::copy(kDevice, a.view(), d.view()), ShapeError);
  CHECK_THROWS_AS(kernels::repeat_rows(kDevice, d.view(), a.view()), ShapeError);
  CHECK_THROWS_AS(kernels::scale_columns(kDevice, a.view(), d.view(), {}, a.sink(false)), ShapeError);
  CHECK_THROWS_AS(kernels::scale_rows(kDevice, a.view(), Array(DType::f32, {3}).view(), a.view()), ShapeError);
  CHECK_THROWS_AS(kernels::transpose(kDevice, a.view(), a.sink(false)), ShapeError);
  CHECK_THROWS_WITH_AS(kernels::copy_columns(kDevice, a.view(), 2, a.sink(false), 0, 2),
                       "copy_columns: from: expected columns within [0, 3), got [2, 4)", ShapeError);
  CHECK_THROWS_AS(kernels::copy_columns(kDevice, a.view(), 0, a.sink(false), -1, 2), ShapeError);
  CHECK_THROWS_AS(kernels::copy_columns(kDevice, a.view(), 0, b.sink(false), 0, 1), ShapeError);
}
