#pragma once

#include <benchmark/benchmark.h>
#include <string>
#include <vector>

#include "backends/kernels/gemm.hpp"
#include "backends/omp_threads.hpp"

namespace osteon::bench {

/// The main of a benchmark program: Google Benchmark's, with threads that wait as the osteon program's do, and with
/// threads and GEMM in the report's context. `filter` stands where the command line gives no --benchmark_filter.
inline int run(int argc, char** argv, const char* filter = nullptr) {
  limit_spinning(argv);
  std::vector<char*> arguments(argv, argv + argc);
  std::string by_default = std::string("--benchmark_filter=") + (filter == nullptr ? "" : filter);
  if (filter != nullptr)
    arguments.insert(arguments.begin() + 1, by_default.data());  // a later one has the last word
  int count = static_cast<int>(arguments.size());
  arguments.push_back(nullptr);
  benchmark::Initialize(&count, arguments.data());
  if (benchmark::ReportUnrecognizedArguments(count, arguments.data()))
    return 1;
  const kernels::GemmBackend gemm = kernels::gemm_backend();
  benchmark::AddCustomContext("threads", std::to_string(threads()));
  benchmark::AddCustomContext("gemm", join(gemm.library, ", ", gemm.instruction_set));
  benchmark::RunSpecifiedBenchmarks();
  benchmark::Shutdown();
  return 0;
}

}  // namespace osteon::bench
