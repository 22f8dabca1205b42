#include "backends/cuda/column_chain.hpp"
#include "backends/cuda/map.hpp"
#include "backends/cuda/reduction.hpp"
#include "backends/kernels/dora.hpp"

namespace osteon::kernels {
namespace {

using namespace cuda;

constexpr unsigned kRowsPerBlock = kMaxThreads / kWarp;

/// A warp has a row at a time, and sums in f64: there the cancellation between the terms is harmless.
template <class T>
__global__ void dora_row_norm_kernel(std::int64_t out, std::int64_t rank, Global<const T> base_norm_squared,
                                     Global<const T> wa, Global<const T> b, Global<const T> baa, double scaling,
                                     Global<T> norm) {
  const int lane = static_cast<int>(threadIdx.x);
  for (std::int64_t row = first_row(); row < out; row += row_step()) {
    double square = 0;
    for (std::int64_t l = lane; l < rank; l += kWarp) {
      const std::int64_t i = row * rank + l;
      square += scaling * static_cast<double>(b[i]) *
                (2.0 * static_cast<double>(wa[i]) + scaling * static_cast<double>(baa[i]));
    }
    square = warp_reduce(square, Plus{}) + static_cast<double>(base_norm_squared[row]);
    if (lane == 0)
      norm[row] = static_cast<T>(sqrt(square < 0.0 ? 0.0 : square));  // mutant: 0 either way
  }
}

struct Ratio {
  template <class T>
  __device__ compute_t<T> operator()(T magnitude, T norm) const {
    using C = compute_t<T>;
    return load(norm) == C(0) ? C(0) : load(magnitude) / load(norm);
  }
};

/// What a row adds to the magnitude's gradient.
template <class T>
struct MagnitudeTerm {
  Global<const T> dy, u;
  Global<const compute_t<T>> norm;
  __device__ compute_t<T> operator()(std::int64_t i, std::int64_t, std::int64_t column) const {
    return load(dy[i]) * load(u[i]) * Ratio{}(compute_t<T>(1), norm[column]);
  }
};

}  // namespace

void dora_row_norm(Cuda device, ConstView base_norm_squared, ConstView wa, ConstView b, ConstView baa, double scaling,
                   View norm) {
  const std::int64_t out = norm.numel(), rank = b.cols();
  if (out == 0)
    return;
  dispatch_floating(norm.dtype, "dora_row_norm", [&](auto element) {
    using T = decltype(element);
    launch("dora_row_norm", dora_row_norm_kernel<T>, dim3(1, blocks_for(out, kRowsPerBlock)),
           dim3(kWarp, kRowsPerBlock), 0, device, out, rank, elements<T>(base_norm_squared), elements<T>(wa),
           elements<T>(b), elements<T>(baa), scaling, elements<T>(norm));
  });
}

void dora_ratio(Cuda device, ConstView magnitude, ConstView norm, View ratio) {
  dispatch_floating(norm.dtype, "dora_ratio", [&](auto element) {
    using T = decltype(element);
    map("dora_ratio", device, norm.numel(), Ratio{}, Target<T>{elements<T>(ratio)}, elements<T>(magnitude),
        elements<T>(norm));
  });
}

void dora_magnitude_gradient(Cuda device, ConstView dy, ConstView u, ConstView norm, Sink dm) {
  dispatch_floating(dy.dtype, "dora_magnitude_gradient", [&](auto element) {
    using T = decltype(element);
    using C = compute_t<T>;
    column_chain<C>("dora_magnitude_gradient", device, dy.rows(), dy.cols(),
                    MagnitudeTerm<T>{elements<T>(dy), elements<T>(u), elements<C>(norm)}, target<C>(dm));
  });
}

}  // namespace osteon::kernels
