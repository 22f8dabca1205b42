#include "backends/kernels/rms_norm.hpp"

#include <cmath>

#include "backends/check.hpp"
#include "backends/cpu/parallel.hpp"
#include "backends/cpu/simd.hpp"

namespace osteon::kernels {
namespace {

using namespace cpu;

/// dweight[j] (+)= sum over rows of dy x rstd: one chain over the rows, columns in parallel.
template <class T>
void weight_gradient(const T* dy, const T* x, const compute_t<T>* rstd, std::int64_t rows, std::int64_t h,
                     const Sink& sink) {
  using C = compute_t<T>;
  dispatch_floating(sink.view.dtype, "rms_norm_backward", [&](auto element) {
    using W = decltype(element);
    using Sum = decltype(C{} + load(element));
    constexpr std::int64_t kGrain = 64, kColumns = 512;  // running sums that stay in the first-level cache
    W* out = sink.view.as<W>();
    parallel_ranges(h, rows, kGrain, [=, add = sink.add](std::int64_t begin, std::int64_t end) {
      for (std::int64_t j0 = begin; j0 < end; j0 += kColumns) {
        const std::int64_t width = std::min(kColumns, end - j0);
        alignas(64) Sum chain[kColumns];
        for (std::int64_t j = 0; j < width; ++j)
          chain[j] = add ? static_cast<Sum>(out[j0 + j]) : Sum(0);
        for (std::int64_t n = 0; n < rows; ++n) {
          const T *g = dy + n * h + j0, *in = x + n * h + j0;
          const C r = rstd[n];
#pragma omp simd
          for (std::int64_t j = 0; j < width; ++j)
            chain[j] += static_cast<Sum>(load(g[j]) * (load(in[j]) * r));
        }
        for (std::int64_t j = 0; j < width; ++j)
          store(out[j0 + j], chain[j]);
      }
    });
  });
}

/// y = round(x r) weight: transformers rounds the normalised row to its dtype before the weight.
template <class T, class W, class C>
void normalise(const T* x, const W* weight, std::int64_t h, C r, T* y) {
#pragma omp simd
  for (std::int64_t j = 0; j < h; ++j)
    store(y[j], static_cast<C>(static_cast<T>(static_cast<C>(x[j]) * r)) * static_cast<C>(weight[j]));
}

}  // namespace

void rms_norm(Cpu, ConstView x, ConstView weight, double eps, View y, View rstd) {
  const std::int64_t rows = x.rows(), h = x.cols();
  expect_like("rms_norm", "y", y, x);
  expect_shape("rms_norm", "weight", weight, {h});
  expect_numel("rms_norm", "rstd", rstd, rows);
  expect_dtype("rms_norm", "rstd", rstd, accumulator(x.dtype));
  dispatch_floating(x.dtype, "rms_norm", [&](auto element) {
    dispatch_floating(weight.dtype, "rms_norm", [&](auto weight_element) {
      using T = decltype(element);
      using W = decltype(weight_element);
      using C = compute_t<T>;
      const T* in = x.as<T>();
      const W* w = weight.as<W>();
      T* out = y.as<T>();
      C* scales = rstd.as<C>();
      parallel_rows(rows, h, [=](std::int64_t n) {
        const T* row = in + n * h;
        T* to = out + n * h;
        const C square = vector_dot<C>(row, row, h);
        const C r = C(1) / std::sqrt(square / static_cast<C>(h) + static_cast<C>(eps));
        scales[n] = r;
        normalise(row, w, h, r, to);
      });
    });
  });
}

void rms_norm_backward(Cpu, ConstView dy, ConstView x, ConstView weight, ConstView rstd, Sink dx, Sink dweight) {
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
    const T *in = x.as<T>(), *grad = dy.as<T>();
    const C* scales = rstd.as<C>();
    if (dx)
      dispatch_floating(weight.dtype, "rms_norm_backward", [&](auto weight_element) {
        using W = decltype(weight_element);
        const W* w = weight.as<W>();
        T* out = dx.view.as<T>();
        dispatch_add(dx.add, [&](auto add) {
          parallel_rows(rows, h, [=](std::int64_t n) {
            const T *row = in + n * h, *g = grad + n * h;
            T* to = out + n * h;
            const C dot = vector_dot<C>(g, w, row, h);
            const C r = scales[n], shrink = r * r * (dot / static_cast<C>(h));
#pragma omp simd
            for (std::int64_t j = 0; j < h; ++j)
              store(to[j], r * (load(g[j]) * static_cast<C>(w[j]) - load(row[j]) * shrink), add);
          });
        });
      });
    if (dweight)
      weight_gradient(grad, in, scales, rows, h, dweight);
  });
}

}  // namespace osteon::kernels
