#include "experiments/sweep/suite_rules.hpp"

#include <algorithm>
#include <array>

#include "backends/error.hpp"
#include "backends/suggest.hpp"
#include "experiments/config/toml_file.hpp"
#include "experiments/config/values.hpp"

namespace osteon::experiments {
namespace {

constexpr std::array<std::pair<std::string_view, Equal>, 4> kRules = {
    {{"parameters", Equal::parameters}, {"memory", Equal::memory}, {"time", Equal::time}, {"flops", Equal::flops}}};

Equal rule_named(const SuiteSource& source, const toml::node& node) {
  const auto name = node.value<std::string>();
  for (const auto& [known, rule] : kRules)
    if (name == known)
      return rule;
  fail<ConfigError>(source.at(node), ": fairness.equal: expected parameters, memory, time or flops, got ",
                    got_text(node));
}

bool is_whole_number(const Key& key) {
  return std::holds_alternative<std::int64_t RunConfig::*>(key.member) ||
         std::holds_alternative<std::optional<std::int64_t> RunConfig::*>(key.member);
}

/// Whether a cell is the one that `reference` names.
bool is_case(const Cell& cell, const std::string& name) {
  return std::any_of(cell.labels.begin(), cell.labels.end(),
                     [&](const auto& label) { return label.first == "case" && label.second == name; });
}

/// Where each key of [fairness] stands.
using Nodes = std::map<std::string, const toml::node*>;

void check_reference(const SuiteSource& source, const Nodes& nodes, const Fairness& rule, const Suite& suite) {
  const std::string at = source.at(*nodes.at("reference"));
  std::vector<std::string> known;
  bool found = false;
  for (const Cell& cell : suite.cells) {
    known.push_back(cell.config.method);
    found = found || is_reference(cell, rule.reference);
  }
  check<ConfigError>(found, at, ": fairness.reference: expected the method or the name of a case, got \"",
                     rule.reference, '"', suggestion(rule.reference, known));
  check<ConfigError>(std::count(rule.except.begin(), rule.except.end(), rule.reference) == 0, at,
                     ": fairness.reference: ", rule.reference, " is excepted from the rule");
}

void check_solved_key(const SuiteSource& source, const Nodes& nodes, const Fairness& rule, const Suite& suite) {
  const toml::node& node = *nodes.at("solve");
  const std::string at = source.at(node);
  check<ConfigError>(!rule.reference.empty(), at,
                     ": fairness.solve: expected a reference beside it, such as reference = \"lora\"");
  check<ConfigError>(is_whole_number(run_key(source, rule.solve, node)), at,
                     ": fairness.solve: expected a key that is a whole number, such as rank, got ", rule.solve);
  check<ConfigError>(!suite.sweep || suite.sweep->key != rule.solve, at, ": fairness.solve: ", rule.solve,
                     " is swept too");
  for (const Cell& cell : suite.cells)
    for (const auto& [label, text] : cell.labels)
      check<ConfigError>(label != rule.solve || is_reference(cell, rule.reference), at,
                         ": fairness.solve: ", rule.solve, " is an axis too");
  for (const toml::table* conditions : source.tables("for"))
    if (const toml::table* methods = conditions->get_as<toml::table>("method"))
      for (const auto& [method, settings] : in_order(*methods))
        if (const toml::node* set = source.table(*settings).get(rule.solve))
          check<ConfigError>(method == rule.reference || std::count(rule.except.begin(), rule.except.end(), method) > 0,
                             source.at(*set), ": ", rule.solve, ": fairness solves for it, so that only the reference ",
                             rule.reference, " can be given one");
}

}  // namespace

const Key& run_key(const SuiteSource& source, const std::string& name, const toml::node& node) {
  const Key& key = find_key(name, source.at(node));
  check<ConfigError>(key.name != "seed", source.at(node), ": seed: expected the suite's seeds = [...] instead");
  check<ConfigError>(!set_by_ablate(key.name), source.at(node), ": ", key.name,
                     ": `osteon ablate` sets it for each run");
  return key;
}

std::vector<std::int64_t> read_seeds(const SuiteSource& source) {
  const toml::node* node = source.find("seeds");
  if (!node)
    return {RunConfig{}.seed};
  std::vector<std::int64_t> seeds;
  for (const toml::node& element : source.list(*node, "seeds")) {
    seeds.push_back(source.integer(element, "seeds"));
    check<ConfigError>(std::count(seeds.begin(), seeds.end(), seeds.back()) == 1, source.at(element),
                       ": seeds: ", seeds.back(), " comes twice");
  }
  return seeds;
}

std::optional<Sweep> read_sweep(const SuiteSource& source, const std::vector<std::int64_t>& seeds) {
  const TomlPairs pairs = source.section("sweep");
  if (pairs.empty())
    return {};
  Sweep sweep;
  sweep.place = source.at(*pairs.front().second);
  sweep.by = {"accuracy", "loss"};
  bool have_seed = false;
  for (const auto& [name, node] : pairs) {
    if (name == "seed") {
      sweep.seed = source.integer(*node, "sweep.seed");
      have_seed = true;
      check<ConfigError>(std::count(seeds.begin(), seeds.end(), sweep.seed) == 0, source.at(*node),
                         ": sweep.seed: expected a seed that is not reported, got ", sweep.seed);
    } else if (name == "by") {
      sweep.by = source.strings(*node, "sweep.by", {"accuracy", "loss"});
    } else if (name == "eval_data") {
      RunConfig config;
      assign(config, run_key(source, name, *node), *node, source.at(*node));
      sweep.eval_data = config.eval_data;
    } else {
      const Key& key = run_key(source, name, *node);
      check<ConfigError>(sweep.key.empty(), source.at(*node), ": sweep: expected one key, got ", sweep.key, " and ",
                         name);
      sweep.key = key.name;
      for (const toml::node& value : source.list(*node, "sweep." + name)) {
        RunConfig config;
        assign(config, key, value, source.at(value));
        sweep.values.push_back(key_text(config, key.name));
      }
    }
  }
  const std::string at = source.at(*pairs.front().second);
  check<ConfigError>(!sweep.key.empty(), at, ": sweep: expected a key with its values, such as lr = [1e-3, 1e-2]");
  check<ConfigError>(have_seed, at, ": sweep: expected a seed that is not reported, such as seed = 100");
  return sweep;
}

bool is_reference(const Cell& cell, const std::string& reference) {
  return cell.config.method == reference || is_case(cell, reference);
}

Fairness read_fairness(const SuiteSource& source, const Suite& suite) {
  Fairness rule;
  Nodes nodes;
  const TomlPairs pairs = source.section("fairness");
  source.check_names(pairs, {"equal", "tolerance", "except", "reference", "solve"});
  for (const auto& [name, node] : pairs) {
    nodes[name] = node;
    if (name == "equal") {
      rule.equal = rule_named(source, *node);
      rule.place = source.at(*node);
    } else if (name == "except") {
      rule.except = source.strings(*node, "fairness.except", {});
    } else if (name == "reference") {
      rule.reference = source.string(*node, "fairness.reference");
    } else if (name == "solve") {
      rule.solve = run_key(source, source.string(*node, "fairness.solve"), *node).name;
    } else {
      const auto value = node->value<double>();
      check<ConfigError>(value && *value >= 0 && *value < 1, source.at(*node),
                         ": fairness.tolerance: expected a number in [0, 1), got ", got_text(*node));
      rule.tolerance = *value;
    }
  }
  check<ConfigError>(pairs.empty() || rule.equal != Equal::nothing, pairs.empty() ? "" : source.at(*pairs[0].second),
                     ": fairness: expected equal = \"parameters\", \"memory\", \"time\" or \"flops\", got none");
  if (!rule.reference.empty())
    check_reference(source, nodes, rule, suite);
  if (!rule.solve.empty())
    check_solved_key(source, nodes, rule, suite);
  return rule;
}

}  // namespace osteon::experiments
