#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "backends/cpu/gemm_pack.hpp"
#include "backends/device.hpp"
#include "backends/dtype.hpp"
#include "backends/products.hpp"

namespace osteon::kernels {

/// f(T{}, R{}) with the stored types of the operands and of the result.
template <class F>
void dispatch_product(const Product& p, const F& f) {
  if (p.operands == DType::f64)
    f(double{}, double{});
  else if (p.operands == DType::f32)
    f(float{}, float{});
  else if (p.result == DType::f32)
    f(bf16{}, float{});
  else
    f(bf16{}, bf16{});
}

/// f32 products of few columns (n at most 8 with AVX-512, 4 with AVX2), where one term of all columns does not fill a
/// vector: several terms share one, each residue of k is a chain, and the chains are added pairwise at the end.
/// Returns false, having done nothing, if the product is another. Which it is does not depend on m.
bool gemm_thin(const Product& product);

/// One checked sum over tokens: out [d, k] (+)= alpha sum_t g[t]^T x[t], g [tokens, d], x [tokens, k], all sizes >= 1.
struct TokenProduct {
  std::int64_t tokens, seq_len, d, k;
  double alpha;
  bool add;
  DType g_dtype, x_dtype, result;  ///< one dtype, but bf16 may meet f32
  const void* g;
  const void* x;
  void* out;
};

/// Every element of out is one chain of fused multiply-adds over the tokens in order that begins with the old value (or
/// 0): bit-equal for any number of threads and any split of the tokens; a bf16 out for any split along sequences.
void gemm_tokens_fma(const TokenProduct& product);

/// Every element of c is one chain of fused multiply-adds over k in order that begins with the old value (or 0): the
/// same bits for any number of threads, whatever the other rows and columns are. Takes every dtype (bf16 is converted).
void gemm_fused(const Product& product);

/// The same bits as gemm_fused for one to four rows and a b that is stored [n, k], as when a token is decoded: b is
/// read once, as it lies. Returns false, having done nothing, for other products.
bool gemm_rows(const Product& p);

/// The same bits as gemm_fused (with p.alpha on op(b) and `alpha_of_a` on op(a)), by blocks that fit the caches: for
/// more rows than a tile has columns. Returns false, having done nothing, for fewer or for very small products.
bool gemm_blocked(const Product& product, double alpha_of_a = 1.0);

/// The same for the calling thread alone: c [a.count, b.count] (+)= the sum over `depth` terms, rows of c `c_row`
/// apart, in `memory` of rectangle_size() elements. For f32, f64, and bf16 by f32.
template <class A, class B>
void gemm_rectangle(const cpu::Factor<A>& a, const cpu::Factor<B>& b, std::int64_t depth, compute_t<A>* c,
                    std::int64_t c_row, bool add, compute_t<A>* memory);
template <class C>
std::int64_t rectangle_size(std::int64_t rows, std::int64_t cols, std::int64_t depth);

/// bf16 products by the tiles of AMX, where the processor has them and the kernel lets us: every element is a sum over
/// k, in order, of steps of 32 terms, each step the even terms' chain of fused multiply-adds plus the odd terms', from
/// 0; then alpha, the old value, one rounding. The same bits for any number of threads, whatever the other rows and
/// columns are. Subnormal numbers count as 0. Returns false, having done nothing, for other dtypes and where amx_runs()
/// is false.
bool gemm_amx(const Product& product);
/// Whether there is AMX, neither DNNL_MAX_CPU_ISA nor set_amx_gemm(false) rules it out.
bool amx_runs();

#ifdef OSTEON_GEMM_ONEDNN
/// Runs the product with oneDNN unless it has no fast implementation, or `stable_only` and the implementation is not
/// known to be bit-stable; then returns false and has done nothing.
bool gemm_onednn(const Product& product, bool stable_only);
/// "oneDNN 2.6.3".
std::string onednn_version();
/// The distinct implementations used so far by this process, in order of first use.
std::vector<std::string> onednn_implementations();
/// What it compiles for on this machine; the first call of all decides whether AMX is left out (stable_only).
const char* onednn_instruction_set(bool stable_only);
/// Whether its products of a dtype are known to be bit-stable on this machine.
bool onednn_stable(DType dtype);
/// Whether all implementations used so far are known to be bit-stable, and the machine gives reason to expect no other.
bool onednn_was_stable();
#endif

}  // namespace osteon::kernels
