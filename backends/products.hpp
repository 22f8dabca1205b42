#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>

#include "backends/device.hpp"
#include "backends/dtype.hpp"
#include "backends/kernels/gemm.hpp"
#include "backends/view.hpp"

namespace osteon::kernels {

// What the products of every device begin with (kernels/gemm.hpp): checks, empty sums, blocks of tokens.

/// One checked product c [m, n] (+)= alpha op(a) op(b).
/// a is stored [m, k], or [k, m] if transpose_a; b [k, n], or [n, k] if transpose_b.
struct Product {
  std::int64_t m, n, k;
  bool transpose_a, transpose_b;
  double alpha;
  bool add;
  DType operands, result;
  const void* a;
  const void* b;
  void* c;
  Device device = Device::cpu;  ///< on meta an engine asks for its scratch and is done
};

/// What gemm is asked for. Throws ShapeError.
Product checked_product(Device device, const ConstView& a, const ConstView& b, const View& c,
                        const GemmOptions& options);

/// What gemm_tokens is asked for, as one product over all tokens. Throws ShapeError.
struct TokenSum {
  Product whole;
  std::int64_t seq_len;
};
TokenSum checked_token_sum(Device device, const ConstView& g, const ConstView& x, const Sink& out, double alpha);

/// Whether there is anything to multiply. Where there is not, the result is empty, or a sum of nothing: then
/// fill_zero(c, bytes) clears what is not added to.
template <class FillZero>
bool has_terms(const Product& p, const FillZero& fill_zero) {
  if (p.m > 0 && p.n > 0 && p.k == 0 && !p.add && p.device != Device::meta)
    fill_zero(p.c, p.m * p.n * size_of(p.result));
  return p.m > 0 && p.n > 0 && p.k > 0;
}

/// The block of tokens that gemm_tokens promises.
constexpr std::int64_t kBlockTokens = 1024;

/// run(part) for the blocks along k of a product with a stored [k, m] and b [k, n], in order, each added to those
/// before it. A block ends where a sequence of `seq_len` terms does, or after kBlockTokens.
template <class Run>
void for_blocks(Product part, std::int64_t seq_len, const Run& run) {
  const std::int64_t tokens = part.k, size = size_of(part.operands);
  const auto* const a = static_cast<const std::byte*>(part.a);
  const auto* const b = static_cast<const std::byte*>(part.b);
  for (std::int64_t first = 0; first < tokens; first += part.k) {
    part.k = std::min(kBlockTokens, seq_len - first % seq_len);
    if (part.device != Device::meta) {
      part.a = a + first * part.m * size;
      part.b = b + first * part.n * size;
    }
    run(part);
    part.add = true;
  }
}

/// The setting of set_tf32_gemm.
bool tf32_gemm();

}  // namespace osteon::kernels
