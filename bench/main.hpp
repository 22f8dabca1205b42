#pragma once

#include <benchmark/benchmark.h>
#include <cstdio>
#include <string>
#include <string_view>
#include <type_traits>
#include <vector>

#include "backends/kernels/gemm.hpp"
#include "backends/omp_threads.hpp"
#include "backends/open_device.hpp"

namespace osteon::bench {

/// Takes --device=auto|cpu|cuda|cuda:N out of the arguments and opens it, by default the CPU. Throws as open_device.
inline void take_device(std::vector<char*>& arguments) {
  constexpr std::string_view kOption = "--device=";
  std::string name = "cpu";
  std::erase_if(arguments, [&](const char* word) {
    const bool chosen = std::string_view(word).starts_with(kOption);
    if (chosen)
      name = word + kOption.size();
    return chosen;
  });
  open_device(name);
}

/// The main of a benchmark program: Google Benchmark's, with --device, with threads that wait as the osteon program's
/// do, and with device, threads and GEMM in the report's context. `filter` stands where the command line gives no
/// --benchmark_filter. Returns the exit status: 2 where the device cannot be used.
inline int run(int argc, char** argv, const char* filter = nullptr) try {
  limit_spinning(argv);
  std::vector<char*> arguments(argv, argv + argc);
  take_device(arguments);
  std::string by_default = std::string("--benchmark_filter=") + (filter == nullptr ? "" : filter);
  if (filter != nullptr)
    arguments.insert(arguments.begin() + 1, by_default.data());  // a later one has the last word
  int count = static_cast<int>(arguments.size());
  arguments.push_back(nullptr);
  benchmark::Initialize(&count, arguments.data());
  if (benchmark::ReportUnrecognizedArguments(count, arguments.data()))
    return 1;
  const Device device = default_device();
  benchmark::AddCustomContext("device", device == Device::cuda ? gpu_name(device) : std::string(name_of(device)));
  benchmark::AddCustomContext("threads", std::to_string(threads()));
  on_device(device, [](auto dev) {
    const kernels::GemmBackend gemm = kernels::gemm_backend(dev);
    benchmark::AddCustomContext("gemm", join(gemm.library, ", ", gemm.instruction_set));
  });
  benchmark::RunSpecifiedBenchmarks();
  benchmark::Shutdown();
  return 0;
} catch (const Error& error) {
  std::fprintf(stderr, "%s: %s\n", argv[0], error.what());
  return 2;
}

/// Times f(dev), dev being the tag of the device that is open. A GPU is asked for several calls before the one wait, so
/// that its work is timed and not the start of each call.
template <class F>
void measure(benchmark::State& state, const F& f) {
  on_device(default_device(), [&](auto dev) {
    constexpr int kCalls = std::is_same_v<decltype(dev), Cpu> ? 1 : 16;
    f(dev);
    finish(default_device());
    while (state.KeepRunningBatch(kCalls)) {
      for (int i = 0; i < kCalls; ++i)
        f(dev);
      finish(default_device());
    }
  });
}

}  // namespace osteon::bench
