#pragma once

#include <cstdint>
#include <filesystem>
#include <fstream>
#include <span>
#include <string>
#include <string_view>

#include "experiments/training/metrics.hpp"

/// What `tensorboard --logdir` reads: records of the protocol buffer tensorflow.Event
/// (tensorflow/core/util/event.proto), each framed by its length and masked CRC-32Cs
/// (tensorflow/core/lib/io/record_writer.h). Written by hand, as six fields of two messages are less than a dependency.
namespace osteon::experiments {

/// CRC-32C (Castagnoli, RFC 3720), as TFRecord files use it.
std::uint32_t crc32c(std::string_view bytes);

struct Scalar {
  std::string_view tag;
  double value = 0;  ///< stored as f32
};

/// One framed record: scalars of a step at a time in seconds since 1970.
std::string scalar_record(double wall_time, std::int64_t step, std::span<const Scalar> scalars);

/// A run's metrics as TensorBoard's scalars: train/loss, train/lr, train/grad_norm, train/tokens_per_second, eval/loss,
/// eval/accuracy. One file in `folder`, whose lines are flushed one by one.
class EventFile {
 public:
  /// Begins the file anew with what is known so far: none, or the lines of metrics.jsonl that a resumed run keeps.
  /// FileError where it cannot be written.
  EventFile(const std::filesystem::path& folder, const Metrics& history);

  void write(const StepMetrics& metrics);
  void write(const EvaluationMetrics& metrics);

 private:
  void append(const std::string& record);

  std::filesystem::path path_;
  std::ofstream file_;
};

}  // namespace osteon::experiments
