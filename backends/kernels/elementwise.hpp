#pragma once

#include "backends/device.hpp"
#include "backends/view.hpp"

namespace osteon::kernels {

// Elementwise kernels: shapes are equal unless said otherwise; any floating dtype; computed in f32 (f64 for f64).

/// to = from, both on the device (else see transfer.hpp), converted to its dtype with one rounding to nearest even.
/// i32 <-> floating is allowed too.
void copy(Cpu, ConstView from, View to);
void copy(Cuda, ConstView from, View to);
void fill(Cpu, View y, double value);
void fill(Cuda, View y, double value);
void add(Cpu, ConstView a, ConstView b, View y);
void add(Cuda, ConstView a, ConstView b, View y);
/// y (+)= a * b
void mul(Cpu, ConstView a, ConstView b, Sink y);
void mul(Cuda, ConstView a, ConstView b, Sink y);
/// y (+)= factor * x; x and y may differ in dtype.
void scale(Cpu, ConstView x, double factor, Sink y);
void scale(Cuda, ConstView x, double factor, Sink y);
/// y [n, d] = row [d]; dtypes may differ. A bias goes there first and the product on top of it: one rounding.
void repeat_rows(Cpu, ConstView row, View y);
void repeat_rows(Cuda, ConstView row, View y);
/// y [n, d] (+)= x [n, d] * factors [d] + bias [d] (bias may be absent)
void scale_columns(Cpu, ConstView x, ConstView factors, ConstView bias, Sink y);
void scale_columns(Cuda, ConstView x, ConstView factors, ConstView bias, Sink y);
/// y [d, k] = x [d, k] * factors [d]
void scale_rows(Cpu, ConstView x, ConstView factors, View y);
void scale_rows(Cuda, ConstView x, ConstView factors, View y);
/// y [k, d] (+)= x [d, k] transposed
void transpose(Cpu, ConstView x, Sink y);
void transpose(Cuda, ConstView x, Sink y);
/// Columns [to_begin, to_begin + count) of `to` (+)= columns [from_begin, ...) of `from`, row by row.
void copy_columns(Cpu, ConstView from, std::int64_t from_begin, Sink to, std::int64_t to_begin, std::int64_t count);
void copy_columns(Cuda, ConstView from, std::int64_t from_begin, Sink to, std::int64_t to_begin, std::int64_t count);

}  // namespace osteon::kernels
