#include "peft/rank_solver.hpp"

#include <algorithm>
#include <cstdlib>
#include <map>

#include "peft/methods.hpp"
#include "peft/targets.hpp"

namespace osteon::peft {
namespace {

/// The targeted linears by shape: a rank's count is made once for each of the few shapes.
std::map<std::pair<std::int64_t, std::int64_t>, std::int64_t> target_shapes(nn::LanguageModel& model,
                                                                            const AdapterConfig& config) {
  std::vector<std::string> names;
  for (const nn::Linear* linear : model.linears())
    names.push_back(linear->name());
  const std::vector<std::string> targets = select_targets(with_listed_targets(config, names), names);
  std::map<std::pair<std::int64_t, std::int64_t>, std::int64_t> shapes;
  for (const nn::Linear* linear : model.linears())
    if (std::find(targets.begin(), targets.end(), linear->name()) != targets.end())
      ++shapes[{linear->in_features(), linear->out_features()}];
  return shapes;
}

class Counter {
 public:
  Counter(const nn::LanguageModel& model, const AdapterConfig& config)
      : config_(config), method_(find_method(config.method)) {
    check<ConfigError>(method_.adapts_linears(), config.method, ": has no rank");
    for (const auto& [shape, count] : target_shapes(*model.on_meta(), config))
      shapes_.push_back({nn::Linear("linear", shape.first, shape.second, false, DType::f32, Device::meta), count});
  }

  std::optional<std::int64_t> at(std::int64_t rank) {
    config_.rank = rank;
    std::int64_t total = 0;
    try {
      for (auto& [linear, count] : shapes_)
        for (const auto& [suffix, tensor] : method_.make({config_, linear, {}, false})->parameters())
          total += tensor.requires_grad() ? count * tensor.numel() : 0;
    } catch (const ConfigError&) {
      return std::nullopt;
    }
    return total;
  }

  std::int64_t largest_rank() const {
    std::int64_t most = 1;
    for (const auto& [linear, count] : shapes_)
      most = std::max({most, linear.in_features(), linear.out_features()});
    return most;
  }

 private:
  AdapterConfig config_;
  const Method& method_;
  std::vector<std::pair<nn::Linear, std::int64_t>> shapes_;
};

}  // namespace

std::optional<std::int64_t> adapter_parameters(const nn::LanguageModel& model, const AdapterConfig& config,
                                               std::int64_t rank) {
  return Counter(model, config).at(rank);
}

std::vector<std::int64_t> possible_ranks(const nn::LanguageModel& model, const AdapterConfig& config) {
  Counter counter(model, config);
  std::vector<std::int64_t> ranks;
  for (std::int64_t rank = 1; rank <= counter.largest_rank(); ++rank)
    if (counter.at(rank))
      ranks.push_back(rank);
  return ranks;
}

SolvedRank solve_rank(const nn::LanguageModel& model, const AdapterConfig& config, std::int64_t budget) {
  check<ConfigError>(budget >= 1, "budget: expected at least 1 parameter, got ", budget);
  Counter counter(model, config);
  SolvedRank best;
  for (std::int64_t rank = 1; rank <= counter.largest_rank(); ++rank) {
    const std::optional<std::int64_t> parameters = counter.at(rank);
    if (!parameters)
      continue;
    if (best.rank == 0 || std::llabs(*parameters - budget) < std::llabs(best.parameters - budget))
      best = {rank, *parameters};
    if (*parameters > 2 * budget)
      break;  // counts grow with the rank
  }
  check<ConfigError>(best.rank > 0, config.method, ": no rank fits the model's shapes");
  return best;
}

}  // namespace osteon::peft
