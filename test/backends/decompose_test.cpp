#include "backends/kernels/decompose.hpp"

#include <doctest/doctest.h>

#include "test/backends/array.hpp"
#include "test/reference/gemm.hpp"

using namespace osteon;
using test::Array;
using test::kDevice;

namespace {

struct Sizes {
  std::int64_t m, n;
};
constexpr Sizes kSizes[] = {{1, 1}, {1, 5}, {5, 1}, {4, 4}, {17, 9}, {9, 17}, {64, 64}, {70, 33}, {3, 0}, {0, 3}};

/// op(a) op(b) in double.
std::vector<double> product(const Array& a, const Array& b, bool transpose_a = false, bool transpose_b = false) {
  const std::int64_t m = transpose_a ? a.shape()[1] : a.shape()[0], k = transpose_a ? a.shape()[0] : a.shape()[1];
  const std::int64_t n = transpose_b ? b.shape()[0] : b.shape()[1];
  std::vector<double> c(static_cast<std::size_t>(m * n));
  reference::gemm(a.doubles(), b.doubles(), c, m, n, k, transpose_a, transpose_b, 1.0, false);
  return c;
}

std::vector<double> identity(std::int64_t n) {
  std::vector<double> out(static_cast<std::size_t>(n * n));
  for (std::int64_t i = 0; i < n; ++i)
    out[static_cast<std::size_t>(i * n + i)] = 1;
  return out;
}

double worst(const std::vector<double>& a, const std::vector<double>& b) {
  double error = 0;
  for (std::size_t i = 0; i < a.size(); ++i)
    error = std::max(error, std::abs(a[i] - b[i]));
  return error;
}

double tolerance(DType dtype) { return 200 * test::epsilon(dtype); }

/// a^T a + identity: positive definite.
Array positive_definite(DType dtype, std::int64_t n, std::uint64_t seed) {
  const Array a = Array::random(dtype, {n, n}, seed);
  const std::vector<double> square = product(a, a, true);
  Array out(dtype, {n, n});
  for (std::int64_t i = 0; i < n * n; ++i)
    out.set(i, square[static_cast<std::size_t>(i)] + (i % (n + 1) == 0 ? 1.0 : 0.0));
  return out;
}

}  // namespace

TEST_CASE("svd: orthonormal factors, descending values, and their product is the matrix") {
  for (const DType dtype : {DType::f32, DType::f64})
    for (const Sizes& size : kSizes) {
      CAPTURE(size.m);
      CAPTURE(size.n);
      const std::int64_t q = std::min(size.m, size.n);
      const Array a = Array::random(dtype, {size.m, size.n}, 1);
      Array u(dtype, {size.m, q}), s(dtype, {q}), vt(dtype, {q, size.n}), us(dtype, {size.m, q});
      kernels::svd(kDevice, a.view(), u.view(), s.view(), vt.view());
      CHECK(worst(product(u, u, true), identity(q)) <= tolerance(dtype));
      CHECK(worst(product(vt, vt, false, true), identity(q)) <= tolerance(dtype));
      for (std::int64_t i = 0; i < q; ++i) {
        CHECK(s.at(i) >= (i + 1 < q ? s.at(i + 1) : 0.0));
        for (std::int64_t row = 0; row < size.m; ++row)
          us.set(row * q + i, u.at(row * q + i) * s.at(i));
      }
      CHECK(worst(product(us, vt), a.doubles()) <= tolerance(dtype));
    }
}

TEST_CASE("svd of a diagonal matrix sorts its values") {
  Array a(DType::f64, {3, 3}), u(DType::f64, {3, 3}), s(DType::f64, {3}), vt(DType::f64, {3, 3});
  a.set(0, 2);
  a.set(4, -5);
  a.set(8, 0);
  kernels::svd(kDevice, a.view(), u.view(), s.view(), vt.view());
  CHECK(worst(s.doubles(), {5, 2, 0}) <= 1e-14);
}

TEST_CASE("qr: orthonormal q, upper triangular r, and their product is the matrix") {
  for (const DType dtype : {DType::f32, DType::f64})
    for (const Sizes& size : kSizes) {
      CAPTURE(size.m);
      CAPTURE(size.n);
      const std::int64_t q = std::min(size.m, size.n);
      const Array a = Array::random(dtype, {size.m, size.n}, 1);
      Array q_factor(dtype, {size.m, q}), r(dtype, {q, size.n});
      kernels::qr(kDevice, a.view(), q_factor.view(), r.view());
      CHECK(worst(product(q_factor, q_factor, true), identity(q)) <= tolerance(dtype));
      CHECK(worst(product(q_factor, r), a.doubles()) <= tolerance(dtype));
      for (std::int64_t i = 0; i < q; ++i)
        for (std::int64_t j = 0; j < std::min(i, size.n); ++j)
          CHECK(r.at(i * size.n + j) == 0);
    }
}

TEST_CASE("qr has LAPACK's signs") {
  // numpy.linalg.qr([[1, 2], [3, 4], [5, 6]]), then a pivot below zero; the last column of a square matrix keeps its
  // sign, since there is nothing below the pivot to eliminate.
  Array a(DType::f64, {3, 2}), q(DType::f64, {3, 2}), r(DType::f64, {2, 2});
  for (std::int64_t i = 0; i < 6; ++i)
    a.set(i, static_cast<double>(i + 1));
  kernels::qr(kDevice, a.view(), q.view(), r.view());
  CHECK(worst(r.doubles(), {-5.916079783099616, -7.437357441610946, 0, 0.828078671210825}) <= 1e-14);
  CHECK(worst(q.doubles(), {-0.16903085094570325, 0.89708522714506, -0.50709255283711, 0.27602622373694,
                            -0.8451542547285165, -0.34503277967117}) <= 1e-13);
  Array b(DType::f64, {2, 2}), q2(DType::f64, {2, 2}), r2(DType::f64, {2, 2});
  for (std::int64_t i = 0; i < 4; ++i)
    b.set(i, std::vector<double>{-3, 1, 4, 2}[static_cast<std::size_t>(i)]);
  kernels::qr(kDevice, b.view(), q2.view(), r2.view());
  CHECK(worst(r2.doubles(), {5, 1, 0, 2}) <= 1e-14);
  CHECK(worst(q2.doubles(), {-0.6, 0.8, 0.8, 0.6}) <= 1e-14);
}

TEST_CASE("solve_spd solves") {
  for (const DType dtype : {DType::f32, DType::f64})
    for (const std::int64_t n : {0, 1, 5, 40}) {
      const Array a = positive_definite(dtype, n, 1), b = Array::random(dtype, {n, 3}, 2);
      Array x(dtype, {n, 3});
      kernels::solve_spd(kDevice, a.view(), b.view(), x.view());
      CHECK(worst(product(a, x), b.doubles()) <= 10 * tolerance(dtype));
    }
}

TEST_CASE(
    "inverse_cholesky: upper triangular, its inverse's square is the matrix, and a Gram matrix gives QR's factor") {
  for (const DType dtype : {DType::f32, DType::f64})
    for (const std::int64_t n : {0, 1, 5, 40}) {
      CAPTURE(n);
      const Array a = positive_definite(dtype, n, 1);
      Array x(dtype, {n, n}), ax(dtype, {n, n});
      kernels::inverse_cholesky(kDevice, a.view(), x.view());
      const std::vector<double> left = product(a, x);
      for (std::int64_t i = 0; i < n * n; ++i) {
        ax.set(i, left[static_cast<std::size_t>(i)]);
        CHECK((i % n >= i / n || x.at(i) == 0));
      }
      for (std::int64_t i = 0; i < n; ++i)
        CHECK(x.at(i * n + i) > 0);
      CHECK(worst(product(x, ax, true), identity(n)) <= 10 * tolerance(dtype));
    }
  const Array b = Array::random(DType::f64, {50, 3}, 4);
  Array gram(DType::f64, {3, 3}), x(DType::f64, {3, 3}), q(DType::f64, {50, 3}), r(DType::f64, {3, 3});
  const std::vector<double> square = product(b, b, true);
  for (std::int64_t i = 0; i < 9; ++i)
    gram.set(i, square[static_cast<std::size_t>(i)]);
  kernels::inverse_cholesky(kDevice, gram.view(), x.view());
  kernels::qr(kDevice, b.view(), q.view(), r.view());
  for (std::int64_t i = 0; i < 150; ++i)
    q.set(i, q.at(i) * (r.at(i % 3 * 4) < 0 ? -1 : 1));
  CHECK(worst(product(b, x), q.doubles()) <= 1e-13);
}

TEST_CASE("invert inverts and tells how well") {
  for (const DType dtype : {DType::f32, DType::f64})
    for (const std::int64_t n : {1, 2, 7, 64}) {
      const Array a = positive_definite(dtype, n, 1);
      Array inverse(dtype, {n, n});
      const double condition = kernels::invert(kDevice, a.view(), inverse.view());
      CHECK(worst(product(a, inverse), identity(n)) <= 10 * tolerance(dtype));
      CHECK(condition > 1e-4);
      CHECK(condition <= 1.0 + 1e-6);
    }
  Array diagonal(DType::f64, {2, 2}), inverse(DType::f64, {2, 2});
  diagonal.set(0, 4);
  diagonal.set(3, 0.5);
  CHECK(kernels::invert(kDevice, diagonal.view(), inverse.view()) == doctest::Approx(0.125));
  CHECK(inverse.doubles() == std::vector<double>{0.25, 0, 0, 2});
}

TEST_CASE("invert reports a singular matrix as condition 0") {
  Array a(DType::f64, {2, 2}), inverse(DType::f64, {2, 2});
  for (std::int64_t i = 0; i < 4; ++i)
    a.set(i, i < 2 ? 1 : 2);
  CHECK(kernels::invert(kDevice, a.view(), inverse.view()) == 0);
  a.set(0, std::numeric_limits<double>::quiet_NaN());
  CHECK(kernels::invert(kDevice, a.view(), inverse.view()) == 0);
}

TEST_CASE("factorisations refuse what does not fit") {
  Array a(DType::f32, {4, 3}), u(DType::f32, {4, 3}), s(DType::f32, {3}), vt(DType::f32, {3, 3}),
      bad(DType::f32, {2, 3});
  Array wide(DType::f64, {3}), half(DType::bf16, {4, 3}), square(DType::f32, {3, 3}), out(DType::f32, {3, 3});
  CHECK_THROWS_WITH_AS(kernels::svd(kDevice, a.view(), bad.view(), s.view(), vt.view()),
                       "svd: u: expected shape [4, 3], got [2, 3]", ShapeError);
  CHECK_THROWS_WITH_AS(kernels::svd(kDevice, a.view(), u.view(), wide.view(), vt.view()),
                       "svd: expected f32 throughout, got f64", ShapeError);
  CHECK_THROWS_WITH_AS(kernels::svd(kDevice, half.view(), u.view(), s.view(), vt.view()),
                       "svd: expected f32 or f64, got bf16", ShapeError);
  a.set(5, std::numeric_limits<double>::infinity());
  CHECK_THROWS_WITH_AS(kernels::svd(kDevice, a.view(), u.view(), s.view(), vt.view()),
                       "svd: a: expected finite numbers", NumericError);
  CHECK_THROWS_WITH_AS(kernels::qr(kDevice, a.view(), u.view(), bad.view()),
                       "qr: r_factor: expected shape [3, 3], got [2, 3]", ShapeError);
  CHECK_THROWS_WITH_AS(kernels::solve_spd(kDevice, a.view(), s.view(), s.view()),
                       "solve_spd: a: expected a square matrix, got [4, 3]", ShapeError);
  CHECK_THROWS_WITH_AS(kernels::solve_spd(kDevice, square.view(), bad.view(), bad.view()),
                       "solve_spd: b: expected 3 rows, got [2, 3]", ShapeError);
  square.set(0, -1);
  CHECK_THROWS_AS(kernels::solve_spd(kDevice, square.view(), out.view(), out.view()), NumericError);
  CHECK_THROWS_AS(kernels::inverse_cholesky(kDevice, square.view(), out.view()), NumericError);
  CHECK_THROWS_WITH_AS(kernels::inverse_cholesky(kDevice, square.view(), bad.view()),
                       "inverse_cholesky: x: expected shape [3, 3], got [2, 3]", ShapeError);
  CHECK_THROWS_WITH_AS(kernels::invert(kDevice, square.view(), bad.view()),
                       "invert: inverse: expected shape [3, 3], got [2, 3]", ShapeError);
}
