#pragma once

#include "backends/device.hpp"
#include "backends/view.hpp"

namespace osteon::kernels {

/// Every row in groups of equal width, each with mean 0 and variance 1; one group is torch's layer_norm.
///   y = weight (x - mean) rstd + bias,  rstd = 1/sqrt(variance + eps)
/// x, y [n, d]; weight, bias [d] in x's dtype; statistics [n, groups, 2] = mean and rstd in the accumulator dtype.
void group_norm(Cpu, ConstView x, ConstView weight, ConstView bias, double eps, View y, View statistics);
void group_norm(Cuda, ConstView x, ConstView weight, ConstView bias, double eps, View y, View statistics);
/// With z = (x - mean) rstd and q = dy weight:  dx (+)= rstd (q - mean(q) - z mean(q z)),
/// dweight (+)= sum over rows, in order, of dy z
void group_norm_backward(Cpu, ConstView dy, ConstView x, ConstView weight, ConstView statistics, Sink dx, Sink dweight);
void group_norm_backward(Cuda, ConstView dy, ConstView x, ConstView weight, ConstView statistics, Sink dx,
                         Sink dweight);

/// y = x / max(|x|, eps) head by head: x, y [n, d], norm [n, heads] = max(|x|, eps) in the accumulator dtype.
void head_normalize(Cpu, ConstView x, double eps, View y, View norm);
void head_normalize(Cuda, ConstView x, double eps, View y, View norm);
/// dx (+)= (dy - y (y . dy)) / norm
void head_normalize_backward(Cpu, ConstView dy, ConstView y, ConstView norm, Sink dx);
void head_normalize_backward(Cuda, ConstView dy, ConstView y, ConstView norm, Sink dx);

/// RWKV's bonus of the token itself, head by head: y_j = (sum_i r_i k_i u_i) v_j.
/// r, k, v, y [n, d], bonus u [d] of one dtype.
void head_bonus(Cpu, ConstView r, ConstView k, ConstView v, ConstView bonus, std::int64_t heads, View y);
void head_bonus(Cuda, ConstView r, ConstView k, ConstView v, ConstView bonus, std::int64_t heads, View y);
/// With t = sum_j dy_j v_j:  dr (+)= t k u,  dk (+)= t r u,  dv (+)= (sum_i r_i k_i u_i) dy;
/// terms [n, d] (may be absent) = t r k in the accumulator dtype, whose sum over the rows is du.
void head_bonus_backward(Cpu, ConstView dy, ConstView r, ConstView k, ConstView v, ConstView bonus, std::int64_t heads,
                         Sink dr, Sink dk, Sink dv, View terms);
void head_bonus_backward(Cuda, ConstView dy, ConstView r, ConstView k, ConstView v, ConstView bonus, std::int64_t heads,
                         Sink dr, Sink dk, Sink dv, View terms);

}  // namespace osteon::kernels
