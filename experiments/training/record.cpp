#include "experiments/training/record.hpp"

#include <algorithm>
#include <cmath>

#include "experiments/config/json_fields.hpp"
#include "nn/io/atomic_file.hpp"

namespace osteon::experiments {

template <class Fields>
void describe(Fields& field, StepSeconds& seconds) {
  field("median", seconds.median);
  field("p10", seconds.p10);
  field("p90", seconds.p90);
  field("min", seconds.min);
}

template <class Fields>
void describe(Fields& field, PeakBytes& bytes) {
  field("weights", bytes.weights);
  field("adapter", bytes.adapter);
  field("gradient", bytes.gradient);
  field("optimizer", bytes.optimizer);
  field("activation", bytes.activation);
  field("workspace", bytes.workspace);
  field("total", bytes.total);
}

template <class Fields>
void describe(Fields& field, Scores& scores) {
  field("loss", scores.loss);
  field("accuracy", scores.accuracy);
  field("perplexity", scores.perplexity);
}

template <class Fields>
void describe(Fields& field, Evaluation& evaluation) {
  field("before", evaluation.before);
  field("after", evaluation.after);
  field("retained_before", evaluation.retained_before);
  field("retained_after", evaluation.retained_after);
  field("keep", evaluation.keep);
}

template <class Fields>
void describe(Fields& field, SavedTensor& saved) {
  field("op", saved.op);
  field("name", saved.name);
  field("shape", saved.shape);
  field("dtype", saved.dtype);
  field("bytes", saved.bytes);
  field("count", saved.count);
}

template <class Fields>
void describe(Fields& field, RunSummary& summary) {
  field("name", summary.name);
  field("suite", summary.suite);
  field("task", summary.task);
  field("method", summary.method);
  field("case", summary.case_name);
  field("purpose", summary.purpose);
  field("rank", summary.rank);
  field("alpha", summary.alpha);
  field("init_weights", summary.init_weights);
  field("seed", summary.seed);
  field("lr", summary.lr);
  field("model", summary.model);
  field("target_modules", summary.target_modules);
  field("trainable_parameters", summary.trainable_parameters);
  field("total_parameters", summary.total_parameters);
  field("steps", summary.steps);
  field("batch_size", summary.batch_size);
  field("seq_len", summary.seq_len);
  field("tokens", summary.tokens);
  field("init_seconds", summary.init_seconds);
  field("tokens_per_second", summary.tokens_per_second);
  field("train_seconds", summary.train_seconds);
  field("step_seconds", summary.step_seconds);
  field("peak_bytes", summary.peak_bytes);
  field("pool_idle_bytes", summary.pool_idle_bytes);
  field("process_peak_bytes", summary.process_peak_bytes);
  field("final_train_loss", summary.final_train_loss);
  field("loss_unit", summary.loss_unit);
  field("evaluation", summary.evaluation);
  field("task_metrics", summary.task_metrics);
  field("items", summary.items);
  field("item_scores", summary.item_scores);
  field("saved_tensors", summary.saved_tensors);
  field("data_hash", summary.data_hash);
  field("batch_hash", summary.batch_hash);
  field("config_hash", summary.config_hash);
  field("deterministic", summary.deterministic);
  field("l2_wrap", summary.l2_wrap);
  field("memory_policy", summary.memory_policy);
  field("checkpoint_layers", summary.checkpoint_layers);
  field("completed", summary.completed);
  field("error", summary.error);
}

StepSeconds StepSeconds::of(std::vector<double> seconds) {
  check<ConfigError>(!seconds.empty(), "step_seconds: expected at least one step, got none");
  std::sort(seconds.begin(), seconds.end());
  const auto quantile = [&](double share) {
    const double position = share * static_cast<double>(seconds.size() - 1);
    const auto below = static_cast<std::size_t>(position);
    const std::size_t above = std::min(below + 1, seconds.size() - 1);
    return seconds[below] + (position - static_cast<double>(below)) * (seconds[above] - seconds[below]);
  };
  return {.median = quantile(0.5), .p10 = quantile(0.1), .p90 = quantile(0.9), .min = seconds.front()};
}

PeakBytes PeakBytes::of(const MemoryUse& use) {
  return {use[Category::weights],
          use[Category::adapter],
          use[Category::gradient],
          use[Category::optimizer],
          use[Category::activation],
          use[Category::workspace],
          use.total()};
}

std::string to_json(const RunSummary& summary) {
  // a line a key, and a line a saved tensor: dump()'s own layout would give every test item a line
  const nlohmann::ordered_json json = JsonWriter::write(summary);
  std::string text = "{";
  for (const auto& [key, value] : json.items()) {
    text += (text.size() > 1 ? ",\n \"" : "\n \"") + key + "\": ";
    if (!value.is_array() || value.empty() || !value.front().is_object()) {
      text += value.dump();
      continue;
    }
    for (std::size_t i = 0; i < value.size(); ++i)
      text += (i == 0 ? "[\n  " : ",\n  ") + value[i].dump();
    text += "]";
  }
  return text + "\n}\n";
}

RunSummary summary_from_json(std::string_view text, const std::string& source) {
  nlohmann::json json;
  try {
    json = nlohmann::json::parse(text);
  } catch (const nlohmann::json::exception& error) {
    fail<FileError>(source, ": expected JSON, got ", error.what());
  }
  RunSummary summary;
  JsonReader reader(json, source);
  reader.require("name");
  reader.require("method");
  describe(reader, summary);
  for (std::size_t i = 0; i < summary.items.size(); ++i)
    check<FileError>(summary.items[i] == 0 || summary.items[i] == 1, source, ": items[", i, "]: expected 0 or 1, got ",
                     summary.items[i]);
  check<FileError>(summary.purpose == "final" || summary.purpose == "sweep" || summary.purpose == "base", source,
                   ": purpose: expected \"final\", \"sweep\" or \"base\", got \"", summary.purpose, "\"");
  return summary;
}

void write_summary(const std::filesystem::path& folder, const RunSummary& summary) {
  io::write_file_atomically(folder / "summary.json", to_json(summary));
}

RunSummary read_summary(const std::filesystem::path& folder) {
  const std::filesystem::path path = folder / "summary.json";
  return summary_from_json(io::read_file(path), path.string());
}

}  // namespace osteon::experiments
