#include "experiments/data/open.hpp"

#include <algorithm>

#include "backends/error.hpp"
#include "backends/suggest.hpp"
#include "experiments/data/dataset.hpp"
#include "experiments/data/loader.hpp"
#include "experiments/data/token_file.hpp"
#include "experiments/tasks/task_stream.hpp"

namespace osteon::experiments {
namespace {

bool is_mixture(std::string_view name) { return name.ends_with(kMixture); }
bool is_token_file(const std::string& name) { return name.ends_with(".safetensors"); }

/// A name that is no task must be a file; a file wins over a task of its name only if it says so ("./down").
void check_file(const std::string& name) {
  std::vector<std::string> names = task_names();
  names.emplace_back(kMixture);
  check<FileError>(std::filesystem::exists(name), name,
                   ": expected a file or the name of an embedded task, found neither", suggestion(name, names));
  check<FileError>(!std::filesystem::is_directory(name), name, ": expected a file, got a folder");
}

DataOptions data_options(const RunConfig& config, std::int64_t vocab_size) {
  return {.template_name = config.template_name,
          .train_on_prompt = config.train_on_prompt,
          .seq_len = config.seq_len,
          .truncate = config.truncate,
          .max_examples = config.max_examples,
          .vocab_size = vocab_size};
}

/// Tasks are written in bytes that every useful tokenizer has; the model's table may still be smaller.
void check_items(const std::vector<TokenBatch>& batches, std::int64_t vocab_size, const std::string& name) {
  for (const TokenBatch& batch : batches)
    check_vocabulary({batch.input_ids, batch.labels}, vocab_size, name);
}

EvaluationData task_evaluation(const Task& task, Split split, const RunConfig& config, const Tokenizer& tokenizer,
                               std::int64_t vocab_size) {
  const HeldOut held = held_out(task);
  std::vector<Item> items = split == Split::test ? held.test : held.validation;
  if (config.eval_size > 0)
    items.resize(std::min(items.size(), static_cast<std::size_t>(config.eval_size)));
  EvaluationData data;
  data.name = join(task.name(), split == Split::test ? "/test" : "/validation");
  data.exact_match = true;
  data.batches = item_batches(items, tokenizer, config.batch_size, task.max_length());
  check_items(data.batches, vocab_size, data.name);
  return data;
}

}  // namespace

std::int64_t EvaluationData::rows() const {
  std::int64_t count = 0;
  for (const TokenBatch& batch : batches)
    count += batch.batch_size;
  return count;
}

std::unique_ptr<BatchStream> open_training_data(const RunConfig& config, const Tokenizer& tokenizer,
                                                std::int64_t vocab_size) {
  if (is_task(config.data)) {
    check<ConfigError>(tokenizer.vocab_size() <= vocab_size, "data: ", config.data,
                       ": expected a tokenizer of at most ", vocab_size, " ids, as the model has, got ",
                       tokenizer.vocab_size());
    if (is_mixture(config.data))
      return std::make_unique<MixtureStream>(
          tokenizer, MixtureStream::Options{config.batch_size, config.accumulate, config.seq_len, config.seed});
    return std::make_unique<TaskStream>(make_task(config.data), tokenizer,
                                        TaskStream::Options{config.batch_size, config.accumulate, config.seed});
  }
  check_file(config.data);
  if (is_token_file(config.data))
    return std::make_unique<TokenFileStream>(read_token_file(config.data, vocab_size), config.accumulate);
  DataSet data = load_data(config.data, tokenizer, data_options(config, vocab_size));
  return std::make_unique<DataLoader>(std::move(data.examples),
                                      LoaderOptions{.batch_size = config.batch_size,
                                                    .accumulate = config.accumulate,
                                                    .seq_len = config.packing ? config.seq_len : 0,
                                                    .packing = config.packing,
                                                    .shuffle = config.shuffle,
                                                    .seed = config.seed,
                                                    .pad_id = tokenizer.pad().value_or(0)});
}

std::int64_t row_length(const RunConfig& config) {
  return is_task(config.data) && !is_mixture(config.data) ? make_task(config.data)->max_length() : config.seq_len;
}

std::vector<EvaluationData> open_evaluation_data(const std::string& name, Split split, const RunConfig& config,
                                                 const Tokenizer& tokenizer, std::int64_t vocab_size) {
  std::vector<EvaluationData> sets;
  if (is_task(name) && is_mixture(name)) {
    for (const WeightedTask& skill : mixture_skills())
      sets.push_back(task_evaluation(*skill.task, split, config, tokenizer, vocab_size));
    return sets;
  }
  if (is_task(name))
    return {task_evaluation(*make_task(name), split, config, tokenizer, vocab_size)};
  check_file(name);
  if (is_token_file(name)) {
    sets.push_back({name, read_token_file(name, vocab_size)});
    return sets;
  }
  DataOptions options = data_options(config, vocab_size);
  options.max_examples = config.eval_size;
  const DataSet data = load_data(name, tokenizer, options);
  sets.push_back({name, evaluation_batches(data.examples, config.batch_size, tokenizer.pad().value_or(0))});
  return sets;
}

}  // namespace osteon::experiments
