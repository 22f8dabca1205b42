#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "backends/memory.hpp"

/// What a run leaves behind, part one: `summary.json`. The lines of a run are in metrics.hpp, its machine in
/// environment.hpp. A run folder is any folder that holds one of these files.
namespace osteon::experiments {

/// Seconds of one optimiser step, over the steps of a run (the first ones, which warm caches up, may be left out).
struct StepSeconds {
  double median = 0, p10 = 0, p90 = 0, min = 0;
  /// Percentiles by linear interpolation between order statistics. ConfigError when `seconds` is empty.
  static StepSeconds of(std::vector<double> seconds);
};

/// Live bytes per category at the moment of the highest total (not the peak of each, which may fall at other moments).
struct PeakBytes {
  std::int64_t weights = 0, adapter = 0, gradient = 0, optimizer = 0, activation = 0, workspace = 0, total = 0;
  static PeakBytes of(const MemoryUse& use);
};

/// Scores on held-out data. `loss` is in nats a token, `accuracy` a share in [0, 1].
struct Scores {
  std::optional<double> loss, accuracy, perplexity;
};

struct Evaluation {
  std::optional<Scores> before, after;
  std::optional<Scores> retained_before, retained_after;  ///< on retain_data; the loss's rise is what was forgotten
  std::map<std::string, double>
      keep;  ///< accuracy on the skills of the base model after training: what is left of them
};

/// One line of the saved-tensor audit: `count` tensors of `bytes` bytes each, kept for backward by `op` under `name`.
struct SavedTensor {
  std::string op, name, dtype;
  std::vector<std::int64_t> shape;
  std::int64_t bytes = 0;  ///< of one tensor; the line stands for bytes * count
  std::int64_t count = 1;
  bool operator==(const SavedTensor&) const = default;
};

/// summary.json. Optional members that were not measured are left out of the file.
struct RunSummary {
  std::string name, suite, task, method;
  std::optional<std::string> case_name;  ///< key `case`: of the suite's case that the run belongs to
  /// "final"; "sweep": only chose a learning rate, scored on validation data; "base": pretrained what others start from
  std::string purpose = "final";
  std::optional<std::int64_t> rank;
  std::optional<double> alpha;
  std::optional<std::string> init_weights;  ///< of adapters; "true" = the method's own
  std::int64_t seed = 0;
  std::optional<double> lr;
  std::string model;
  std::vector<std::string> target_modules;
  std::int64_t trainable_parameters = 0, total_parameters = 0;
  std::int64_t steps = 0, batch_size = 0, seq_len = 0, tokens = 0;
  std::optional<double> init_seconds;  ///< of making the adapter
  std::optional<double> tokens_per_second, train_seconds;
  std::optional<StepSeconds> step_seconds;
  std::optional<PeakBytes> peak_bytes;
  std::optional<std::int64_t> pool_idle_bytes, process_peak_bytes;
  std::optional<double> final_train_loss;
  std::optional<std::string> loss_unit;  ///< of all losses, where they are not in nats a token: "MSE"
  Evaluation evaluation;
  std::map<std::string, double>
      task_metrics;                 ///< of the real task: accuracy, bleu, matthews, ... those that are defined
  std::vector<std::int64_t> items;  ///< 1 or 0 per test item after training, in the order of the test set
  std::map<std::string, std::vector<double>> item_scores;  ///< of texts: each item's bleu, rouge_l, ..., likewise
  std::vector<SavedTensor> saved_tensors;
  std::string data_hash, batch_hash, config_hash;
  bool deterministic = false;
  std::optional<bool> l2_wrap;  ///< of RWKV models
  std::string memory_policy;    ///< as it ran, never "auto"
  std::optional<std::int64_t> checkpoint_layers;
  bool completed = false;
  std::string error;  ///< why a run that is not completed stopped
};

/// The text of summary.json, and back. `source` names the file in errors. FileError for malformed JSON, a missing
/// "name" or "method", an item other than 0 or 1, and a value of the wrong type; unknown keys are passed over.
std::string to_json(const RunSummary& summary);
RunSummary summary_from_json(std::string_view text, const std::string& source);

/// `folder`/summary.json; written atomically.
void write_summary(const std::filesystem::path& folder, const RunSummary& summary);
RunSummary read_summary(const std::filesystem::path& folder);

}  // namespace osteon::experiments
