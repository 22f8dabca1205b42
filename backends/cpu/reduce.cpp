#include "backends/kernels/reduce.hpp"

#include <array>
#include <cmath>

#include "backends/check.hpp"
#include "backends/cpu/column_chain.hpp"
#include "backends/cpu/parallel.hpp"
#include "backends/cpu/simd.hpp"
#include "backends/gpu_workspace.hpp"
#include "backends/scratch.hpp"

namespace osteon::kernels {
namespace {

using namespace cpu;

constexpr std::int64_t kBlock = 4096;  // elements of one partial sum
constexpr std::int64_t kBatch = 512;   // partial sums that are computed in parallel, then added in order

/// Sum of of(begin, count) over blocks of a fixed size, added in order.
template <class F>
double blocked_sum(std::int64_t n, const F& of) {
  double total = 0;
  std::array<double, kBatch> partial;
  for (std::int64_t start = 0; start < n; start += kBatch * kBlock) {
    const std::int64_t blocks = std::min(kBatch, (n - start + kBlock - 1) / kBlock);
    double* const sums = partial.data();
    parallel_rows(blocks, kBlock, [=](std::int64_t b) {
      const std::int64_t begin = start + b * kBlock;
      sums[b] = of(begin, std::min(kBlock, n - begin));
    });
    for (std::int64_t b = 0; b < blocks; ++b)
      total += sums[b];
  }
  return total;
}

template <class T>
std::int64_t nonfinite(const T* x, std::int64_t n) {
  std::int64_t found = 0;
#pragma omp simd reduction(+ : found)
  for (std::int64_t i = 0; i < n; ++i)
    found += load(x[i]) - load(x[i]) == 0 ? 0 : 1;  // Inf - Inf and NaN - NaN are NaN
  return found;
}

void store_scalar(const char* op, const Sink& out, double value) {
  expect_numel(op, "out", out.view, 1);
  if (out.view.dtype == DType::f32)
    store(*out.view.as<float>(), value, out.add);
  else
    store(*out.view.as<double>(), value, out.add);
}

}  // namespace

void sum(Cpu, ConstView x, Factor factor, Sink out) {
  dispatch_floating(x.dtype, "sum", [&](auto element) {
    using T = decltype(element);
    const T* data = x.as<T>();
    const double total = blocked_sum(
        x.numel(), [=](std::int64_t begin, std::int64_t count) { return vector_sum<double>(data + begin, count); });
    store_scalar("sum", out, number_of(factor) * total);
  });
}

void sum_squares(Cpu, ConstView x, Sink out) {
  dispatch_floating(x.dtype, "sum_squares", [&](auto element) {
    using T = decltype(element);
    const T* data = x.as<T>();
    const double total = blocked_sum(x.numel(), [=](std::int64_t begin, std::int64_t count) {
      return vector_dot<double>(data + begin, data + begin, count);
    });
    store_scalar("sum_squares", out, total);
  });
}

namespace {
void take_workspace() {
  if (planned_device() == Device::cuda)
    scratch(kSumWorkspace, Device::meta);
}
}  // namespace

void sum(Meta, ConstView /*x*/, Factor /*factor*/, Sink /*out*/) { take_workspace(); }
void sum_squares(Meta, ConstView /*x*/, Sink /*out*/) { take_workspace(); }

void column_sum(Cpu, ConstView x, Sink out) {
  dispatch_floating(x.dtype, "column_sum", [&](auto element) {
    using T = decltype(element);
    const T* data = x.as<T>();
    column_chain<compute_t<T>>("column_sum", x.rows(), x.cols(), out,
                               [=](std::int64_t, std::int64_t i) { return load(data[i]); });
  });
}

void column_dot(Cpu, ConstView a, ConstView b, Sink out) {
  expect_shape("column_dot", "b", b, a.shape);
  dispatch_floating(a.dtype, "column_dot", [&](auto left_element) {
    dispatch_floating(b.dtype, "column_dot", [&](auto right_element) {
      using A = decltype(left_element);
      using B = decltype(right_element);
      using C = decltype(load(left_element) + load(right_element));
      const A* left = a.as<A>();
      const B* right = b.as<B>();
      column_chain<C>("column_dot", a.rows(), a.cols(), out,
                      [=](std::int64_t, std::int64_t i) { return static_cast<C>(left[i]) * static_cast<C>(right[i]); });
    });
  });
}

void row_sum_squares(Cpu, ConstView x, View out) {
  const std::int64_t d = x.rows(), k = x.cols();
  expect_numel("row_sum_squares", "out", out, d);
  expect_dtype("row_sum_squares", "out", out, accumulator(x.dtype));
  dispatch_floating(x.dtype, "row_sum_squares", [&](auto element) {
    using T = decltype(element);
    using C = compute_t<T>;
    const T* data = x.as<T>();
    C* sums = out.as<C>();
    parallel_rows(d, k, [=](std::int64_t n) {
      const T* row = data + n * k;
      sums[n] = vector_dot<C>(row, row, k);
    });
  });
}

void count_nonfinite(Cpu, ConstView x, View count) {
  expect_numel("count_nonfinite", "count", count, 1);
  std::int32_t* result = count.as<std::int32_t>();
  std::int64_t found = 0;  // integers: the order does not matter
  dispatch_floating(x.dtype, "count_nonfinite", [&](auto element) {
    using T = decltype(element);
    const T* data = x.as<T>();
    parallel_ranges(x.numel(), 1, kBlock, [=, &found](std::int64_t begin, std::int64_t end) {
      const std::int64_t mine = nonfinite(data + begin, end - begin);
#pragma omp atomic
      found += mine;
    });
  });
  *result = static_cast<std::int32_t>(std::min<std::int64_t>(found, INT32_MAX));
}

void argmax_rows(Cpu, ConstView x, View index) {
  const std::int64_t n = x.rows(), d = x.cols();
  expect_numel("argmax_rows", "index", index, n);
  check(d > 0, "argmax_rows: x: expected at least one column, got shape ", x.shape);
  std::int32_t* best = index.as<std::int32_t>();
  dispatch_floating(x.dtype, "argmax_rows", [&](auto element) {
    using T = decltype(element);
    const T* data = x.as<T>();
    parallel_rows(n, d, [=](std::int64_t row) {
      const T* values = data + row * d;
      std::int64_t at = 0;
      for (std::int64_t j = 1; j < d && !std::isnan(load(values[at])); ++j)  // as torch: a NaN is the largest
        if (!(load(values[j]) <= load(values[at])))
          at = j;
      best[row] = static_cast<std::int32_t>(at);
    });
  });
}

}  // namespace osteon::kernels
