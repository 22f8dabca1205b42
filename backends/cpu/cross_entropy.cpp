#include "backends/kernels/cross_entropy.hpp"

#include <cmath>
#include <cstring>
#include <limits>

#include "backends/cpu/check.hpp"
#include "backends/cpu/parallel.hpp"
#include "backends/cpu/simd.hpp"

namespace osteon::kernels {
namespace {

using namespace cpu;

constexpr std::int32_t kIgnored = -100;

/// log(sum(exp(row))), stable. A NaN fails every comparison of the maximum, but not the sum.
template <class C>
double log_sum_exp(const C* row, std::int64_t d) {
  C highest = -std::numeric_limits<C>::infinity();
#pragma omp simd reduction(max : highest)
  for (std::int64_t j = 0; j < d; ++j)
    highest = row[j] > highest ? row[j] : highest;
  double total = 0;
  constexpr std::int64_t kBlock = 4096;  // an f32 sum of few terms a lane; the blocks are added in f64
  for (std::int64_t begin = 0; begin < d; begin += kBlock) {
    C part = 0;
#pragma omp simd reduction(+ : part)
    for (std::int64_t j = begin; j < std::min(begin + kBlock, d); ++j)
      part += exp(row[j] - highest);
    total += static_cast<double>(part);
  }
  return static_cast<double>(highest) + std::log(total);
}

/// out = factor * (exp(row - lse) - onehot); out may be the row's own memory, in a dtype that is not wider.
template <class C, class T>
void row_gradient(const C* row, std::int64_t d, std::int32_t target, double lse, C factor, T* out) {
  const C at_target = static_cast<C>(std::exp(static_cast<double>(row[target]) - lse) - 1.0) * factor;
  const C offset = static_cast<C>(lse);
#pragma omp simd
  for (std::int64_t j = 0; j < d; ++j)
    store(out[j], factor * exp(row[j] - offset));
  store(out[target], at_target);
}

}  // namespace

void cross_entropy(Cpu, ConstView logits, ConstView targets, double factor, View losses, View dlogits) {
  const std::int64_t rows = logits.rows(), d = logits.cols();
  expect_dtype("cross_entropy", "logits", logits, accumulator(logits.dtype));
  expect_numel("cross_entropy", "targets", targets, rows);
  expect_dtype("cross_entropy", "targets", targets, DType::i32);
  expect_numel("cross_entropy", "losses", losses, rows);
  expect_dtype("cross_entropy", "losses", losses, DType::f64);
  const std::int32_t* target = targets.as<std::int32_t>();
  for (std::int64_t n = 0; n < rows; ++n)
    check<IndexError>(target[n] == kIgnored || (0 <= target[n] && target[n] < d),
                      "cross_entropy: targets: expected ids in [0, ", d, ") or ", kIgnored, ", got ", target[n], " at ",
                      n);
  double* loss = losses.as<double>();
  const DType gradient_dtype = dlogits ? dlogits.dtype : logits.dtype;
  if (dlogits)
    expect_shape("cross_entropy", "dlogits", dlogits, logits.shape);
  dispatch_floating(logits.dtype, "cross_entropy", [&](auto element) {
    using C = compute_t<decltype(element)>;
    dispatch_floating(gradient_dtype, "cross_entropy", [&](auto gradient_element) {
      using T = decltype(gradient_element);
      const C* in = logits.as<C>();
      T* out = dlogits ? dlogits.as<T>() : nullptr;
      const bool shared = dlogits && dlogits.data == logits.data && logits.numel() > 0;
      check(!shared || sizeof(T) <= sizeof(C), "cross_entropy: dlogits: ", dlogits.dtype,
            " cannot share the memory of ", logits.dtype, " logits");
      // In shared memory each row is first written where its own logits begin, then the rows move together.
      const std::int64_t stride = shared ? d * static_cast<std::int64_t>(sizeof(C) / sizeof(T)) : d;
      parallel_rows(rows, 4 * d, [=](std::int64_t n) {
        const C* row = in + n * d;
        T* gradient = out == nullptr ? nullptr : out + n * stride;
        if (target[n] == kIgnored) {
          loss[n] = 0;
          if (gradient != nullptr)
            std::memset(static_cast<void*>(gradient), 0, static_cast<std::size_t>(d) * sizeof(T));
          return;
        }
        const double lse = log_sum_exp(row, d);
        loss[n] = lse - static_cast<double>(row[target[n]]);
        if (gradient != nullptr)
          row_gradient(row, d, target[n], lse, static_cast<C>(factor), gradient);
      });
      if (out != nullptr && stride != d)
        for (std::int64_t n = 1; n < rows; ++n)
          std::memmove(static_cast<void*>(out + n * d), out + n * stride, static_cast<std::size_t>(d) * sizeof(T));
    });
  });
}

}  // namespace osteon::kernels
