#include "experiments/measure/memory_limit.hpp"

#include <algorithm>
#include <limits>
#include <utility>

#include "backends/error.hpp"
#include "experiments/config/byte_size.hpp"
#include "nn/memory_policy.hpp"

namespace osteon::experiments {
namespace {

std::int64_t limit_of(const RunConfig& config) {
  return config.memory_limit.empty() ? std::numeric_limits<std::int64_t>::max()
                                     : parse_bytes(config.memory_limit, "memory_limit");
}

/// Changed configs and what to call the change.
std::vector<std::pair<std::string, RunConfig>> changes(const RunConfig& config) {
  std::vector<std::pair<std::string, RunConfig>> all;
  const auto with = [&](const std::string& setting, auto&& change) {
    all.emplace_back(setting, config);
    change(all.back().second);
  };
  for (const nn::MemoryPolicy policy : nn::kMemoryPolicies)
    if (name_of(policy) != config.memory_policy)
      with(join("memory_policy = ", name_of(policy)), [&](RunConfig& run) {
        run.memory_policy = name_of(policy);
        run.checkpoint_layers = 0;
      });
  if (const std::int64_t half = config.batch_size / 2; half > 0)
    with(join("batch_size = ", half, ", accumulate = ", 2 * config.accumulate), [&](RunConfig& run) {
      run.batch_size = half;
      run.accumulate = 2 * config.accumulate;
    });
  if (const std::int64_t half = config.seq_len / 2; half > 1)
    with(join("seq_len = ", half), [&](RunConfig& run) { run.seq_len = half; });
  if (config.dtype == "f32")
    with("dtype = bf16", [](RunConfig& run) { run.dtype = "bf16"; });
  if (config.adapter_dtype == "f32" && config.adapter.empty())
    with("adapter_dtype = bf16", [](RunConfig& run) { run.adapter_dtype = "bf16"; });
  return all;
}

}  // namespace

std::vector<Saving> savings(const RunConfig& config, const StepCost& planned) {
  std::vector<Saving> all;
  for (const auto& [setting, changed] : changes(config))
    if (const std::int64_t saved = planned.needed_bytes() - plan(changed).needed_bytes(); saved > 0)
      all.push_back({setting, saved});
  std::stable_sort(all.begin(), all.end(), [](const Saving& a, const Saving& b) { return a.bytes > b.bytes; });
  return all;
}

void PolicyChoice::put_into(RunConfig& config) const {
  config.memory_policy = policy;
  config.checkpoint_layers = checkpoint_layers;
}

PolicyChoice choose_policy(const RunConfig& config) {
  check_memory_policy(config);
  const auto tried = [&, limit = limit_of(config)](nn::MemoryPolicy policy, std::int64_t layers) {
    PolicyChoice choice{std::string(name_of(policy)), layers, {}};
    RunConfig changed = config;
    choice.put_into(changed);
    choice.plan = plan(changed);
    choice.fits = choice.plan.needed_bytes() <= limit;
    return choice;
  };
  if (config.memory_policy != "auto")
    return tried(*nn::find_memory_policy(config.memory_policy), config.checkpoint_layers);
  PolicyChoice choice = tried(nn::MemoryPolicy::save, 0);
  if (choice.fits)
    return choice;
  // As few checkpointed layers as fit. `checkpoint` needs no less than this with all layers, or all but the last.
  const nn::MemoryPolicy cheap = nn::MemoryPolicy::recompute_cheap;
  std::int64_t fewest = 0, most = choice.plan.layers;
  while (fewest < most) {
    const std::int64_t middle = (fewest + most) / 2;
    if (tried(cheap, middle).fits)
      most = middle;
    else
      fewest = middle + 1;
  }
  choice = tried(cheap, fewest);
  if (choice.fits)
    return choice;
  // The last layer's backward comes first, beside all that is kept: to run it twice may take more than it saves.
  PolicyChoice but_one = tried(cheap, fewest - 1);
  return but_one.plan.needed_bytes() < choice.plan.needed_bytes() ? but_one : choice;
}

std::string too_much(const RunConfig& config, const PolicyChoice& choice) {
  const MemoryUse& peak = choice.plan.peak;
  const Category most = *std::max_element(kCategories.begin(), kCategories.end(),
                                          [&](Category a, Category b) { return peak[a] < peak[b]; });
  const std::int64_t needed = choice.plan.needed_bytes();
  return join("the smallest predicted peak, with memory_policy = ", choice.text(), ", is ", bytes_text(needed), ", ",
              bytes_text(needed - limit_of(config)), " too much; the largest part: ", name_of(most), ", ",
              bytes_text(peak[most]));
}

void settle_memory_policy(RunConfig& config) {
  if (config.memory_policy != "auto" && config.memory_limit.empty())
    return;
  const PolicyChoice choice = choose_policy(config);
  if (choice.fits)
    return choice.put_into(config);
  RunConfig least = config;
  choice.put_into(least);
  std::string advice, separator = "; less by ";
  for (const Saving& saving : savings(least, choice.plan))
    advice += std::exchange(separator, ", ") + join(saving.setting, " (", bytes_text(saving.bytes), ")");
  fail<ConfigError>("memory_limit: ", config.memory_limit, ": ", too_much(config, choice), advice);
}

}  // namespace osteon::experiments
