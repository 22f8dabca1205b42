#include "experiments/data/open.hpp"

#include <algorithm>
#include <fmt/format.h>

#include "backends/error.hpp"
#include "backends/suggest.hpp"
#include "experiments/config/adapter_options.hpp"
#include "experiments/data/dataset.hpp"
#include "experiments/data/loader.hpp"
#include "experiments/data/token_file.hpp"
#include "experiments/scoring/glue_data.hpp"
#include "experiments/tasks/task_stream.hpp"

namespace osteon::experiments {
namespace {

bool is_mixture(std::string_view name) { return name.ends_with(kMixture); }
bool is_token_file(const std::string& name) { return name.ends_with(".safetensors"); }

DataOptions data_options(const RunConfig& config, const ModelLimits& limits) {
  return {.template_name = config.template_name,
          .train_on_prompt = config.train_on_prompt,
          .seq_len = config.seq_len,
          .truncate = config.truncate,
          .max_examples = config.max_examples,
          .vocab_size = limits.vocab_size,
          .max_positions = limits.positions};
}

/// Nothing is passed over in silence.
void report_cuts(const DataSet& data) {
  if (data.truncated > 0)
    fmt::print(stderr, "{}: {} examples were cut\n", data.source, data.truncated);
  if (data.dropped > 0)
    fmt::print(stderr, "warning: {}: {} examples without a token to be learned were left out\n", data.source,
               data.dropped);
}

/// The records of a file; those of a GLUE task's table as the run's task_type has them.
DataSet load_examples(const std::string& name, const RunConfig& config, const Tokenizer& tokenizer,
                      const DataOptions& options) {
  const bool head = trains_classifier(config);
  DataSet data = head || (scoring::is_glue(config.task) && name.ends_with(".tsv"))
                     ? scoring::load_glue(scoring::glue_task(config.task), name, tokenizer, options, head)
                     : load_data(name, tokenizer, options);
  report_cuts(data);
  return data;
}

void check_positions(std::int64_t row, const ModelLimits& limits, const std::string& name) {
  check<ConfigError>(row <= limits.positions, name,
                     ": expected rows of at most max_position_embeddings = ", limits.positions, " tokens, got ", row);
}

std::vector<TokenBatch> token_batches(const std::string& name, const ModelLimits& limits) {
  std::vector<TokenBatch> batches = read_token_file(name, limits.vocab_size);
  for (const TokenBatch& batch : batches)
    check_positions(batch.seq_len, limits, name);
  return batches;
}

/// Tasks are written in bytes that every useful tokenizer has; the model's table may still be smaller.
void check_items(const std::vector<TokenBatch>& batches, std::int64_t vocab_size, const std::string& name) {
  for (const TokenBatch& batch : batches)
    check_vocabulary({batch.input_ids, batch.labels}, vocab_size, name);
}

EvaluationData task_evaluation(const Task& task, Split split, const RunConfig& config, const Tokenizer& tokenizer,
                               const ModelLimits& limits) {
  const HeldOut held = held_out(task);
  std::vector<Item> items = split == Split::test ? held.test : held.validation;
  if (config.eval_size > 0)
    items.resize(std::min(items.size(), static_cast<std::size_t>(config.eval_size)));
  EvaluationData data;
  data.name = join(task.name(), split == Split::test ? "/test" : "/validation");
  data.exact_match = true;
  data.batches = item_batches(items, tokenizer, config.batch_size, task.max_length());
  check_positions(task.max_length(), limits, data.name);
  check_items(data.batches, limits.vocab_size, data.name);
  return data;
}

}  // namespace

void check_data_file(const std::string& name) {
  std::vector<std::string> names = task_names();
  names.emplace_back(kMixture);
  check<FileError>(std::filesystem::exists(name), name,
                   ": expected a file or the name of an embedded task, found neither", suggestion(name, names));
  check<FileError>(!std::filesystem::is_directory(name), name, ": expected a file, got a folder");
}

std::int64_t EvaluationData::rows() const {
  std::int64_t count = 0;
  for (const TokenBatch& batch : batches)
    count += batch.batch_size;
  return count;
}

std::unique_ptr<BatchStream> open_training_data(const RunConfig& config, const Tokenizer& tokenizer,
                                                const ModelLimits& limits) {
  if (is_task(config.data)) {
    check<ConfigError>(tokenizer.vocab_size() <= limits.vocab_size, "data: ", config.data,
                       ": expected a tokenizer of at most ", limits.vocab_size, " ids, as the model has, got ",
                       tokenizer.vocab_size());
    check_positions(row_length(config), limits, config.data);
    if (is_mixture(config.data))
      return std::make_unique<MixtureStream>(
          tokenizer, MixtureStream::Options{config.batch_size, config.accumulate, config.seq_len, config.seed});
    return std::make_unique<TaskStream>(make_task(config.data), tokenizer,
                                        TaskStream::Options{config.batch_size, config.accumulate, config.seed});
  }
  check_data_file(config.data);
  if (is_token_file(config.data))
    return std::make_unique<TokenFileStream>(token_batches(config.data, limits), config.accumulate);
  DataSet data = load_examples(config.data, config, tokenizer, data_options(config, limits));
  const std::int64_t row = std::min(config.seq_len, limits.positions);
  return std::make_unique<DataLoader>(std::move(data.examples), LoaderOptions{.batch_size = config.batch_size,
                                                                              .accumulate = config.accumulate,
                                                                              .seq_len = config.packing ? row : 0,
                                                                              .packing = config.packing,
                                                                              .shuffle = config.shuffle,
                                                                              .seed = config.seed,
                                                                              .pad_id = tokenizer.pad().value_or(0)});
}

std::vector<std::string> unused_data_keys(const RunConfig& config) {
  const auto reads_records = [](const std::string& name) {
    return !name.empty() && !is_task(name) && !is_token_file(name);
  };
  std::vector<std::string_view> unused;
  if (!reads_records(config.data))
    unused = {"packing", "shuffle", "max_examples"};
  if (!reads_records(config.data) && !reads_records(config.eval_data))
    unused.insert(unused.end(), {"template", "train_on_prompt", "truncate"});
  const RunConfig open;
  std::vector<std::string> found;
  for (const std::string_view key : unused)
    if (key_text(config, key) != key_text(open, key))
      found.emplace_back(key);
  return found;
}

std::int64_t row_length(const RunConfig& config) {
  return is_task(config.data) && !is_mixture(config.data) ? make_task(config.data)->max_length() : config.seq_len;
}

std::vector<EvaluationData> open_evaluation_data(const std::string& name, Split split, const RunConfig& config,
                                                 const Tokenizer& tokenizer, const ModelLimits& limits) {
  std::vector<EvaluationData> sets;
  if (is_task(name) && is_mixture(name)) {
    for (const WeightedTask& skill : mixture_skills())
      sets.push_back(task_evaluation(*skill.task, split, config, tokenizer, limits));
    return sets;
  }
  if (is_task(name))
    return {task_evaluation(*make_task(name), split, config, tokenizer, limits)};
  check_data_file(name);
  if (is_token_file(name)) {
    sets.push_back({name, token_batches(name, limits)});
    return sets;
  }
  DataOptions options = data_options(config, limits);
  options.max_examples = config.eval_size;
  const DataSet data = load_examples(name, config, tokenizer, options);
  sets.push_back({name, evaluation_batches(data.examples, config.batch_size, tokenizer.pad().value_or(0))});
  return sets;
}

}  // namespace osteon::experiments
