#include "backends/machine.hpp"

#include "backends/best_rate.hpp"
#include "backends/cuda/runtime.hpp"
#include "backends/kernels/elementwise.hpp"
#include "backends/kernels/gemm.hpp"
#include "backends/kernels/random.hpp"
#include "backends/storage.hpp"

namespace osteon {
namespace {

#ifdef OSTEON_CUDA_EMULATED
constexpr std::int64_t kSize = 32, kCalls = 1;
constexpr double kEach = 0;
#else
constexpr std::int64_t kSize = 8192, kCalls = 4;  ///< queued before each wait: their start must not show
constexpr double kEach = 0.12;                    ///< seconds
#endif

/// Random elements: zeros draw less power, and the clock would be higher than it is at work.
struct Matrix {
  Storage storage;
  View view;

  Matrix(Cuda device, DType dtype) : storage(kSize * kSize * size_of(dtype), Device::cuda, Category::workspace) {
    view = {storage.data(), dtype, {kSize, kSize}, true};
    kernels::fill_uniform(device, view, -1, 1, {1, 2});
  }
};

/// Of work(), queued kCalls times; it counts `units`.
template <class Work>
double rate(Cuda device, double units, const Work& work) {
  return best_rate(kEach, [&] {
    for (std::int64_t i = 0; i < kCalls; ++i)
      work();
    cuda::synchronize(device);
    return static_cast<double>(kCalls) * units;
  });
}

double gemm_rate(Cuda device, DType dtype) {
  const Matrix a(device, dtype), b(device, dtype), c(device, dtype);
  const double flops = 2.0 * static_cast<double>(kSize * kSize) * static_cast<double>(kSize);
  return rate(device, flops, [&] { kernels::gemm(device, a.view, b.view, c.view, {.transpose_b = true}); });
}

}  // namespace

MachinePeaks measure_machine(Cuda device) {
  MachinePeaks peaks;
  peaks.gpu = cuda::gpu_name();
  peaks.gemm_size = kSize;
  peaks.gemm_f32 = gemm_rate(device, DType::f32);
  peaks.gemm_bf16 = gemm_rate(device, DType::bf16);
  const Matrix from(device, DType::f32), to(device, DType::f32);
  peaks.copy =
      rate(device, 2.0 * static_cast<double>(from.storage.bytes()), [&] { kernels::copy(device, from.view, to.view); });
  return peaks;
}

}  // namespace osteon
