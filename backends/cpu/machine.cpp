#include "backends/machine.hpp"

#include <cstring>
#include <omp.h>
#ifdef __AVX512BF16__
#include <immintrin.h>
#endif

#include "backends/best_rate.hpp"
#include "backends/cpu/parallel.hpp"
#include "backends/cpu/vector.hpp"
#include "backends/kernels/gemm.hpp"

namespace osteon {
namespace {

using Vector = cpu::Vector<float>;
using cpu::kVectorBytes;

// Chains that do not wait for one another: latency times width of every processor so far fits, and so do the registers.
constexpr int kChains = kVectorBytes == 64 ? 16 : 12;
constexpr std::int64_t kRoundSteps = 4096;
constexpr std::size_t kProbeBytes = std::size_t{64} << 20;

// Results go where the compiler cannot see that nobody reads them.
thread_local volatile float nowhere = 0;

/// Every lane counts: of one lane alone the compiler computes no other.
template <std::size_t kCount>
void keep(const Vector (&sums)[kCount]) {
  Vector all = sums[0];
  for (std::size_t i = 1; i < kCount; ++i)
    all += sums[i];
  float total = 0;
  for (std::size_t lane = 0; lane < sizeof(Vector) / sizeof(float); ++lane)
    total += all[lane];
  nowhere = total;
}

void fma_chains(std::int64_t steps, float factor) {
  Vector sums[kChains];
  for (int i = 0; i < kChains; ++i)  // alike, they would be one chain to the compiler
    sums[i] = Vector{} + factor * static_cast<float>(i);
  const Vector times = Vector{} + factor;
  for (std::int64_t step = 0; step < steps; ++step)
    for (Vector& sum : sums)
      sum = cpu::fused(sum, times, times);
  keep(sums);
}

/// Sums a block in chains enough to wait for memory only.
void read_block(const std::byte* data, std::int64_t bytes) {
  constexpr std::int64_t kReads = 4;
  Vector sums[kReads] = {};
  for (std::int64_t at = 0; at + kReads * kVectorBytes <= bytes; at += kReads * kVectorBytes)
    for (std::int64_t i = 0; i < kReads; ++i) {
      Vector part;
      std::memcpy(&part, data + at + i * kVectorBytes, sizeof part);
      sums[i] += part;
    }
  keep(sums);
}

#ifdef __AVX512BF16__
void fma_chains_bf16(std::int64_t steps, float factor) {
  __m512 sums[kChains];
  for (int i = 0; i < kChains; ++i)
    sums[i] = _mm512_set1_ps(factor * static_cast<float>(i));
  const __m512bh a = _mm512_cvtne2ps_pbh(_mm512_set1_ps(factor), _mm512_set1_ps(factor));
  for (std::int64_t step = 0; step < steps; ++step)
    for (__m512& sum : sums)
      sum = _mm512_dpbf16_ps(sum, a, a);
  float total = 0;
  for (const __m512& sum : sums)
    total += sum[0];
  nowhere = total;
}
#endif

constexpr std::int64_t kSize = 1024;  // of the product

double gemm_rate(DType dtype, double seconds) {
  std::vector<std::byte> bytes[3];
  View views[3];
  for (int i = 0; i < 3; ++i) {
    bytes[i].resize(static_cast<std::size_t>(kSize * kSize * size_of(dtype)));
    views[i] = {bytes[i].data(), dtype, {kSize, kSize}, true};
  }
  return best_rate(seconds, [&] {
    kernels::gemm(Cpu{}, views[0], views[1], views[2], {.transpose_b = true});
    return 2.0 * static_cast<double>(kSize * kSize) * static_cast<double>(kSize);
  });
}

}  // namespace

bool has_bf16_fma() {
#ifdef __AVX512BF16__
  return true;
#else
  return false;
#endif
}

double run_fma(DType dtype, std::int64_t rounds) {
  check(dtype == DType::f32 || (dtype == DType::bf16 && has_bf16_fma()), "run_fma: expected f32",
        has_bf16_fma() ? " or bf16" : "", ", got ", dtype);
  const std::int64_t steps = rounds * kRoundSteps;
  // Not known when compiling.
  const float factor = nowhere * 0 + 0.5F;
  int threads = 1;
#pragma omp parallel
  {
#pragma omp single
    threads = omp_get_num_threads();
#ifdef __AVX512BF16__
    if (dtype == DType::bf16)
      fma_chains_bf16(steps, factor);
    else
#endif
      fma_chains(steps, factor);
  }
  const double products = dtype == DType::bf16 ? 2 : 1;  // of each lane
  constexpr auto kLanes = static_cast<int>(sizeof(Vector) / sizeof(float));
  return 2.0 * products * (kLanes * kChains) * static_cast<double>(steps) * threads;
}

MemoryProbe::MemoryProbe() : from_(kProbeBytes, std::byte{1}), to_(kProbeBytes, std::byte{2}) {}

double MemoryProbe::read() {
  for (const auto* block : {&from_, &to_})
    cpu::parallel_ranges(static_cast<std::int64_t>(kProbeBytes), 1, 4096,
                         [&](std::int64_t begin, std::int64_t end) { read_block(block->data() + begin, end - begin); });
  return 2.0 * static_cast<double>(kProbeBytes);
}

double MemoryProbe::copy() {
  cpu::parallel_ranges(static_cast<std::int64_t>(kProbeBytes), 1, 4096, [&](std::int64_t begin, std::int64_t end) {
    std::memcpy(to_.data() + begin, from_.data() + begin, static_cast<std::size_t>(end - begin));
  });
  return 2.0 * static_cast<double>(kProbeBytes);
}

double MachinePeaks::products(DType dtype) const {
  if (!gpu.empty())
    return dtype == DType::f32 ? gemm_f32 : dtype == DType::bf16 ? gemm_bf16 : 0;
  if (dtype == DType::bf16 && fma_bf16 > 0)
    return fma_bf16;
  return dtype == DType::f32 || dtype == DType::bf16 ? fma_f32 : 0;
}

MachinePeaks measure_machine(Cpu) {
  constexpr double kEach = 0.12;         // seconds
  constexpr std::int64_t kRounds = 256;  // some milliseconds: starting the threads does not show
  MachinePeaks peaks;
  peaks.threads = omp_get_max_threads();
  peaks.fma_f32 = best_rate(kEach, [] { return run_fma(DType::f32, kRounds); });
  if (has_bf16_fma())
    peaks.fma_bf16 = best_rate(kEach, [] { return run_fma(DType::bf16, kRounds); });
  peaks.gemm_size = kSize;
  peaks.gemm_f32 = gemm_rate(DType::f32, kEach);
  peaks.gemm_bf16 = gemm_rate(DType::bf16, kEach);
  MemoryProbe memory;
  peaks.read = best_rate(kEach, [&] { return memory.read(); });
  peaks.copy = best_rate(kEach, [&] { return memory.copy(); });
  return peaks;
}

}  // namespace osteon
