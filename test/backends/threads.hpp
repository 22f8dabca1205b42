#pragma once

#include <omp.h>

namespace osteon::test {

/// Runs f with the given number of threads and restores the former one.
template <class F>
void with_threads(int count, const F& f) {
  const int before = omp_get_max_threads();
  omp_set_num_threads(count);
  f();
  omp_set_num_threads(before);
}

}  // namespace osteon::test
