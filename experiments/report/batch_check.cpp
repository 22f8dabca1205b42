#include "experiments/report/batch_check.hpp"

#include <map>

#include "backends/error.hpp"
#include "experiments/config/config.hpp"

namespace osteon::report {
namespace {

using experiments::RunConfig;

/// Everything that a run's batches follow from, as text; the model stands for its tokenizer.
std::string batch_keys(const RunConfig& config, const std::string& data_hash) {
  std::string text = data_hash;
  for (const char* key :
       {"model", "tokenizer", "template", "train_on_prompt", "seq_len", "packing", "truncate", "shuffle",
        "max_examples", "batch_size", "accumulate", "steps", "epochs", "seed", "early_stop"})
    text += '\n' + key_text(config, key);
  return text;
}

}  // namespace

std::vector<std::string> batch_errors(const RunCollection& runs) {
  std::map<std::string, const Run*> first;
  std::vector<std::string> errors;
  for (const Run& run : runs.runs) {
    const std::filesystem::path file = run.folder / "config.toml";
    if (run.summary.purpose != "final" || run.summary.batch_hash.empty() || !std::filesystem::exists(file))
      continue;
    RunConfig config;
    try {
      read_config(file, config);
    } catch (const Error&) {  // of another version: nothing can be said
      continue;
    }
    if (config.early_stop > 0)  // stops where its own scores say
      continue;
    const Run& other = *first.emplace(batch_keys(config, run.summary.data_hash), &run).first->second;
    if (other.summary.batch_hash != run.summary.batch_hash)
      errors.push_back(join(other.summary.name, " and ", run.summary.name, ", both of seed ", run.summary.seed, " on ",
                            run.summary.task, ", trained on different batches (batch_hash ", other.summary.batch_hash,
                            " and ", run.summary.batch_hash, "): they cannot be compared"));
  }
  return errors;
}

}  // namespace osteon::report
