#pragma once

#include <cstdint>

namespace osteon {

/// Threads that kernels use; at least 1. 0 = as many as the machine has processors (or OMP_NUM_THREADS says).
void set_threads(std::int64_t threads);
std::int64_t threads();

/// To be called first in main: OpenMP's threads spin while they wait, which on a machine with other work to do starves
/// everybody (a test program here: 295 s instead of 2.6 s). libgomp reads its policy when it is loaded, so the
/// program starts itself again with a short spin, once, unless OMP_WAIT_POLICY or GOMP_SPINCOUNT is set.
void limit_spinning(char** argv);

}  // namespace osteon
