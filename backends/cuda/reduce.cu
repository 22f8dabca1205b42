#include "backends/cuda/column_chain.hpp"
#include "backends/cuda/largest.hpp"
#include "backends/cuda/reduction.hpp"
#include "backends/gpu_workspace.hpp"
#include "backends/kernels/reduce.hpp"
#include "backends/scratch.hpp"

namespace osteon::kernels {
namespace {

using namespace cuda;

struct Value {
  template <class T>
  __device__ double operator()(T x) const {
    return static_cast<double>(x);
  }
};
struct Square {
  template <class T>
  __device__ double operator()(T x) const {
    return static_cast<double>(x) * static_cast<double>(x);
  }
};
struct IsNonfinite {
  template <class T>
  __device__ double operator()(T x) const {
    return load(x) - load(x) == 0 ? 0 : 1;  // Inf - Inf and NaN - NaN are NaN
  }
};

// Sums of a whole tensor: each block sums one stretch of it, then one block sums what they have. How long a stretch is,
// and which thread takes which element, depends on the number of elements only.
constexpr int kStretchUnit = 16 * kMaxThreads;

std::int64_t stretch_of(std::int64_t count) {
  const std::int64_t units = (count + kStretchUnit - 1) / kStretchUnit;
  return (units + kMostPartials - 1) / kMostPartials * kStretchUnit;
}

template <bool kVectors, class T, class Term>
__global__ void partial_sums_kernel(std::int64_t count, std::int64_t stretch, Term term, Global<const T> x,
                                    Global<double> partials) {
  constexpr int kCount = kPackOf<T>;
  const std::int64_t begin = blockIdx.x * stretch, end = std::min(begin + stretch, count);
  double sum = 0;
  const std::int64_t first = begin + std::int64_t{threadIdx.x} * kCount;
  for (std::int64_t i = first; i < end; i += std::int64_t{blockDim.x} * kCount) {  // mutant: nothing left at the end
    if (kVectors && i + kCount <= end) {
      const auto pack = load_pack<kCount>(x, i);
      for (int k = 0; k < kCount; ++k)
        sum += term(pack[k]);
    } else {
      for (std::int64_t k = i; k < i + kCount && k < end; ++k)
        sum += term(x[k]);
    }
  }
  sum = block_sum(sum);
  if (threadIdx.x == 0)
    partials[blockIdx.x] = sum;
}

/// A sum as it is stored; counts of more than an i32 can hold stay at its highest value.
template <class T>
__device__ T rounded_sum(double value) {
  constexpr double kHighest = 2147483647.0;
  return static_cast<T>(std::is_same_v<T, std::int32_t> && value > kHighest ? kHighest : value);
}

template <class T>
__global__ void final_sum_kernel(int count, Global<const double> partials, DeviceFactor factor, Target<T> out) {
  double sum = 0;
  for (int i = static_cast<int>(threadIdx.x); i < count; i += static_cast<int>(blockDim.x))
    sum += partials[i];
  sum = block_sum(sum);
  if (threadIdx.x == 0)
    out.data[0] = rounded_sum<T>(out.add ? static_cast<double>(out.data[0]) + factor() * sum : factor() * sum);
}

/// out (+)= factor * sum of term(element), summed in f64.
template <class To, class Term>
void sum_all(const char* op, Cuda device, const ConstView& x, const Term& term, const Factor& factor, const Sink& out) {
  const std::int64_t count = x.numel(), stretch = stretch_of(count);
  const std::int64_t blocks = count == 0 ? 0 : (count + stretch - 1) / stretch;
  const View partials{scratch(kSumWorkspace, Device::cuda), DType::f64, {kMostPartials}, true};
  dispatch_floating(x.dtype, op, [&](auto element) {
    using T = decltype(element);
    if (blocks == 0)
      return;
    const auto in = elements<T>(x);
    const auto kernel =
        holds_packs<kPackOf<T>>(in) ? partial_sums_kernel<true, T, Term> : partial_sums_kernel<false, T, Term>;
    launch(op, kernel, static_cast<unsigned>(blocks), kMaxThreads, 0, device, count, stretch, term, in,
           elements<double>(partials));
  });
  launch(op, final_sum_kernel<To>, 1, kMaxThreads, 0, device, static_cast<int>(blocks),
         elements<double>(ConstView(partials)), DeviceFactor(factor), target<To>(out));
}

template <class T>
struct ColumnValue {
  Global<const T> x;
  __device__ compute_t<T> operator()(std::int64_t i, std::int64_t, std::int64_t) const { return load(x[i]); }
};
template <class A, class B>
struct ColumnProduct {
  Global<const A> a;
  Global<const B> b;
  __device__ common_t<A, B> operator()(std::int64_t i, std::int64_t, std::int64_t) const {
    return static_cast<common_t<A, B>>(a[i]) * static_cast<common_t<A, B>>(b[i]);
  }
};

template <int kCount, class T>
__global__ void row_sum_squares_kernel(std::int64_t rows, std::int64_t columns, Global<const T> x,
                                       Global<compute_t<T>> out) {
  for (std::int64_t row = blockIdx.x; row < rows; row += gridDim.x) {
    compute_t<T> sum = 0;
    for (std::int64_t j = std::int64_t{threadIdx.x} * kCount; j < columns; j += std::int64_t{blockDim.x} * kCount) {
      const auto pack = load_pack<kCount>(x, row * columns + j);
      for (int k = 0; k < kCount; ++k)
        sum += load(pack[k]) * load(pack[k]);
    }
    sum = block_sum(sum);
    if (threadIdx.x == 0)
      out[row] = sum;
  }
}

template <class T>
__global__ void argmax_rows_kernel(std::int64_t rows, std::int64_t columns, Global<const T> x,
                                   Global<std::int32_t> index) {
  for (std::int64_t row = blockIdx.x; row < rows; row += gridDim.x) {
    const auto best = largest_of(x + row * columns, columns);
    if (threadIdx.x == 0)
      index[row] = best.index;
  }
}

}  // namespace

void sum(Cuda device, ConstView x, Factor factor, Sink out) {
  check(is_floating(x.dtype), "sum: expected a floating dtype, got ", x.dtype);
  expect_numel("sum", "out", out.view, 1);
  if (out.view.dtype == DType::f32)
    sum_all<float>("sum", device, x, Value{}, factor, out);
  else
    sum_all<double>("sum", device, x, Value{}, factor, out);
}

void sum_squares(Cuda device, ConstView x, Sink out) {
  check(is_floating(x.dtype), "sum_squares: expected a floating dtype, got ", x.dtype);
  expect_numel("sum_squares", "out", out.view, 1);
  if (out.view.dtype == DType::f32)
    sum_all<float>("sum_squares", device, x, Square{}, 1, out);
  else
    sum_all<double>("sum_squares", device, x, Square{}, 1, out);
}

void count_nonfinite(Cuda device, ConstView x, View count) {
  expect_numel("count_nonfinite", "count", count, 1);
  expect_dtype("count_nonfinite", "count", count, DType::i32);
  sum_all<std::int32_t>("count_nonfinite", device, x, IsNonfinite{}, 1, {count, false});
}

void column_sum(Cuda device, ConstView x, Sink out) {
  expect_numel("column_sum", "out", out.view, x.cols());
  dispatch_floating(x.dtype, "column_sum", [&](auto element) {
    dispatch_floating(out.view.dtype, "column_sum", [&](auto sum_element) {
      using T = decltype(element);
      using To = decltype(sum_element);
      column_chain<common_t<T, To>>("column_sum", device, x.rows(), x.cols(), ColumnValue<T>{elements<T>(x)},
                                    target<To>(out));
    });
  });
}

void column_dot(Cuda device, ConstView a, ConstView b, Sink out) {
  expect_shape("column_dot", "b", b, a.shape);
  expect_numel("column_dot", "out", out.view, a.cols());
  dispatch_floating(a.dtype, "column_dot", [&](auto left) {
    dispatch_floating(b.dtype, "column_dot", [&](auto right) {
      dispatch_floating(out.view.dtype, "column_dot", [&](auto sum_element) {
        using A = decltype(left);
        using B = decltype(right);
        using To = decltype(sum_element);
        column_chain<common_t<A, B, To>>("column_dot", device, a.rows(), a.cols(),
                                         ColumnProduct<A, B>{elements<A>(a), elements<B>(b)}, target<To>(out));
      });
    });
  });
}

void row_sum_squares(Cuda device, ConstView x, View out) {
  const std::int64_t d = x.rows(), k = x.cols();
  expect_numel("row_sum_squares", "out", out, d);
  expect_dtype("row_sum_squares", "out", out, accumulator(x.dtype));
  if (d == 0)
    return;
  dispatch_floating(x.dtype, "row_sum_squares", [&](auto element) {
    using T = decltype(element);
    constexpr int kCount = kPackOf<T>;
    const auto in = elements<T>(x);
    dispatch_pack<kCount>(k % kCount == 0 && holds_packs<kCount>(in), [&](auto pack) {
      launch("row_sum_squares", row_sum_squares_kernel<pack, T>, blocks_for(d, 1), threads_for(k / pack), 0, device, d,
             k, in, elements<compute_t<T>>(out));
    });
  });
}

void argmax_rows(Cuda device, ConstView x, View index) {
  const std::int64_t n = x.rows(), d = x.cols();
  expect_numel("argmax_rows", "index", index, n);
  check(d > 0, "argmax_rows: x: expected at least one column, got shape ", x.shape);
  if (n == 0)
    return;
  dispatch_floating(x.dtype, "argmax_rows", [&](auto element) {
    using T = decltype(element);
    launch("argmax_rows", argmax_rows_kernel<T>, blocks_for(n, 1), threads_for(d), 0, device, n, d, elements<T>(x),
           elements<std::int32_t>(index));
  });
}

}  // namespace osteon::kernels
