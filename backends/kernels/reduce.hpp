#pragma once

#include "backends/device.hpp"
#include "backends/view.hpp"

namespace osteon::kernels {

// Reductions: each has one fixed order of sums, whatever the number of threads.

/// out (a scalar of the accumulator dtype or f64) (+)= factor * sum of x.
void sum(Cpu, ConstView x, Factor factor, Sink out);
void sum(Cuda, ConstView x, Factor factor, Sink out);
void sum(Meta, ConstView x, Factor factor, Sink out);
/// out (a scalar, f64) (+)= sum of x^2.
void sum_squares(Cpu, ConstView x, Sink out);
void sum_squares(Cuda, ConstView x, Sink out);
void sum_squares(Meta, ConstView x, Sink out);
/// out [d] (+)= sum over the rows of x [n, d], row by row onto the sink (bit-equal for any split of the rows).
void column_sum(Cpu, ConstView x, Sink out);
void column_sum(Cuda, ConstView x, Sink out);
/// out [d] (+)= sum over rows of a * b, likewise.
void column_dot(Cpu, ConstView a, ConstView b, Sink out);
void column_dot(Cuda, ConstView a, ConstView b, Sink out);
/// out [d] = sum over columns of x [d, k]^2, in the accumulator dtype.
void row_sum_squares(Cpu, ConstView x, View out);
void row_sum_squares(Cuda, ConstView x, View out);
/// count (an i32 scalar) = how many elements are NaN or infinite.
void count_nonfinite(Cpu, ConstView x, View count);
void count_nonfinite(Cuda, ConstView x, View count);
/// index [n] i32 = column of each row's largest element; the first one wins.
void argmax_rows(Cpu, ConstView x, View index);
void argmax_rows(Cuda, ConstView x, View index);

}  // namespace osteon::kernels
