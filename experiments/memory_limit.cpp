#include "experiments/memory_limit.hpp"

#include <algorithm>
#include <limits>
#include <utility>

#include "backends/error.hpp"
#include "experiments/byte_size.hpp"
#include "experiments/model_loading.hpp"
#include "nn/memory_policy.hpp"

namespace osteon::experiments {
namespace {

std::int64_t limit_of(const RunConfig& config) {
  return config.memory_limit.empty() ? std::numeric_limits<std::int64_t>::max()
                                     : parse_bytes(config.memory_limit, "memory_limit");
}

/// What a model of the config can keep: RWKV knows no other policy than the first.
std::vector<nn::MemoryPolicy> policies_of(const RunConfig& config) {
  const std::vector<nn::MemoryPolicy> all(std::begin(nn::kMemoryPolicies), std::end(nn::kMemoryPolicies));
  return is_rwkv_file(config.model) ? std::vector{nn::MemoryPolicy::save} : all;
}

/// Changed configs and what to call the change.
std::vector<std::pair<std::string, RunConfig>> changes(const RunConfig& config) {
  std::vector<std::pair<std::string, RunConfig>> all;
  const auto with = [&](const std::string& setting, auto&& change) {
    all.emplace_back(setting, config);
    change(all.back().second);
  };
  for (const nn::MemoryPolicy policy : policies_of(config))
    if (name_of(policy) != config.memory_policy)
      with(join("memory_policy = ", name_of(policy)), [&](RunConfig& run) { run.memory_policy = name_of(policy); });
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

PolicyChoice choose_policy(const RunConfig& config) {
  const bool open = config.memory_policy == "auto";
  check<ConfigError>(!open || !config.memory_limit.empty(),
                     "memory_policy: auto: expected memory_limit beside it, such as 16GiB, got none");
  const std::int64_t limit = limit_of(config);
  std::vector<std::string> candidates = {config.memory_policy};
  if (open) {
    candidates.clear();
    for (const nn::MemoryPolicy policy : policies_of(config))
      candidates.emplace_back(name_of(policy));
  }
  PolicyChoice least;
  for (const std::string& candidate : candidates) {
    RunConfig tried = config;
    tried.memory_policy = candidate;
    PolicyChoice choice{candidate, plan(tried)};
    choice.fits = choice.plan.needed_bytes() <= limit;
    if (choice.fits)
      return choice;
    if (least.policy.empty() || choice.plan.needed_bytes() < least.plan.needed_bytes())
      least = choice;
  }
  return least;
}

std::string too_much(const RunConfig& config, const PolicyChoice& choice) {
  const MemoryUse& peak = choice.plan.peak;
  const Category most = *std::max_element(kCategories.begin(), kCategories.end(),
                                          [&](Category a, Category b) { return peak[a] < peak[b]; });
  const std::int64_t needed = choice.plan.needed_bytes();
  return join("the smallest predicted peak, with memory_policy = ", choice.policy, ", is ", bytes_text(needed), ", ",
              bytes_text(needed - limit_of(config)), " too much; the largest part: ", name_of(most), ", ",
              bytes_text(peak[most]));
}

void settle_memory_policy(RunConfig& config) {
  if (config.memory_policy != "auto" && config.memory_limit.empty())
    return;
  const PolicyChoice choice = choose_policy(config);
  const std::string given = std::exchange(config.memory_policy, choice.policy);
  if (choice.fits)
    return;
  std::string advice, separator = "; less by ";
  for (const Saving& saving : savings(config, choice.plan))
    advice += std::exchange(separator, ", ") + join(saving.setting, " (", bytes_text(saving.bytes), ")");
  config.memory_policy = given;
  fail<ConfigError>("memory_limit: ", config.memory_limit, ": ", too_much(config, choice), advice);
}

}  // namespace osteon::experiments
