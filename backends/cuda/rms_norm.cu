#include "backends/cuda/column_chain.hpp"
#include "backends/cuda/reduction.hpp"
#include "backends/kernels/rms_norm.hpp"

namespace osteon::kernels {
namespace {

using namespace cuda;

// A block has a row at a time and reads it twice: the second time it is in the cache.

/// y = round(x r) weight: transformers rounds the normalised row to its dtype before the weight.
template <int kCount, class T, class W>
__global__ void rms_norm_kernel(std::int64_t rows, std::int64_t h, Global<const T> x, Global<const W> weight,
                                compute_t<T> eps, Global<T> y, Global<compute_t<T>> rstd) {
  using C = compute_t<T>;
  const std::int64_t first = std::int64_t{threadIdx.x} * kCount, step = std::int64_t{blockDim.x} * kCount;
  for (std::int64_t row = blockIdx.x; row < rows; row += gridDim.x) {
    C square = 0;
    for (std::int64_t j = first; j < h; j += step) {
      const auto in = load_pack<kCount>(x, row * h + j);
      for (int k = 0; k < kCount; ++k)
        square += load(in[k]) * load(in[k]);
    }
    const C r = C(1) / sqrt(block_sum(square) / static_cast<C>(h) + eps);
    if (threadIdx.x == 0)
      rstd[row] = r;
    for (std::int64_t j = first; j < h; j += step) {
      const auto in = load_pack<kCount>(x, row * h + j);
      const auto w = load_pack<kCount>(weight, j);
      Pack<T, kCount> out;
      for (int k = 0; k < kCount; ++k) {
        const T normalised = static_cast<T>(load(in[k]) * r);
        out[k] = static_cast<T>(load(normalised) * static_cast<C>(w[k]));
      }
      store_pack(y, row * h + j, out);
    }
  }
}

template <int kCount, class T, class W>
__global__ void rms_norm_dx_kernel(std::int64_t rows, std::int64_t h, Global<const T> dy, Global<const T> x,
                                   Global<const W> weight, Global<const compute_t<T>> rstd, Target<T> dx) {
  using C = compute_t<T>;
  const std::int64_t first = std::int64_t{threadIdx.x} * kCount, step = std::int64_t{blockDim.x} * kCount;
  for (std::int64_t row = blockIdx.x; row < rows; row += gridDim.x) {
    C dot = 0;
    for (std::int64_t j = first; j < h; j += step) {
      const auto g = load_pack<kCount>(dy, row * h + j), in = load_pack<kCount>(x, row * h + j);
      const auto w = load_pack<kCount>(weight, j);
      for (int k = 0; k < kCount; ++k)
        dot += load(g[k]) * static_cast<C>(w[k]) * load(in[k]);
    }
    const C r = rstd[row], shrink = r * r * (block_sum(dot) / static_cast<C>(h));
    for (std::int64_t j = first; j < h; j += step) {
      const auto g = load_pack<kCount>(dy, row * h + j), in = load_pack<kCount>(x, row * h + j);
      const auto w = load_pack<kCount>(weight, j);
      Pack<C, kCount> out;
      for (int k = 0; k < kCount; ++k)
        out[k] = r * (load(g[k]) * static_cast<C>(w[k]) - load(in[k]) * shrink);
      dx.store_pack(row * h + j, out);
    }
  }
}

/// What a row adds to the weight's gradient.
template <class T>
struct WeightTerm {
  Global<const T> dy, x;
  Global<const compute_t<T>> rstd;
  __device__ compute_t<T> operator()(std::int64_t i, std::int64_t row, std::int64_t) const {
    return load(dy[i]) * (load(x[i]) * rstd[row]);
  }
};

}  // namespace

void rms_norm(Cuda device, ConstView x, ConstView weight, double eps, View y, View rstd) {
  const std::int64_t rows = x.rows(), h = x.cols();
  expect_like("rms_norm", "y", y, x);
  expect_shape("rms_norm", "weight", weight, {h});
  expect_numel("rms_norm", "rstd", rstd, rows);
  expect_dtype("rms_norm", "rstd", rstd, accumulator(x.dtype));
  if (rows == 0)
    return;
  dispatch_floating(x.dtype, "rms_norm", [&](auto element) {
    dispatch_floating(weight.dtype, "rms_norm", [&](auto weight_element) {
      using T = decltype(element);
      using W = decltype(weight_element);
      using C = compute_t<T>;
      constexpr int kCount = kPackOf<T, W>;
      const auto in = elements<T>(x);
      const auto w = elements<W>(weight);
      const auto out = elements<T>(y);
      const bool packs =
          h % kCount == 0 && holds_packs<kCount>(in) && holds_packs<kCount>(w) && holds_packs<kCount>(out);
      dispatch_pack<kCount>(packs, [&](auto pack) {
        launch("rms_norm", rms_norm_kernel<pack, T, W>, blocks_for(rows, 1), threads_for(h / pack), 0, device, rows, h,
               in, w, static_cast<C>(eps), out, elements<C>(rstd));
      });
    });
  });
}

void rms_norm_backward(Cuda device, ConstView dy, ConstView x, ConstView weight, ConstView rstd, Sink dx,
                       Sink dweight) {
  const std::int64_t rows = x.rows(), h = x.cols();
  expect_like("rms_norm_backward", "dy", dy, x);
  expect_shape("rms_norm_backward", "weight", weight, {h});
  expect_numel("rms_norm_backward", "rstd", rstd, rows);
  expect_dtype("rms_norm_backward", "rstd", rstd, accumulator(x.dtype));
  if (dx)
    expect_like("rms_norm_backward", "dx", dx.view, x);
  if (dweight)
    expect_shape("rms_norm_backward", "dweight", dweight.view, {h});
  dispatch_floating(x.dtype, "rms_norm_backward", [&](auto element) {
    using T = decltype(element);
    using C = compute_t<T>;
    const auto g = elements<T>(dy), in = elements<T>(x);
    const auto scales = elements<C>(rstd);
    if (dx && rows > 0)
      dispatch_floating(weight.dtype, "rms_norm_backward", [&](auto weight_element) {
        using W = decltype(weight_element);
        constexpr int kCount = kPackOf<T, W>;
        const auto w = elements<W>(weight);
        const Target<T> out = target<T>(dx);
        const bool packs = h % kCount == 0 && holds_packs<kCount>(g) && holds_packs<kCount>(in) &&
                           holds_packs<kCount>(w) && holds_packs<kCount>(out.data);
        dispatch_pack<kCount>(packs, [&](auto pack) {
          launch("rms_norm_dx", rms_norm_dx_kernel<pack, T, W>, blocks_for(rows, 1), threads_for(h / pack), 0, device,
                 rows, h, g, in, w, scales, out);
        });
      });
    if (dweight)
      dispatch_floating(dweight.view.dtype, "rms_norm_backward", [&](auto weight_element) {
        using W = decltype(weight_element);
        using Sum = common_t<T, W>;
        column_chain<Sum>("rms_norm_dweight", device, rows, h, WeightTerm<T>{g, in, scales}, target<W>(dweight));
      });
  });
}

}  // namespace osteon::kernels
