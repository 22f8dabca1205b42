#include "backends/omp_threads.hpp"

#include <cstdlib>
#include <omp.h>
#include <unistd.h>

#include "backends/error.hpp"

namespace osteon {

void set_threads(std::int64_t threads) {
  check<ConfigError>(threads >= 0 && threads <= 4096, "threads: expected 0 to 4096, got ", threads);
  omp_set_num_threads(threads == 0 ? omp_get_num_procs() : static_cast<int>(threads));
}

std::int64_t threads() { return omp_get_max_threads(); }

void limit_spinning(char** argv) {
  if (std::getenv("OMP_WAIT_POLICY") != nullptr || std::getenv("GOMP_SPINCOUNT") != nullptr)
    return;
  setenv("GOMP_SPINCOUNT", "10000", 1);  // about 10 us: longer than the gap between two kernels, shorter than a slice
  execv("/proc/self/exe", argv);         // returns only where it cannot: then the threads spin
}

}  // namespace osteon
