#pragma once

#include <cstdint>
#include <filesystem>
#include <fstream>
#include <optional>
#include <string>
#include <vector>

/// `metrics.jsonl`: one JSON object a line, appended and flushed step by step, so that a killed run keeps its history.
namespace osteon::experiments {

/// {"step", "loss", "lr", "grad_norm", "tokens", "step_seconds"}; `tokens` are those of this step. A loss that is not
/// finite is written as null and read as NaN.
struct StepMetrics {
  std::int64_t step = 0;
  double loss = 0, lr = 0, grad_norm = 0;
  std::int64_t tokens = 0;
  double step_seconds = 0;
};

/// {"step", "eval_loss", "eval_accuracy"}
struct EvaluationMetrics {
  std::int64_t step = 0;
  std::optional<double> eval_loss, eval_accuracy;
};

struct Metrics {
  std::vector<StepMetrics> steps;
  std::vector<EvaluationMetrics> evaluations;
  bool torn = false;  ///< the last line was cut off by a kill and has been left out
};

/// FileError with the line number for a line that is no metrics line; only a last line without its newline may be torn.
Metrics read_metrics(const std::filesystem::path& path);

/// Appends to a metrics file. Every line is handed to the system before write() returns; FileError when that fails.
class MetricsWriter {
 public:
  /// A new, empty file.
  explicit MetricsWriter(const std::filesystem::path& path);
  /// Continues after `step`: lines of later steps, and a torn last line, are removed first (atomically). A file that
  /// does not exist is begun.
  static MetricsWriter resume(const std::filesystem::path& path, std::int64_t step);

  void write(const StepMetrics& metrics);
  void write(const EvaluationMetrics& metrics);

 private:
  MetricsWriter(const std::filesystem::path& path, std::ios::openmode mode);
  void line(const std::string& text);

  std::filesystem::path path_;
  std::ofstream file_;
};

}  // namespace osteon::experiments
