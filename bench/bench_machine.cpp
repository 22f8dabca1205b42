// The machine's own peaks, which profiles are compared with (docs/profiling.md): fused multiply-adds in registers, a
// middle-sized product, memory. Counters: FLOP/s and bytes/s. OMP_NUM_THREADS sets the threads.
#include <benchmark/benchmark.h>

#include "backends/kernels/gemm.hpp"
#include "backends/machine.hpp"
#include "bench/buffer.hpp"

namespace osteon {
namespace {

using bench::Buffer;

void rate(benchmark::State& state, const char* unit, double amount) {
  state.counters[unit] = benchmark::Counter(amount, benchmark::Counter::kIsIterationInvariantRate);
}

void BM_fma(benchmark::State& state, DType dtype) {
  if (dtype == DType::bf16 && !has_bf16_fma()) {
    state.SkipWithError("this build has no bf16 instructions");
    return;
  }
  double flops = 0;
  for (auto _ : state)
    flops = run_fma(dtype, 256);
  rate(state, "FLOP", flops);
}

void BM_gemm(benchmark::State& state, DType dtype) {
  const std::int64_t size = state.range(0);
  Buffer a(dtype, {size, size}), b(dtype, {size, size}), c(dtype, {size, size});
  for (auto _ : state)
    kernels::gemm(Cpu{}, a.view(), b.view(), c.view(), {.transpose_b = true});
  rate(state, "FLOP", 2.0 * static_cast<double>(size * size) * static_cast<double>(size));
}

void BM_memory_read(benchmark::State& state) {
  MemoryProbe memory;
  for (auto _ : state)
    state.SetBytesProcessed(state.bytes_processed() + static_cast<std::int64_t>(memory.read()));
}

void BM_memory_copy(benchmark::State& state) {
  MemoryProbe memory;
  for (auto _ : state)
    state.SetBytesProcessed(state.bytes_processed() + static_cast<std::int64_t>(memory.copy()));
}

BENCHMARK_CAPTURE(BM_fma, f32, DType::f32)->UseRealTime()->Unit(benchmark::kMillisecond);
BENCHMARK_CAPTURE(BM_fma, bf16, DType::bf16)->UseRealTime()->Unit(benchmark::kMillisecond);
BENCHMARK_CAPTURE(BM_gemm, f32, DType::f32)->Arg(1024)->UseRealTime()->Unit(benchmark::kMillisecond);
BENCHMARK_CAPTURE(BM_gemm, bf16, DType::bf16)->Arg(1024)->UseRealTime()->Unit(benchmark::kMillisecond);
BENCHMARK(BM_memory_read)->UseRealTime()->Unit(benchmark::kMillisecond);
BENCHMARK(BM_memory_copy)->UseRealTime()->Unit(benchmark::kMillisecond);

}  // namespace
}  // namespace osteon

BENCHMARK_MAIN();
