#include "backends/kernels/cross_entropy.hpp"

#include <cmath>
#include <cstring>
#include <limits>

#include "backends/check.hpp"
#include "backends/cpu/lane_math.hpp"
#include "backends/cpu/parallel.hpp"
#include "backends/cpu/simd.hpp"

namespace osteon::kernels {
namespace {

using namespace cpu;

constexpr std::int32_t kIgnored = -100;

/// The largest element; a NaN fails every comparison.
template <class C>
C maximum(const C* row, std::int64_t d) {
  C highest = -std::numeric_limits<C>::infinity();
#pragma omp simd reduction(max : highest)
  for (std::int64_t j = 0; j < d; ++j)
    highest = row[j] > highest ? row[j] : highest;
  return highest;
}

/// exp(row - highest), 0 in lanes beyond the row.
template <class C>
Vector<C> exp_below(const C* row, std::int64_t lanes, C highest) {
  if (lanes >= kLanes<C>)
    return exp2_lanes((load_vector<Vector<C>>(row) - highest) * static_cast<C>(kLog2e));
  Vector<C> x{};
  for (std::int64_t lane = 0; lane < kLanes<C>; ++lane)
    x[lane] = lane < lanes ? row[lane] - highest : -std::numeric_limits<C>::infinity();
  return exp2_lanes(x * static_cast<C>(kLog2e));
}

constexpr std::int64_t kBlock = 4096;  // an f32 sum of few terms a lane; the blocks are added in f64

/// Sum of exp(row - highest); a NaN in the row is one in the sum. Leaves the terms in `terms`, which may be the row or
/// null.
template <class C>
double sum_of_exp(const C* row, std::int64_t d, C highest, C* terms) {
  double total = 0;
  for (std::int64_t begin = 0; begin < d; begin += kBlock) {
    Vector<C> part{};
    each_vector<C>(begin, std::min(begin + kBlock, d), [&](std::int64_t j, std::int64_t lanes) {
      const Vector<C> term = exp_below(row + j, lanes, highest);
      if (terms != nullptr)
        store_lanes(terms + j, term, lanes);
      part += term;
    });
    total += static_cast<double>(vector_sum<C>(reinterpret_cast<const C*>(&part), kLanes<C>));
  }
  return total;
}

/// out = terms * factor, where out may be the memory of terms, in a dtype that is not wider.
template <class C, class T>
void scale_terms(const C* terms, std::int64_t d, C factor, T* out) {
  each_vector<C>(0, d, [&](std::int64_t j, std::int64_t lanes) {
    store_lanes(out + j, load_lanes<C>(terms + j, lanes) * factor, lanes);
  });
}

template <class C, class T>
void scale_exp(const C* row, std::int64_t d, C highest, C factor, T* out) {
  each_vector<C>(0, d, [&](std::int64_t j, std::int64_t lanes) {
    store_lanes(out + j, exp_below(row + j, lanes, highest) * factor, lanes);
  });
}

/// Loss of one row and, if `out` is given, its gradient. `terms` is memory of d elements to leave exp in, the row
/// itself or null; without it exp is computed twice.
template <class C, class T>
double row_loss(const C* row, std::int64_t d, std::int32_t target, double factor, C* terms, T* out) {
  const C highest = maximum(row, d);
  const double at_target = static_cast<double>(row[target]) - static_cast<double>(highest);
  const double total = sum_of_exp(row, d, highest, terms);
  if (out != nullptr) {
    const C each = static_cast<C>(factor / total);
    if (terms != nullptr)
      scale_terms(terms, d, each, out);
    else
      scale_exp(row, d, highest, each, out);
    store(out[target], static_cast<C>(factor * (std::exp(at_target) / total - 1)));
  }
  return std::log(total) - at_target;
}

}  // namespace

void cross_entropy(Cpu, ConstView logits, ConstView targets, Factor factor, View losses, View dlogits) {
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
  const double number = number_of(factor);
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
        C* terms = nullptr;
        if constexpr (std::is_same_v<T, C>)
          terms = gradient;
        else if (shared)
          terms = const_cast<C*>(row);  // the caller gives this memory to the gradient
        loss[n] = row_loss(row, d, target[n], number, terms, gradient);
      });
      if (out != nullptr && stride != d)
        for (std::int64_t n = 1; n < rows; ++n)
          std::memmove(static_cast<void*>(out + n * d), out + n * stride, static_cast<std::size_t>(d) * sizeof(T));
    });
  });
}

}  // namespace osteon::kernels
