#pragma once

#include <omp.h>

#include "backends/kernels/gemm.hpp"

namespace osteon::test {

/// Restores the number of threads and the switches of products, which are on at the start.
struct GemmSettings {
  int threads = omp_get_max_threads();
  GemmSettings() = default;
  GemmSettings(const GemmSettings&) = delete;
  GemmSettings& operator=(const GemmSettings&) = delete;
  ~GemmSettings() {
    omp_set_num_threads(threads);
    kernels::set_amx_gemm(true);
    kernels::set_deterministic_gemm(true);
  }
};

}  // namespace osteon::test
