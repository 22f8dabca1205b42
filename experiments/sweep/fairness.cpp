#include "experiments/sweep/fairness.hpp"

#include <algorithm>
#include <cmath>
#include <fmt/format.h>

#include "backends/error.hpp"
#include "experiments/config/adapter_options.hpp"
#include "experiments/config/keys.hpp"
#include "experiments/measure/memory_limit.hpp"
#include "experiments/sweep/suite_rules.hpp"
#include "experiments/training/model_loading.hpp"
#include "experiments/training/tiny_models.hpp"
#include "peft/rank_solver.hpp"

namespace osteon::experiments {
namespace {

/// The largest value that is tried of a key without a bound of its own.
constexpr double kLargest = 4096;

std::string_view name_of(Equal rule) {
  switch (rule) {
    case Equal::parameters:
      return "trainable parameters";
    case Equal::memory:
      return "planned peak bytes";
    case Equal::time:
      return "planned FLOPs of a step, which stand for time,";
    case Equal::flops:
      return "planned FLOPs of a step";
    case Equal::nothing:
      break;
  }
  return "nothing";
}

double figure(const RunConfig& config, Equal rule) {
  if (rule == Equal::parameters)
    return static_cast<double>(count_trainable(config));
  const Plan plan = plan_of(config);
  return rule == Equal::memory ? static_cast<double>(plan.peak.total())
                               : plan.flops.total(Pass::forward) + plan.flops.total(Pass::backward);
}

bool is_excepted(const Suite& suite, const Cell& cell) {
  const std::string method = filled(cell.config).method;  // bone with init_weights = "bat" is bat
  const std::vector<std::string>& except = suite.fairness.except;
  return std::count(except.begin(), except.end(), method) +
             std::count(except.begin(), except.end(), cell.config.method) >
         0;
}

/// Cells that are compared under the rule.
struct Group {
  std::vector<std::size_t> cells;  // indices
  std::optional<std::size_t> reference;
};

std::vector<Group> groups_of(const Suite& suite) {
  const Fairness& rule = suite.fairness;
  std::map<std::vector<std::pair<std::string, std::string>>, Group> groups;
  for (std::size_t i = 0; i < suite.cells.size(); ++i) {
    const Cell& cell = suite.cells[i];
    if (is_excepted(suite, cell))
      continue;
    std::vector<std::pair<std::string, std::string>> shared;
    for (const auto& label : cell.labels)
      if (label.first != "method" && label.first != "case" && label.first != rule.solve)
        shared.push_back(label);
    Group& group = groups[shared];
    group.cells.push_back(i);
    if (!rule.reference.empty() && is_reference(cell, rule.reference)) {
      check<ConfigError>(!group.reference, rule.place, ": fairness.reference: expected one cell of ", rule.reference,
                         " beside each other cell, got ", suite.cells[group.reference.value_or(0)].id, " and ",
                         cell.id);
      group.reference = i;
    }
  }
  std::vector<Group> all;
  for (auto& [shared, group] : groups) {
    check<ConfigError>(rule.reference.empty() || group.reference, rule.place,
                       ": fairness.reference: expected a cell of ", rule.reference, " beside ",
                       suite.cells[group.cells.front()].id, ", got none");
    all.push_back(std::move(group));
  }
  return all;
}

/// What the figures of a group are held to: the reference's, or their mean; 0 where the reference has none.
double expected(const Group& group, const std::map<std::size_t, double>& figures) {
  if (group.reference) {
    const auto found = figures.find(*group.reference);
    return found == figures.end() ? 0 : found->second;
  }
  double mean = 0;
  for (const auto& [cell, figure] : figures)
    mean += figure / static_cast<double>(figures.size());
  return mean;
}

RunConfig with_value(const RunConfig& config, const std::string& key, std::int64_t value) {
  RunConfig run = config;
  set_key(run, key, std::to_string(value), "fairness.solve");
  return run;
}

std::vector<std::int64_t> candidates(const RunConfig& given, const std::string& key) {
  const RunConfig config = filled(given);
  if (key == "rank") {
    const LoadedModel loaded = load_weights(config, Weights::random, Device::meta);
    return peft::possible_ranks(*loaded.model, adapter_config(config));
  }
  const Range& range = find_key(key, "fairness.solve").range;
  std::vector<std::int64_t> values;
  for (double value = std::max(1.0, range.min); value <= std::min(kLargest, range.max); ++value)
    values.push_back(static_cast<std::int64_t>(value));
  return values;
}

struct Solved {
  std::int64_t value = 0;
  double figure = 0;
};

/// The candidate whose figure is nearest to the target; figures grow with the value. Candidates that the method refuses
/// drop out as they are met.
std::optional<Solved> nearest(const RunConfig& config, const Fairness& rule, double target) {
  std::vector<std::int64_t> values = candidates(config, rule.solve);
  std::optional<Solved> below, above;
  std::size_t first = 0, last = values.size();  // what is not decided yet
  while (first < last) {
    const std::size_t middle = first + (last - first) / 2;
    Solved tried{values[middle]};
    try {
      tried.figure = figure(with_value(config, rule.solve, tried.value), rule.equal);
    } catch (const ConfigError&) {
      values.erase(values.begin() + static_cast<std::ptrdiff_t>(middle));
      --last;
      continue;
    }
    if (tried.figure >= target) {
      above = tried;
      last = middle;
    } else {
      below = tried;
      first = middle + 1;
    }
  }
  if (below && above)
    return target - below->figure <= above->figure - target ? below : above;
  return below ? below : above;
}

}  // namespace

std::int64_t count_trainable(const RunConfig& given) {
  const RunConfig config = filled(given);
  LoadedModel loaded =
      load_weights(config, is_embedded_model(config.model) ? Weights::random : Weights::pretrained, Device::meta);
  add_run_adapter(loaded, config);
  return loaded.adapted->trainable_count();
}

Plan plan_of(const RunConfig& given, std::int64_t threads) {
  RunConfig config = given;
  config.threads = threads;
  return config.memory_policy == "auto" ? choose_policy(config).plan : plan(config);
}

void solve_fairness(Suite& suite) {
  const Fairness& rule = suite.fairness;
  if (rule.solve.empty())
    return;
  for (const Group& group : groups_of(suite)) {
    const double target = figure(suite.cells[*group.reference].config, rule.equal);
    for (const std::size_t i : group.cells) {
      if (i == *group.reference)
        continue;
      Cell& cell = suite.cells[i];
      std::optional<Solved> solved;
      try {
        solved = nearest(cell.config, rule, target);
      } catch (const ConfigError& error) {
        fail<ConfigError>(rule.place, ": fairness: ", cell.id, ": ", error.what());
      }
      check<ConfigError>(solved.has_value(), rule.place, ": fairness: ", cell.id, ": no value of ", rule.solve,
                         " fits its model");
      check<ConfigError>(std::abs(solved->figure / target - 1) <= rule.tolerance, rule.place, ": fairness: ", cell.id,
                         ": expected ", name_of(rule.equal), " within ", 100 * rule.tolerance, "% of the ",
                         static_cast<std::int64_t>(target), " of ", suite.cells[*group.reference].id,
                         ", got no nearer than ", static_cast<std::int64_t>(solved->figure), " with ", rule.solve,
                         " = ", solved->value);
      cell.config = with_value(cell.config, rule.solve, solved->value);
    }
  }
}

void check_fairness(const Suite& suite) {
  const Fairness& rule = suite.fairness;
  if (rule.equal == Equal::nothing)
    return;
  for (const Group& group : groups_of(suite)) {
    std::map<std::size_t, double> figures;
    for (const std::size_t i : group.cells)
      figures[i] = figure(suite.cells[i].config, rule.equal);
    const double target = expected(group, figures);
    for (const auto& [i, one] : figures)
      check<ConfigError>(std::abs(one / target - 1) <= rule.tolerance, rule.place, ": fairness: expected equal ",
                         name_of(rule.equal), " (", fmt::format("{:.0f}", target), "), got ",
                         fmt::format("{:.0f}", one), " in ", suite.cells[i].id);
  }
}

std::vector<std::string> time_warnings(const Suite& suite, const std::map<std::string, double>& step_seconds) {
  std::vector<std::string> warnings;
  if (suite.fairness.equal != Equal::time)
    return warnings;
  for (const Group& group : groups_of(suite)) {
    std::map<std::size_t, double> measured;
    for (const std::size_t i : group.cells)
      if (const auto one = step_seconds.find(suite.cells[i].id); one != step_seconds.end())
        measured[i] = one->second;
    const double target = expected(group, measured);
    for (const auto& [i, seconds] : measured)
      if (target > 0 && std::abs(seconds / target - 1) > suite.fairness.tolerance)
        warnings.push_back(
            fmt::format("fairness: time: the steps of {} took {:+.0f}% of the {:.3g} s expected, more "
                        "than the tolerance of {:.0f}%",
                        suite.cells[i].id, 100 * (seconds / target - 1), target, 100 * suite.fairness.tolerance));
  }
  return warnings;
}

}  // namespace osteon::experiments
