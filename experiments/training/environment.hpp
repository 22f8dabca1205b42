#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

/// `environment.json`: the machine and the program behind a run's numbers.
namespace osteon::experiments {

struct Environment {
  std::string host;  ///< the machine's name: which of several a run was on
  std::string cpu;
  std::int64_t cores = 0;  ///< processors this process may use
  std::int64_t threads = 0;
  std::int64_t ranks = 1;  ///< processes that shared the run, of so many threads each
  std::int64_t memory_bytes = 0;
  std::string isa;  ///< the widest vector extension of the processor, such as "avx512_bf16"
  std::string compiler, build, commit, version;
  std::string gemm;                               ///< the library of the matrix products, such as "onednn"
  std::vector<std::string> gemm_implementations;  ///< the implementations it chose during the run
  std::string gpu;                                ///< that the run computed on; empty: the CPU
  bool deterministic = false;
  std::string os;
  std::string date;  ///< start of the run, UTC, ISO 8601
};

/// What only the run knows; the rest is read from the system and the build.
struct RunSettings {
  std::int64_t threads = 0;
  std::string gemm;  ///< empty: the library of the build
  std::vector<std::string> gemm_implementations;
  std::string gpu{};
  bool deterministic = false;
  std::int64_t ranks = 1;
};

/// What the system does not tell stays empty or 0.
Environment capture_environment(const RunSettings& settings);

/// The text of environment.json, and back; errors as in record.hpp.
std::string to_json(const Environment& environment);
Environment environment_from_json(std::string_view text, const std::string& source);

/// `folder`/environment.json; written atomically.
void write_environment(const std::filesystem::path& folder, const Environment& environment);
Environment read_environment(const std::filesystem::path& folder);

}  // namespace osteon::experiments
