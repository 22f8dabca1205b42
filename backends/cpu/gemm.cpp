#include "backends/kernels/gemm.hpp"

#include <atomic>
#include <cstring>
#include <string>

#include "backends/cpu/gemm_engines.hpp"
#include "backends/error.hpp"
#include "backends/gpu_workspace.hpp"
#include "backends/products.hpp"
#include "backends/scratch.hpp"
#include "backends/trace.hpp"

namespace osteon::kernels {
namespace {

using Index = std::int64_t;

// oneDNN splits sums over its threads when a is transposed, from this k on.
constexpr Index kSplitDepth = 2048;
// Shorter sums fill too little of a tile of AMX, whose steps take 32 terms.
constexpr Index kLeastAmxTerms = 16;

std::atomic<bool> deterministic = true;
std::atomic<bool> tiles_used = false, amx_used = false;

void fill_zero(void* c, Index bytes) { std::memset(c, 0, static_cast<std::size_t>(bytes)); }

void note(const Product& product, std::atomic<bool>& used) {
  if (product.device == Device::cpu && !used.load(std::memory_order_relaxed))
    used = true;
}

void note_tiles(const Product& product) { note(product, tiles_used); }

/// Whether AMX sums `terms` terms: measured by bench/bench_gemm.cpp. Neither the number of rows nor of columns matters:
/// the engines' bits differ.
bool amx_sums(Index terms, DType operands) {
  return operands == DType::bf16 && terms >= kLeastAmxTerms && deterministic.load(std::memory_order_relaxed) &&
         amx_runs();
}

void run_own_tiles(const Product& product) {
  gemm_fused(product);
  note_tiles(product);
}

void run(const Product& product) {
  if (gemm_thin(product))
    return note_tiles(product);
  if (amx_sums(product.k, product.operands) && gemm_amx(product))
    return note(product, amx_used);
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
  if (amx_sums(seq_len, dtype))
    return true;
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

/// Whether a product is only counted, as one on a GPU.
bool counted_as_gpu(Device device) { return device == Device::meta && planned_device() == Device::cuda; }

void multiply(Device device, const ConstView& a, const ConstView& b, const View& c, const GemmOptions& options) {
  const Product product = checked_product(device, a, b, c, options);
  if (!has_terms(product, fill_zero))
    return;
  const ProductScope scope(device, "gemm", product.m, product.n, product.k, {a, b, c});
  if (counted_as_gpu(device)) {
    scratch(product_workspace(), Device::meta);
    return;
  }
  if (!options.transpose_a || product.k < kSplitDepth || amx_sums(product.k, product.operands))
    run(product);
  else if (!options.transpose_b && c.dtype != DType::bf16)
    for_blocks(product, product.k, run);
  else
    run_own_tiles(product);  // rare: blocks would need a strided b, or round to bf16 after each
}

void sum_tokens(Device device, const ConstView& g, const ConstView& x, const Sink& out, double alpha) {
  const auto [whole, seq_len] = checked_token_sum(device, g, x, out, alpha);
  if (!has_terms(whole, fill_zero))
    return;
  const ProductScope scope(device, "gemm_tokens", whole.m, whole.n, whole.k, {g, x, out.view});
  if (counted_as_gpu(device)) {
    scratch(TokenParts(whole.m, whole.n, whole.k, seq_len, kBlockTokens, whole.operands).bytes, Device::meta);
    return;
  }
  if (library_sums_tokens(seq_len, whole.m, whole.n, whole.operands))
    return for_blocks(whole, seq_len, run);
  // A wide sum is not rounded on the way, so where sequences end changes no bit of it.
  Product unscaled = whole;
  unscaled.alpha = 1;
  if (whole.result == accumulator(whole.operands) && gemm_blocked(unscaled, alpha))
    return note_tiles(whole);
  if (device == Device::meta)  // the chains ask for no scratch
    return;
  gemm_tokens_fma({whole.k, seq_len, whole.m, whole.n, alpha, whole.add, whole.operands, whole.operands, whole.result,
                   whole.a, whole.b, whole.c});
  tiles_used = true;
}

}  // namespace

void gemm(Cpu, ConstView a, ConstView b, View c, GemmOptions options) { multiply(Device::cpu, a, b, c, options); }
void gemm(Meta, ConstView a, ConstView b, View c, GemmOptions options) { multiply(Device::meta, a, b, c, options); }

void gemm_tokens(Cpu, ConstView g, ConstView x, Sink out, double alpha) { sum_tokens(Device::cpu, g, x, out, alpha); }
void gemm_tokens(Meta, ConstView g, ConstView x, Sink out, double alpha) { sum_tokens(Device::meta, g, x, out, alpha); }

GemmBackend gemm_backend(Cpu) {
#ifdef OSTEON_GEMM_ONEDNN
  static const std::string library = onednn_version();
  const char* const vectors = onednn_instruction_set(deterministic);
  const bool stable = deterministic || onednn_was_stable();
#else
  static const std::string library = "Osteon tiles";
#ifdef __AVX512F__
  const char* const vectors = "AVX-512";
#elif defined(__AVX2__)
  const char* const vectors = "AVX2";
#else
  const char* const vectors = "baseline";
#endif
  constexpr bool stable = true;
#endif
  static const std::string with_amx = join(vectors, ", bit-stable AMX for bf16");
  return {library.c_str(), deterministic && amx_runs() ? with_amx.c_str() : vectors, stable};
}

std::vector<std::string> gemm_implementations() {
  std::vector<std::string> names;
#ifdef OSTEON_GEMM_ONEDNN
  names = onednn_implementations();
#endif
  if (tiles_used)
    names.emplace_back("osteon:tiles");
  if (amx_used)
    names.emplace_back("osteon:amx");
  return names;
}

void set_deterministic_gemm(bool on) { deterministic = on; }

}  // namespace osteon::kernels
