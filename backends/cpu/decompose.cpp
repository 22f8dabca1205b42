// GCC 12 takes its own AVX-512 intrinsics for uninitialised reads (GCC bug 105593).
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#define EIGEN_DONT_PARALLELIZE

#include "backends/kernels/decompose.hpp"

#include <Eigen/Cholesky>
#include <Eigen/LU>
#include <Eigen/QR>
#include <Eigen/SVD>
#include <algorithm>

#include "backends/check.hpp"

namespace osteon::kernels {
namespace {

using Index = std::int64_t;
using Matrix = Eigen::MatrixXd;

/// Everything is computed in f64, which costs little beside what f32 alone would save, and halves what is compiled.
Matrix read(const char* name, const ConstView& a) {
  Matrix matrix(a.rows(), a.cols());
  const auto fill = [&]<class T>(const T* values) {
    for (Index i = 0; i < a.rows(); ++i)
      for (Index j = 0; j < a.cols(); ++j)
        matrix(i, j) = static_cast<double>(values[i * a.cols() + j]);
  };
  check(a.dtype == DType::f32 || a.dtype == DType::f64, name, ": expected f32 or f64, got ", a.dtype);
  if (a.dtype == DType::f32)
    fill(a.as<float>());
  else
    fill(a.as<double>());
  return matrix;
}

/// Rounds once to the view's dtype, which must be `dtype`.
void write(const char* name, const Eigen::Ref<const Matrix>& matrix, const View& to, DType dtype) {
  check(to.dtype == dtype, name, ": expected ", dtype, " throughout, got ", to.dtype);
  const auto fill = [&]<class T>(T* values) {
    for (Index i = 0; i < matrix.rows(); ++i)
      for (Index j = 0; j < matrix.cols(); ++j)
        values[i * matrix.cols() + j] = static_cast<T>(matrix(i, j));
  };
  if (dtype == DType::f32)
    fill(to.as<float>());
  else
    fill(to.as<double>());
}

void check_square(const char* name, const ConstView& a) {
  check(a.shape.rank() == 2 && a.rows() == a.cols(), name, ": a: expected a square matrix, got ", a.shape);
}

Eigen::LLT<Matrix> cholesky(const char* name, const ConstView& a) {
  Eigen::LLT<Matrix> decomposition(read(name, a));
  check<NumericError>(decomposition.info() == Eigen::Success, name,
                      ": a: expected a positive definite matrix, got one that is not: ", a.shape);
  return decomposition;
}

}  // namespace

void svd(Cpu, ConstView a, View u, View s, View vt) {
  const Index m = a.rows(), n = a.cols(), q = std::min(m, n);
  expect_shape("svd", "u", u, {m, q});
  expect_shape("svd", "s", s, {q});
  expect_shape("svd", "vt", vt, {q, n});
  const Matrix matrix = read("svd", a);
  // Iterative algorithms do not end well on NaN.
  check<NumericError>(matrix.allFinite(), "svd: a: expected finite numbers");
  if (q == 0)
    return;
  const Eigen::BDCSVD<Matrix> decomposition(matrix, Eigen::ComputeThinU | Eigen::ComputeThinV);
  check<NumericError>(decomposition.info() == Eigen::Success, "svd: no convergence on a matrix ", a.shape);
  write("svd", decomposition.matrixU(), u, a.dtype);
  write("svd", decomposition.singularValues(), s, a.dtype);
  write("svd", decomposition.matrixV().transpose(), vt, a.dtype);
}

void qr(Cpu, ConstView a, View q_factor, View r_factor) {
  const Index m = a.rows(), n = a.cols(), q = std::min(m, n);
  expect_shape("qr", "q_factor", q_factor, {m, q});
  expect_shape("qr", "r_factor", r_factor, {q, n});
  const Matrix matrix = read("qr", a);
  if (q == 0)
    return;
  // Eigen's reflectors have LAPACK's sign: each diagonal element of R is opposite to the pivot it replaces.
  const Eigen::HouseholderQR<Matrix> decomposition(matrix);
  Matrix thin = Matrix::Identity(m, q);
  thin.applyOnTheLeft(decomposition.householderQ());
  write("qr", thin, q_factor, a.dtype);
  const Matrix upper = decomposition.matrixQR().topRows(q).triangularView<Eigen::Upper>();
  write("qr", upper, r_factor, a.dtype);
}

void solve_spd(Cpu, ConstView a, ConstView b, View x) {
  check_square("solve_spd", a);
  check(b.rows() == a.rows(), "solve_spd: b: expected ", a.rows(), " rows, got ", b.shape);
  expect_shape("solve_spd", "x", x, b.shape);
  write("solve_spd", cholesky("solve_spd", a).solve(read("solve_spd", b)), x, a.dtype);
}

void inverse_cholesky(Cpu, ConstView a, View x) {
  check_square("inverse_cholesky", a);
  expect_shape("inverse_cholesky", "x", x, a.shape);
  const Eigen::LLT<Matrix> decomposition = cholesky("inverse_cholesky", a);
  Matrix inverse = Matrix::Identity(a.rows(), a.rows());
  decomposition.matrixU().solveInPlace(inverse);
  write("inverse_cholesky", inverse, x, a.dtype);
}

double invert(Cpu, ConstView a, View inverse) {
  check_square("invert", a);
  expect_shape("invert", "inverse", inverse, a.shape);
  const Matrix matrix = read("invert", a);
  if (matrix.size() == 0)
    return 1;
  const Eigen::PartialPivLU<Matrix> decomposition(matrix);
  const auto pivots = decomposition.matrixLU().diagonal().array();
  if (!((pivots != 0.0).all() && pivots.isFinite().all())) {
    write("invert", Matrix::Zero(matrix.rows(), matrix.cols()), inverse, a.dtype);
    return 0;
  }
  write("invert", decomposition.inverse(), inverse, a.dtype);
  return decomposition.rcond();
}

}  // namespace osteon::kernels
