#pragma once

#include <cstdint>
#include <filesystem>
#include <span>

#include "backends/trace.hpp"
#include "nn/io/atomic_file.hpp"

namespace osteon::experiments {

/// `--trace`: a few steps in the JSON that Chrome's tracing page and ui.perfetto.dev open. Complete events (ph "X")
/// with ts and dur in microseconds since the first step shown; args hold shape (m, n, k), dtype, what a product
/// multiplies with, phase, flop, bytes, gflop_per_s, saved_bytes.
class TraceFile {
 public:
  /// The file appears when finish() is called; FileError at once where it could not.
  explicit TraceFile(const std::filesystem::path& path);

  /// The first kSteps steps are written; none is begun beyond kManyEvents, to keep files small.
  void add_step(std::int64_t step, std::span<const TraceEvent> events);
  std::int64_t steps() const { return steps_; }
  void finish();

  static constexpr std::int64_t kSteps = 3, kManyEvents = 50000;

 private:
  io::AtomicFile file_;
  std::int64_t steps_ = 0, events_ = 0;
  std::int64_t shown_ = 0;  ///< nanoseconds of steps written so far
};

}  // namespace osteon::experiments
