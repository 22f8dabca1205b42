#pragma once

#include <algorithm>
#include <doctest/doctest.h>
#include <omp.h>

#include "test/backends/array.hpp"

namespace osteon::test {

constexpr DType kFloating[] = {DType::f32, DType::bf16, DType::f64};

/// Restores the number of threads at the end of a test.
struct ThreadCount {
  int before = omp_get_max_threads();
  explicit ThreadCount(int now) { omp_set_num_threads(now); }
  ThreadCount(const ThreadCount&) = delete;
  ThreadCount& operator=(const ThreadCount&) = delete;
  ~ThreadCount() { omp_set_num_threads(before); }
};

/// run() returns the Arrays that a kernel wrote: their bits must be the same for 1, 2, 3 and 4 threads, and from run to
/// run on a GPU.
template <class F>
void check_thread_counts(const F& run) {
  const ThreadCount restore(1);
  const std::vector<Array> first = run();
  if (!kOnCpu) {
    CHECK(run() == first);
    return;
  }
  for (const int threads : {2, 3, 4}) {
    omp_set_num_threads(threads);
    CAPTURE(threads);
    CHECK(run() == first);
  }
}

/// Every element within one rounding to got's dtype, plus `slack` roundings of the accumulator at the size of the
/// largest expected value (or of 1).
inline void check_close(const Array& got, const std::vector<double>& expected, double slack) {
  REQUIRE(got.numel() == static_cast<std::int64_t>(expected.size()));
  double largest = 1;
  for (const double value : expected)
    largest = std::max(largest, std::abs(value));
  const double allowed = slack * epsilon(accumulator(got.dtype())) * largest;
  for (std::int64_t i = 0; i < got.numel(); ++i) {
    const double want = expected[static_cast<std::size_t>(i)], value = got.at(i);
    if (value == want)
      continue;  // infinities too
    const double error = std::abs(value - want);
    if (!(error <= epsilon(got.dtype()) * std::abs(want) + allowed)) {
      CHECK_MESSAGE(false, join("element ", i, " of ", got.shape(), " ", got.dtype(), ": expected ", want, ", got ",
                                value, ", error ", error));
      return;
    }
  }
}

/// The elements of `a` converted to another dtype.
inline Array converted(const Array& a, DType dtype) {
  Array out(dtype, a.shape());
  for (std::int64_t i = 0; i < a.numel(); ++i)
    out.set(i, a.at(i));
  return out;
}

inline Array integers(const Shape& shape, const std::vector<std::int64_t>& values) {
  Array out(DType::i32, shape);
  for (std::size_t i = 0; i < values.size(); ++i)
    out.set(static_cast<std::int64_t>(i), static_cast<double>(values[i]));
  return out;
}

}  // namespace osteon::test
