#pragma once

#include "backends/device.hpp"
#include "backends/view.hpp"

namespace osteon::kernels {

// Factorisations of small and middle-sized dense matrices, f32 or f64; computed in that dtype by Eigen on one thread.
// Meant for initialising and merging adapters, not for a training step: Eigen's working memory is not counted. On a GPU
// the same, on copies in the host's memory; the call waits for them.

/// Thin SVD a [m, n] = u diag(s) vt with q = min(m, n): u [m, q], s [q] descending, vt [q, n].
/// Throws NumericError if a holds NaN or infinity.
void svd(Cpu, ConstView a, View u, View s, View vt);
void svd(Cuda device, ConstView a, View u, View s, View vt);
/// Thin QR of a [m, n], q = min(m, n): a = q_factor [m, q] r_factor [q, n]. Signs as LAPACK's Householder QR.
void qr(Cpu, ConstView a, View q_factor, View r_factor);
void qr(Cuda device, ConstView a, View q_factor, View r_factor);
/// x [n, m] = a^-1 b for symmetric positive definite a [n, n], b [n, m]. Throws NumericError if a is not.
void solve_spd(Cpu, ConstView a, ConstView b, View x);
void solve_spd(Cuda device, ConstView a, ConstView b, View x);
/// x [n, n] = r^-1, upper triangular, where a = r^T r with a diagonal of r above 0: of the Gram matrix a = b^T b, b x
/// is the orthonormal factor of b's QR with those signs. a symmetric, its lower triangle read. Throws NumericError
/// unless a is positive definite.
void inverse_cholesky(Cpu, ConstView a, View x);
void inverse_cholesky(Cuda device, ConstView a, View x);
/// inverse [n, n] of a general square a by LU; returns the reciprocal condition estimate (0 = singular;
/// the inverse is then all 0).
double invert(Cpu, ConstView a, View inverse);
double invert(Cuda device, ConstView a, View inverse);

}  // namespace osteon::kernels
