#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "backends/device.hpp"
#include "backends/dtype.hpp"

/// What this machine can do at most, measured with as many threads as kernels use, or what the GPU that is open can:
/// what a profile compares with.
namespace osteon {

/// Whether this build multiplies bf16 in hardware (AVX512-BF16).
bool has_bf16_fma();

/// Fused multiply-adds in registers on all threads, `rounds` times a fixed number; returns the FLOPs. f32 or, where
/// has_bf16_fma(), bf16.
double run_fma(DType dtype, std::int64_t rounds);

/// Two blocks of memory much larger than caches: 128 MiB in all.
class MemoryProbe {
 public:
  MemoryProbe();

  /// Reads both; returns the bytes.
  double read();
  /// Copies one to the other; returns the bytes read and written.
  double copy();

 private:
  std::vector<std::byte> from_, to_;
};

/// Best rates of about a second of trying. Of a GPU only those of products and of copies are measured.
struct MachinePeaks {
  std::int64_t threads = 0;
  double fma_f32 = 0;                  ///< FLOP/s
  double fma_bf16 = 0;                 ///< FLOP/s; 0 without has_bf16_fma()
  double gemm_f32 = 0, gemm_bf16 = 0;  ///< FLOP/s of a product of `gemm_size` in all three extents by gemm()
  double read = 0, copy = 0;           ///< bytes/s
  std::string gpu{};                   ///< its name; empty: the CPU's peaks
  std::int64_t gemm_size = 0;

  /// What products in this dtype can reach, 0 where unknown (f64): a GPU's by gemm(), else multiply-adds, where bf16
  /// counts as f32 if it is multiplied as f32.
  double products(DType dtype) const;
};
MachinePeaks measure_machine(Cpu = {});
MachinePeaks measure_machine(Cuda);

}  // namespace osteon
