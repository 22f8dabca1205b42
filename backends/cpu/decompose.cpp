// GCC 12 takes its own AVX-512 intrinsics for uninitialised reads (GCC bug 105593).
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#define EIGEN_DONT_PARALLELIZE

#include "backends/kernels/decompose.hpp"

#include <Eigen/Cholesky>
#include <Eigen/LU>
#include <Eigen/QR>
#include <Eigen/SVD>
#include <algorithm>
#include <cmath>

#include "backends/cpu/check.hpp"

namespace osteon::kernels {
namespace {

using Index = std::int64_t;

template <class T>
using RowMajor = Eigen::Matrix<T, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;
template <class T>
using ColMajor = Eigen::Matrix<T, Eigen::Dynamic, Eigen::Dynamic>;

template <class T>
Eigen::Map<const RowMajor<T>> map(const ConstView& view) {
  return {view.as<T>(), view.rows(), view.cols()};
}
template <class T>
Eigen::Map<RowMajor<T>> map(const View& view) {
  return {view.as<T>(), view.rows(), view.cols()};
}

/// Calls f(T{}) for f32 and f64; all views must have a's dtype.
template <class F>
void dispatch(const char* name, const ConstView& a, std::initializer_list<ConstView> others, const F& f) {
  check(a.dtype == DType::f32 || a.dtype == DType::f64, name, ": expected f32 or f64, got ", a.dtype);
  for (const ConstView& other : others)
    check(other.dtype == a.dtype, name, ": expected ", a.dtype, " throughout, got ", other.dtype);
  if (a.dtype == DType::f32)
    f(float{});
  else
    f(double{});
}

void check_square(const char* name, const ConstView& a) {
  check(a.shape.rank() == 2 && a.rows() == a.cols(), name, ": a: expected a square matrix, got ", a.shape);
}

/// Iterative algorithms do not end well on NaN.
template <class T>
void check_finite(const char* name, const ConstView& a) {
  check<NumericError>(std::all_of(a.as<T>(), a.as<T>() + a.numel(), [](T value) { return std::isfinite(value); }), name,
                      ": a: expected finite numbers");
}

}  // namespace

void svd(Cpu, ConstView a, View u, View s, View vt) {
  const Index m = a.rows(), n = a.cols(), q = std::min(m, n);
  cpu::expect_shape("svd", "u", u, {m, q});
  cpu::expect_shape("svd", "s", s, {q});
  cpu::expect_shape("svd", "vt", vt, {q, n});
  dispatch("svd", a, {u, s, vt}, [&]<class T>(T) {
    check_finite<T>("svd", a);
    if (q == 0)
      return;
    const Eigen::BDCSVD<ColMajor<T>> decomposition(map<T>(a), Eigen::ComputeThinU | Eigen::ComputeThinV);
    check<NumericError>(decomposition.info() == Eigen::Success, "svd: no convergence on a matrix ", a.shape);
    map<T>(u) = decomposition.matrixU();
    std::copy_n(decomposition.singularValues().data(), q, s.as<T>());
    map<T>(vt) = decomposition.matrixV().transpose();
  });
}

void qr(Cpu, ConstView a, View q_factor, View r_factor) {
  const Index m = a.rows(), n = a.cols(), q = std::min(m, n);
  cpu::expect_shape("qr", "q_factor", q_factor, {m, q});
  cpu::expect_shape("qr", "r_factor", r_factor, {q, n});
  dispatch("qr", a, {q_factor, r_factor}, [&]<class T>(T) {
    if (q == 0)
      return;
    // Eigen's reflectors have LAPACK's sign: each diagonal element of R is opposite to the pivot it replaces.
    const Eigen::HouseholderQR<ColMajor<T>> decomposition(map<T>(a));
    ColMajor<T> thin = ColMajor<T>::Identity(m, q);
    thin.applyOnTheLeft(decomposition.householderQ());
    map<T>(q_factor) = thin;
    const ColMajor<T> upper = decomposition.matrixQR().topRows(q).template triangularView<Eigen::Upper>();
    map<T>(r_factor) = upper;
  });
}

void solve_spd(Cpu, ConstView a, ConstView b, View x) {
  check_square("solve_spd", a);
  check(b.rows() == a.rows(), "solve_spd: b: expected ", a.rows(), " rows, got ", b.shape);
  cpu::expect_shape("solve_spd", "x", x, b.shape);
  dispatch("solve_spd", a, {b, x}, [&]<class T>(T) {
    const Eigen::LLT<ColMajor<T>> decomposition(map<T>(a));
    check<NumericError>(decomposition.info() == Eigen::Success,
                        "solve_spd: a: expected a positive definite matrix, got one that is not: ", a.shape);
    map<T>(x) = decomposition.solve(map<T>(b));
  });
}

double invert(Cpu, ConstView a, View inverse) {
  check_square("invert", a);
  cpu::expect_shape("invert", "inverse", inverse, a.shape);
  double condition = 1;
  dispatch("invert", a, {inverse}, [&]<class T>(T) {
    if (a.numel() == 0)
      return;
    const Eigen::PartialPivLU<ColMajor<T>> decomposition(map<T>(a));
    const auto pivots = decomposition.matrixLU().diagonal().array();
    if (!((pivots != T{0}).all() && pivots.isFinite().all())) {
      map<T>(inverse).setZero();
      condition = 0;
      return;
    }
    map<T>(inverse) = decomposition.inverse();
    condition = static_cast<double>(decomposition.rcond());
  });
  return condition;
}

}  // namespace osteon::kernels
