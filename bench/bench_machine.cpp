// The machine's own peaks, which profiles are compared with (docs/profiling.md): fused multiply-adds in registers, a
// middle-sized product, memory. Counters: FLOP/s and bytes/s. OMP_NUM_THREADS sets the threads. With --device=cuda a
// GPU's: a large product, and copies within its memory.
#include "backends/kernels/elementwise.hpp"
#include "backends/kernels/gemm.hpp"
#include "backends/machine.hpp"
#include "bench/buffer.hpp"
#include "bench/main.hpp"

namespace osteon {
namespace {

using bench::Buffer;

constexpr std::int64_t kCpuSize = 1024, kGpuSize = 8192;  ///< of a product that is large enough
constexpr std::int64_t kGpuCopy = 64 << 20;               ///< elements: more than any cache

void rate(benchmark::State& state, const char* unit, double amount) {
  state.counters[unit] = benchmark::Counter(amount, benchmark::Counter::kIsIterationInvariantRate);
}

/// Marks a benchmark that is not of the device that is open.
bool skipped(benchmark::State& state, bool of_cpu) {
  const bool skip = of_cpu != (default_device() == Device::cpu);
  if (skip)
    state.SkipWithError(of_cpu ? "of a CPU only" : "of a GPU only");
  return skip;
}

void BM_fma(benchmark::State& state, DType dtype) {
  if (skipped(state, true))
    return;
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
  if (skipped(state, size == kCpuSize))
    return;
  Buffer a(dtype, {size, size}), b(dtype, {size, size}), c(dtype, {size, size});
  bench::measure(state, [&](auto dev) { kernels::gemm(dev, a.view(), b.view(), c.view(), {.transpose_b = true}); });
  rate(state, "FLOP", 2.0 * static_cast<double>(size * size) * static_cast<double>(size));
}

void BM_memory_read(benchmark::State& state) {
  if (skipped(state, true))
    return;
  MemoryProbe memory;
  for (auto _ : state)
    state.SetBytesProcessed(state.bytes_processed() + static_cast<std::int64_t>(memory.read()));
}

void BM_memory_copy(benchmark::State& state) {
  if (default_device() != Device::cpu) {
    Buffer from(DType::f32, {kGpuCopy}), to(DType::f32, {kGpuCopy});
    bench::measure(state, [&](auto dev) { kernels::copy(dev, from.view(), to.view()); });
    state.SetBytesProcessed(state.iterations() * 2 * from.bytes());
    return;
  }
  MemoryProbe memory;
  for (auto _ : state)
    state.SetBytesProcessed(state.bytes_processed() + static_cast<std::int64_t>(memory.copy()));
}

BENCHMARK_CAPTURE(BM_fma, f32, DType::f32)->UseRealTime()->Unit(benchmark::kMillisecond);
BENCHMARK_CAPTURE(BM_fma, bf16, DType::bf16)->UseRealTime()->Unit(benchmark::kMillisecond);
BENCHMARK_CAPTURE(BM_gemm, f32, DType::f32)->Arg(kCpuSize)->Arg(kGpuSize)->UseRealTime()->Unit(benchmark::kMillisecond);
BENCHMARK_CAPTURE(BM_gemm, bf16, DType::bf16)
    ->Arg(kCpuSize)
    ->Arg(kGpuSize)
    ->UseRealTime()
    ->Unit(benchmark::kMillisecond);
BENCHMARK(BM_memory_read)->UseRealTime()->Unit(benchmark::kMillisecond);
BENCHMARK(BM_memory_copy)->UseRealTime()->Unit(benchmark::kMillisecond);

}  // namespace
}  // namespace osteon

int main(int argc, char** argv) { return osteon::bench::run(argc, argv); }
