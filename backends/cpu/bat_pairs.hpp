#pragma once

#include "backends/bat_slab.hpp"
#include "backends/device.hpp"

namespace osteon::cpu {

/// Whether the functions below take a slab whose weight has `dtype`: bf16, a rank that fills vectors, and a processor
/// that multiplies pairs, or AMX and a rank that fills its tiles.
bool bat_in_pairs(const BatSlab& slab, DType dtype);

/// y [m*r, k] = (W + B) + W B in f32, with one rounding; the sums of W B by TileProducts, for which B is rounded to
/// bf16, as the factors of every bf16 product are.
void bat_weight_in_pairs(const BatSlab& slab, const bf16* w, const float* blocks, bf16* y, Device device);
void bat_weight_in_pairs(const BatSlab& slab, const bf16* w, const bf16* blocks, bf16* y, Device device);

/// db [m, r, r] += sum over pieces of W_ab^T dW'_ab + dW'_ab, the products by TileProducts, for which dw is rounded
/// to bf16.
void bat_block_gradient_in_pairs(const BatSlab& slab, const bf16* w, const float* dw, float* db, Device device);

}  // namespace osteon::cpu
