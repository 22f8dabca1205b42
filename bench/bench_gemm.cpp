// The matrix products of real layers: frozen linears in both directions, adapters' thin factors, sums over tokens,
// Bat's slabs, and the tiny model of the default ablation, where the time of a call counts.
// Counter: FLOP/s. OMP_NUM_THREADS sets the threads, --device=cuda measures on a GPU. "engine": 0 = what the front
// chooses, 1 = own tiles (gemm) or the fused chains (gemm_tokens) by themselves, 2 = the front's choice without our AMX
// (bf16 only; DNNL_MAX_CPU_ISA=AVX512_CORE_BF16 leaves AMX out for the whole process).
#include <array>
#include <vector>

#include "backends/cpu/gemm_engines.hpp"
#include "backends/kernels/bat.hpp"
#include "backends/kernels/block_sum.hpp"
#include "backends/kernels/gemm.hpp"
#include "bench/buffer.hpp"
#include "bench/main.hpp"
#include "bench/shapes.hpp"

namespace osteon {
namespace {

using bench::Buffer;

constexpr DType kDTypes[] = {DType::f32, DType::bf16};

DType dtype(const benchmark::State& state) { return kDTypes[state.range(0)]; }

/// By the front on the device that is open, or by one of the CPU's engines itself.
template <class Front, class Engine>
void run(benchmark::State& state, const Front& front, const Engine& engine) {
  if (state.range(1) == 0)
    return bench::measure(state, front);
  if (state.range(1) == 2) {
    kernels::set_amx_gemm(false);
    bench::measure(state, front);
    kernels::set_amx_gemm(true);
    return;
  }
  if (default_device() != Device::cpu)
    return state.SkipWithError("the CPU's own");
  for (auto _ : state)
    engine();
}

void count(benchmark::State& state, double multiply_adds) {
  state.counters["FLOP"] = benchmark::Counter(2 * multiply_adds, benchmark::Counter::kIsIterationInvariantRate);
}

/// c = a op(b): y = x W^T (transposed) and dx = g W.
void gemm(benchmark::State& state, bool transpose_b) {
  const std::int64_t m = state.range(2), n = state.range(3), k = state.range(4);
  Buffer a(dtype(state), {m, k}), b(dtype(state), transpose_b ? Shape{n, k} : Shape{k, n}), c(dtype(state), {m, n});
  const kernels::Product product{
      m, n, k, false, transpose_b, 1.0, false, dtype(state), dtype(state), a.view().data, b.view().data, c.view().data};
  run(
      state, [&](auto dev) { kernels::gemm(dev, a.view(), b.view(), c.view(), {.transpose_b = transpose_b}); },
      [&] { kernels::gemm_fused(product); });
  count(state, static_cast<double>(m * n) * static_cast<double>(k));
}

void BM_gemm_forward(benchmark::State& state) { gemm(state, true); }
void BM_gemm_backward(benchmark::State& state) { gemm(state, false); }

void BM_gemm_tokens(benchmark::State& state) {
  const std::int64_t batch = state.range(2), seq_len = state.range(3), d = state.range(4), k = state.range(5);
  Buffer g(dtype(state), {batch, seq_len, d}), x(dtype(state), {batch, seq_len, k}), out(DType::f32, {d, k});
  const kernels::TokenProduct product{
      batch * seq_len, seq_len,        d, k, 1.0, false, dtype(state), dtype(state), DType::f32, g.view().data,
      x.view().data,   out.view().data};
  run(
      state, [&](auto dev) { kernels::gemm_tokens(dev, g.view(), x.view(), out.sink()); },
      [&] { kernels::gemm_tokens_fma(product); });
  count(state, static_cast<double>(batch * seq_len) * static_cast<double>(d * k));
}

/// Arguments of a slab: dtype, 0, block rows, rank, features.
void BM_bat_weight(benchmark::State& state) {
  const std::int64_t m = state.range(2), r = state.range(3), k = state.range(4);
  Buffer w(dtype(state), {m * r, k}), b(DType::f32, {m, r, r}), y(dtype(state), {m * r, k});
  bench::measure(state, [&](auto dev) { kernels::bat_weight(dev, w.view(), b.view(), y.view()); });
  count(state, static_cast<double>(m * r) * static_cast<double>(k * r));
}

void BM_bat_block_gradient(benchmark::State& state) {
  const std::int64_t m = state.range(2), r = state.range(3), k = state.range(4);
  Buffer w(dtype(state), {m * r, k}), dw(DType::f32, {m * r, k}), db(DType::f32, {m, r, r});
  bench::measure(state, [&](auto dev) { kernels::bat_block_gradient(dev, w.view(), dw.view(), db.sink()); });
  count(state, static_cast<double>(m * r) * static_cast<double>(k * r));
}

/// Arguments: dtype, 0, tokens, rank, features; bytes read and written once.
void BM_block_sum(benchmark::State& state) {
  const std::int64_t n = state.range(2), r = state.range(3), k = state.range(4);
  Buffer x(dtype(state), {n, k}), y(dtype(state), {n, r});
  bench::measure(state, [&](auto dev) { kernels::block_sum(dev, x.view(), y.sink()); });
  state.SetBytesProcessed(state.iterations() * (x.bytes() + y.bytes()));
}

void BM_block_tile(benchmark::State& state) {
  const std::int64_t n = state.range(2), r = state.range(3), k = state.range(4);
  Buffer x(dtype(state), {n, r}), y(dtype(state), {n, k});
  bench::measure(state, [&](auto dev) { kernels::block_tile(dev, x.view(), y.sink(true)); });
  state.SetBytesProcessed(state.iterations() * (x.bytes() + 2 * y.bytes()));
}

constexpr std::int64_t kHeadRows = 256;  // that the loss takes at a time

/// tokens, out_features, in_features: a block's linears of some models and an adapter's factors (rank 32) beside them;
/// the tiny model of the default ablation (32 x 32 tokens, hidden 128, ranks 4 and 8); one token.
void layers(benchmark::internal::Benchmark* b) {
  using Sizes = std::vector<std::array<std::int64_t, 3>>;
  Sizes wide = {{1024, 128, 128}, {1, 2048, 2048}};
  Sizes thin = {{1024, 4, 128}, {1024, 128, 4}, {1024, 8, 128}, {1024, 128, 8}};
  for (const char* name : {"small", "tiny1b", "l7b"}) {
    const bench::ModelShape& s = bench::shape_named(name);
    for (const auto& size : Sizes{{s.tokens(), s.hidden_size, s.hidden_size},
                                  {s.tokens(), s.intermediate_size, s.hidden_size},
                                  {s.tokens(), s.hidden_size, s.intermediate_size}})
      wide.push_back(size);
    thin.push_back({s.tokens(), 32, s.hidden_size});
    thin.push_back({s.tokens(), s.hidden_size, 32});
  }
  for (const char* name : {"small", "smol135"}) {
    const bench::ModelShape& s = bench::shape_named(name);
    wide.push_back({kHeadRows, s.vocab_size, s.hidden_size});
    wide.push_back({kHeadRows, s.hidden_size, s.vocab_size});
  }
  b->ArgNames({"dtype", "engine", "m", "n", "k"})->UseRealTime()->Unit(benchmark::kMicrosecond);
  for (const std::int64_t type : {0, 1}) {
    for (const std::int64_t engine : {0, 1})
      for (const auto& [m, n, k] : wide)
        b->Args({type, engine, m, n, k});
    for (const auto& [m, n, k] : thin)
      b->Args({type, 0, m, n, k});
    for (const Sizes* sizes : {&wide, &thin})
      for (const auto& [m, n, k] : *sizes)
        if (kDTypes[type] == DType::bf16)
          b->Args({type, 2, m, n, k});
  }
}

void token_sums(benchmark::internal::Benchmark* b) {
  b->ArgNames({"dtype", "engine", "batch", "seq_len", "d", "k"})->UseRealTime()->Unit(benchmark::kMicrosecond);
  for (const std::int64_t type : {0, 1})
    for (const std::int64_t engine : {0, 1})
      for (const auto& [batch, seq_len, d, k] :
           std::initializer_list<std::tuple<int, int, int, int>>{{32, 32, 128, 128},
                                                                 {32, 32, 4, 128},
                                                                 {32, 32, 128, 4},
                                                                 {32, 32, 8, 256},
                                                                 {4, 256, 512, 32},
                                                                 {4, 256, 32, 512},
                                                                 {2, 256, 32, 576},
                                                                 {4, 256, 512, 512},
                                                                 {1, 512, 2048, 32},
                                                                 {1, 512, 64, 2048},
                                                                 {1, 512, 256, 2048}})
        b->Args({type, engine, batch, seq_len, d, k});
}

void slabs(benchmark::internal::Benchmark* b) {
  b->ArgNames({"dtype", "", "m", "r", "k"})->UseRealTime()->Unit(benchmark::kMicrosecond);
  for (const std::int64_t type : {0, 1})
    for (const auto& [m, r, k] :
         std::initializer_list<std::tuple<int, int, int>>{{16, 8, 128}, {4, 64, 512}, {4, 64, 2048}, {4, 64, 11008}})
      b->Args({type, 0, m, r, k});
}

void block_sums(benchmark::internal::Benchmark* b) {
  b->ArgNames({"dtype", "", "n", "r", "k"})->UseRealTime()->Unit(benchmark::kMicrosecond);
  for (const std::int64_t type : {0, 1})
    for (const auto& [n, r, k] :
         std::initializer_list<std::tuple<int, int, int>>{{1024, 8, 128}, {1024, 64, 512}, {512, 64, 11008}})
      b->Args({type, 0, n, r, k});
}

BENCHMARK(BM_gemm_forward)->Apply(layers);
BENCHMARK(BM_gemm_backward)->Apply(layers);
BENCHMARK(BM_gemm_tokens)->Apply(token_sums);
BENCHMARK(BM_bat_weight)->Apply(slabs);
BENCHMARK(BM_bat_block_gradient)->Apply(slabs);
BENCHMARK(BM_block_sum)->Apply(block_sums);
BENCHMARK(BM_block_tile)->Apply(block_sums);

}  // namespace
}  // namespace osteon

int main(int argc, char** argv) { return osteon::bench::run(argc, argv); }
