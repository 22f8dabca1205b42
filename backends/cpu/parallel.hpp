#pragma once

#include <algorithm>
#include <cstdint>
#include <omp.h>

namespace osteon::cpu {

/// Below this many elements the calling thread works alone: waking the others costs more (about 5 us).
constexpr std::int64_t kSerialElements = 16384;

/// Splits [0, count) into one range per thread and calls f(begin, end) on each. `cost` is the work of one item in
/// elements; ranges begin at multiples of `grain`. Either one thread runs or all of them: libgomp ends the threads
/// that a smaller team leaves over and has to create them again. f must not throw.
template <class F>
void parallel_ranges(std::int64_t count, std::int64_t cost, std::int64_t grain, const F& f) {
  const std::int64_t grains = (count + grain - 1) / grain;
  if (grains <= 1 || count * cost < kSerialElements || omp_get_max_threads() == 1 || omp_in_parallel() != 0) {
    if (count > 0)
      f(std::int64_t{0}, count);
    return;
  }
#pragma omp parallel
  {
    const std::int64_t threads = omp_get_num_threads(), thread = omp_get_thread_num();
    const std::int64_t begin = grains * thread / threads * grain;
    const std::int64_t end = std::min(grains * (thread + 1) / threads * grain, count);
    if (begin < end)
      f(begin, end);
  }
}

/// f(row) for every row, `cost` elements of work each.
template <class F>
void parallel_rows(std::int64_t rows, std::int64_t cost, const F& f) {
  parallel_ranges(rows, cost, 1, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t row = begin; row < end; ++row)
      f(row);
  });
}

/// f(i) for every element, vectorised. Ranges are whole vectors, so that no element's place in a range matters.
template <class F>
void parallel_elements(std::int64_t count, const F& f) {
  parallel_ranges(count, 1, 64, [=](std::int64_t begin, std::int64_t end) {
#pragma omp simd
    for (std::int64_t i = begin; i < end; ++i)
      f(i);
  });
}

}  // namespace osteon::cpu
