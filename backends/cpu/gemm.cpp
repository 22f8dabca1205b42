#include "backends/kernels/gemm.hpp"

#include <algorithm>
#include <atomic>
#include <string>

#include "backends/cpu/gemm_engines.hpp"
#include "backends/trace.hpp"

namespace osteon::kernels {
namespace {

using Index = std::int64_t;

// The block of tokens that gemm_tokens promises.
constexpr Index kBlockTokens = 1024;
// oneDNN splits sums over its threads when a is transposed, from this k on.
constexpr Index kSplitDepth = 2048;

std::atomic<bool> deterministic = true;
std::atomic<bool> tiles_used = false;

void check_dtypes(const char* name, const ConstView& a, const ConstView& b, const View& c) {
  check(a.dtype == DType::f32 || a.dtype == DType::bf16 || a.dtype == DType::f64, name,
        ": expected f32, bf16 or f64 operands, got ", a.dtype);
  check(b.dtype == a.dtype, name, ": expected operands of one dtype, got ", a.dtype, " and ", b.dtype);
  check(c.dtype == a.dtype || (a.dtype == DType::bf16 && c.dtype == DType::f32), name, ": expected ", a.dtype,
        a.dtype == DType::bf16 ? " or f32" : "", " for the result, got ", c.dtype);
}

void fill_zero(const View& c) {
  std::fill_n(static_cast<std::byte*>(c.data), c.numel() * size_of(c.dtype), std::byte{0});
}

void note_tiles(const Product& product) {
  if (product.device == Device::cpu && !tiles_used.load(std::memory_order_relaxed))
    tiles_used = true;
}

void run_own_tiles(const Product& product) {
  gemm_fused(product);
  note_tiles(product);
}

void run(const Product& product) {
  if (gemm_thin(product))
    return note_tiles(product);
#ifdef OSTEON_GEMM_ONEDNN
  if (gemm_onednn(product, deterministic.load(std::memory_order_relaxed)))
    return;
#endif
  run_own_tiles(product);
}

/// Whether the library sums each sequence faster than the fused kernel sums all: measured by bench/bench_gemm.cpp.
/// Depends on nothing that may differ between two splits of one batch.
bool library_sums_tokens([[maybe_unused]] Index seq_len, [[maybe_unused]] Index d, [[maybe_unused]] Index k,
                         [[maybe_unused]] DType dtype) {
#ifdef OSTEON_GEMM_ONEDNN
  if (dtype == DType::f64 || (deterministic.load(std::memory_order_relaxed) && !onednn_stable(dtype)))
    return false;
  // Per call the library spends about a microsecond; its f32 products with a narrow x compute whole vectors of it.
  const bool narrow = k < 64 && d > k;
  return dtype == DType::bf16 ? seq_len >= 64 : seq_len >= 128 && !narrow;
#else
  return false;
#endif
}

/// c (+)= alpha sum over blocks of tokens, in order; a and b are stored [tokens, m] and [tokens, n].
void run_blocks(Product product, Index block) {
  const Index tokens = product.k, size = size_of(product.operands);
  const auto* const a = static_cast<const std::byte*>(product.a);
  const auto* const b = static_cast<const std::byte*>(product.b);
  for (Index t = 0; t < tokens; t += block) {
    product.k = std::min(block, tokens - t);
    if (product.device != Device::meta) {
      product.a = a + t * product.m * size;
      product.b = b + t * product.n * size;
    }
    run(product);
    product.add = true;
  }
}

void multiply(Device device, const ConstView& a, const ConstView& b, const View& c, const GemmOptions& options) {
  check_dtypes("gemm", a, b, c);
  const Index m = options.transpose_a ? a.cols() : a.rows(), k = options.transpose_a ? a.rows() : a.cols();
  const Index n = options.transpose_b ? b.rows() : b.cols(), b_k = options.transpose_b ? b.cols() : b.rows();
  check(k == b_k, "gemm: expected as many columns of op(a) as rows of op(b), got a ", a.shape,
        options.transpose_a ? " transposed" : "", " and b ", b.shape, options.transpose_b ? " transposed" : "");
  check(c.rows() == m && c.cols() == n, "gemm: c: expected ", Shape{m, n}, ", got ", c.shape);
  if (m == 0 || n == 0)
    return;
  if (k == 0) {
    if (!options.add && device != Device::meta)
      fill_zero(c);
    return;
  }
  const ProductScope scope(device, "gemm", m, n, k, {a, b, c});
  const Product product{m,
                        n,
                        k,
                        options.transpose_a,
                        options.transpose_b,
                        options.alpha,
                        options.add,
                        a.dtype,
                        c.dtype,
                        a.data,
                        b.data,
                        c.data,
                        device};
  if (!options.transpose_a || k < kSplitDepth)
    run(product);
  else if (!options.transpose_b && c.dtype != DType::bf16)
    run_blocks(product, kBlockTokens);
  else
    run_own_tiles(product);  // rare: blocks would need a strided b, or round to bf16 after each
}

void sum_tokens(Device device, const ConstView& g, const ConstView& x, const Sink& out, double alpha) {
  check_dtypes("gemm_tokens", g, x, out.view);
  const auto tokens_of = [](const ConstView& view) { return view.shape.rank() >= 2 ? view.dim(-2) : Index{1}; };
  const Index d = g.cols(), k = x.cols(), seq_len = tokens_of(g);
  check(tokens_of(x) == seq_len && x.rows() == g.rows(), "gemm_tokens: expected the same tokens, got ", g.shape,
        " and ", x.shape);
  check(out.view.rows() == d && out.view.cols() == k, "gemm_tokens: out: expected ", Shape{d, k}, ", got ",
        out.view.shape);
  if (d == 0 || k == 0)
    return;
  const Index tokens = g.rows();
  if (tokens == 0) {
    if (!out.add && device != Device::meta)
      fill_zero(out.view);
    return;
  }
  const ProductScope scope(device, "gemm_tokens", d, k, tokens, {g, x, out.view});
  if (!library_sums_tokens(seq_len, d, k, g.dtype)) {
    // A wide sum is not rounded on the way, so where sequences end changes no bit of it.
    const Product whole{d,      k,      tokens,        true,  false, 1.0, out.add, g.dtype, out.view.dtype,
                        g.data, x.data, out.view.data, device};
    if (out.view.dtype == accumulator(g.dtype) && gemm_blocked(whole, alpha))
      return note_tiles(whole);
    if (device == Device::meta)  // the chains ask for no scratch
      return;
    gemm_tokens_fma(
        {tokens, seq_len, d, k, alpha, out.add, g.dtype, x.dtype, out.view.dtype, g.data, x.data, out.view.data});
    tiles_used = true;
    return;
  }
  bool add = out.add;
  for (Index t = 0; t < tokens; t += seq_len, add = true) {
    const ConstView gs = g.slice_rows(t, t + seq_len), xs = x.slice_rows(t, t + seq_len);
    run_blocks(
        {d, k, seq_len, true, false, alpha, add, g.dtype, out.view.dtype, gs.data, xs.data, out.view.data, device},
        kBlockTokens);
  }
}

}  // namespace

void gemm(Cpu, ConstView a, ConstView b, View c, GemmOptions options) { multiply(Device::cpu, a, b, c, options); }
void gemm(Meta, ConstView a, ConstView b, View c, GemmOptions options) { multiply(Device::meta, a, b, c, options); }

void gemm_tokens(Cpu, ConstView g, ConstView x, Sink out, double alpha) { sum_tokens(Device::cpu, g, x, out, alpha); }
void gemm_tokens(Meta, ConstView g, ConstView x, Sink out, double alpha) { sum_tokens(Device::meta, g, x, out, alpha); }

GemmBackend gemm_backend() {
#ifdef OSTEON_GEMM_ONEDNN
  static const std::string library = onednn_version();
  return {library.c_str(), onednn_instruction_set(deterministic), deterministic || onednn_was_stable()};
#elif defined(__AVX512F__)
  return {"Osteon tiles", "AVX-512", true};
#elif defined(__AVX2__)
  return {"Osteon tiles", "AVX2", true};
#else
  return {"Osteon tiles", "baseline", true};
#endif
}

std::vector<std::string> gemm_implementations() {
  std::vector<std::string> names;
#ifdef OSTEON_GEMM_ONEDNN
  names = onednn_implementations();
#endif
  if (tiles_used)
    names.emplace_back("osteon:tiles");
  return names;
}

void set_deterministic_gemm(bool on) { deterministic = on; }

}  // namespace osteon::kernels
