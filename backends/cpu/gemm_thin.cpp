// GCC 12 takes its own AVX-512 intrinsics for uninitialised reads (GCC bug 105593).
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#include <algorithm>
#include <cstring>
#if defined(__AVX512F__)
#include <immintrin.h>
#endif

#include "backends/cpu/fma_tile.hpp"
#include "backends/cpu/gemm_engines.hpp"
#include "backends/cpu/parallel.hpp"
#include "backends/scratch.hpp"

namespace osteon::kernels {
namespace {

using Index = std::int64_t;
using Vector = cpu::Vector<float>;
constexpr Index kLanes = cpu::kVectorBytes / 4;
constexpr Index kRows = 8;

/// kGroup consecutive elements, repeated through a vector.
template <Index kGroup>
Vector repeat(const float* from) {
#if defined(__AVX512F__)
  if constexpr (kGroup == 4)
    return reinterpret_cast<Vector>(_mm512_broadcast_f32x4(_mm_loadu_ps(from)));  // GCC 12 makes no such load itself
#endif
  typedef std::int64_t Words __attribute__((vector_size(cpu::kVectorBytes)));
  std::int64_t pair = 0;
  std::memcpy(&pair, from, sizeof pair);
  return reinterpret_cast<Vector>(Words{} + pair);
}

/// Rows of c: lane j * kGroup + g of a sum holds the terms of column j whose index has the residue g.
template <Index kGroup, Index kCount>
void run_rows(const Product& p, const float* packed, Index row) {
  const float* const a = static_cast<const float*>(p.a) + row * p.k;
  float* const c = static_cast<float*>(p.c) + row * p.n;
  Vector sum[kCount] = {};
  for (Index k = 0; k < p.k; k += kGroup, packed += kLanes) {
    const auto b = cpu::load_vector<Vector>(packed);
    for (Index i = 0; i < kCount; ++i)
      sum[i] = cpu::fused(repeat<kGroup>(a + i * p.k + k), b, sum[i]);
  }
  const auto alpha = static_cast<float>(p.alpha);
  for (Index i = 0; i < kCount; ++i)
    for (Index j = 0; j < p.n; ++j) {
      float total = sum[i][j * kGroup] + sum[i][j * kGroup + 1];
      if constexpr (kGroup == 4)
        total += sum[i][j * kGroup + 2] + sum[i][j * kGroup + 3];
      float& out = c[i * p.n + j];
      out = p.add ? out + alpha * total : alpha * total;
    }
}

template <Index kGroup>
void run(const Product& p) {
  auto* const packed = reinterpret_cast<float*>(scratch(p.k / kGroup * kLanes * 4, p.device));
  if (p.device == Device::meta)
    return;
  const auto* const b = static_cast<const float*>(p.b);
  for (Index k = 0; k < p.k; ++k)
    for (Index j = 0; j < kLanes / kGroup; ++j)
      packed[k / kGroup * kLanes + j * kGroup + k % kGroup] =
          j < p.n ? b[p.transpose_b ? j * p.k + k : k * p.n + j] : 0.0F;
  cpu::parallel_ranges(p.m, p.k, kRows, [&](Index begin, Index end) {
    Index row = begin;
    for (; row + kRows <= end; row += kRows)
      run_rows<kGroup, kRows>(p, packed, row);
    for (; row < end; ++row)
      run_rows<kGroup, 1>(p, packed, row);
  });
}

}  // namespace

bool gemm_thin(const Product& p) {
  if (p.operands != DType::f32 || p.transpose_a)
    return false;
#if defined(__AVX512F__)
  if (p.n <= 4 && p.k % 4 == 0) {
    run<4>(p);
    return true;
  }
#endif
  if (p.n <= kLanes / 2 && p.k % 2 == 0) {
    run<2>(p);
    return true;
  }
  return false;
}

}  // namespace osteon::kernels
