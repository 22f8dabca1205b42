#include <algorithm>
#include <cctype>
#include <set>

#include "backends/error.hpp"
#include "backends/suggest.hpp"
#include "experiments/adapter_options.hpp"
#include "experiments/config_values.hpp"
#include "experiments/suite.hpp"
#include "experiments/suite_source.hpp"
#include "experiments/toml_file.hpp"

namespace osteon::experiments {
namespace {

/// A run key of a suite; the seed and what set_by_ablate names are none, since the suite gives them to each run.
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

Fairness read_fairness(const SuiteSource& source) {
  Fairness fairness;
  const TomlPairs pairs = source.section("fairness");
  source.check_names(pairs, {"equal", "tolerance", "except"});
  for (const auto& [name, node] : pairs) {
    if (name == "equal") {
      check<ConfigError>(node->value<std::string>() == "parameters", source.at(*node),
                         ": fairness.equal: expected \"parameters\", got ", got_text(*node));
      fairness.equal_parameters = true;
    } else if (name == "except") {
      fairness.except = source.strings(*node, "fairness.except", {});
    } else {
      const auto value = node->value<double>();
      check<ConfigError>(value && *value >= 0 && *value < 1, source.at(*node),
                         ": fairness.tolerance: expected a number in [0, 1), got ", got_text(*node));
      fairness.tolerance = *value;
    }
  }
  return fairness;
}

/// What a cell is made of, while the axes are walked.
struct Draft {
  RunConfig config;
  std::vector<std::pair<std::string, std::string>> labels;
  std::set<std::string> own;  // keys that an axis or a case has set: [for] does not touch them
  std::string case_name;
};

std::vector<Draft> with_cases(const SuiteSource& source, const Draft& base) {
  const toml::node* node = source.find("cases");
  if (!node)
    return {base};
  std::vector<Draft> drafts;
  for (const toml::node& element : source.list(*node, "cases")) {
    Draft draft = base;
    for (const auto& [name, value] : in_order(source.table(element))) {
      if (name == "name") {
        draft.case_name = source.string(*value, "cases.name");
        draft.labels.emplace_back("case", draft.case_name);
        continue;
      }
      const Key& key = run_key(source, name, *value);
      assign(draft.config, key, *value, source.at(*value));
      draft.own.emplace(key.name);
    }
    if (draft.case_name.empty())  // a case without a name is told apart by all it sets
      for (const std::string& key : draft.own)
        draft.labels.emplace_back(key, key_text(draft.config, key));
    drafts.push_back(std::move(draft));
  }
  return drafts;
}

std::vector<Draft> with_axes(const SuiteSource& source, std::vector<Draft> drafts) {
  for (const auto& [name, node] : source.section("axes")) {
    const Key& key = run_key(source, name, *node);
    const toml::array& values = source.list(*node, "axes." + name);
    std::vector<Draft> product;
    for (const Draft& draft : drafts) {
      check<ConfigError>(!draft.own.contains(std::string(key.name)), source.at(*node), ": axes.", name,
                         ": a case sets it too");
      for (const toml::node& value : values) {
        Draft next = draft;
        assign(next.config, key, value, source.at(value));
        next.own.emplace(key.name);
        next.labels.emplace_back(key.name, key_text(next.config, key.name));
        product.push_back(std::move(next));
      }
    }
    drafts = std::move(product);
  }
  return drafts;
}

/// Applies [for.KEY.VALUE]. `must_match`: a VALUE that no cell has is an error (in quick mode cells are missing on
/// purpose).
void apply_conditions(const SuiteSource& source, std::vector<Draft>& drafts, bool must_match) {
  for (const toml::table* conditions : source.tables("for")) {
    for (const auto& [name, values] : in_order(*conditions)) {
      const Key& key = run_key(source, name, *values);
      for (const auto& [value, settings] : in_order(source.table(*values))) {
        bool matched = false;
        std::vector<std::string> present;
        for (Draft& draft : drafts) {
          present.push_back(key_text(draft.config, key.name));
          if (present.back() != value)
            continue;
          matched = true;
          for (const auto& [set, node] : in_order(source.table(*settings))) {
            const Key& target = run_key(source, set, *node);
            if (!draft.own.contains(std::string(target.name)))
              assign(draft.config, target, *node, source.at(*node));
          }
        }
        check<ConfigError>(matched || !must_match, source.at(*settings), ": for.", name, ".", value,
                           ": expected a value that a cell has", suggestion(value, present));
      }
    }
  }
}

std::string cell_id(const Draft& draft) {
  std::string id;
  for (const auto& [key, text] : draft.labels) {
    if (!id.empty())
      id += '-';
    for (const char c : text)
      id += std::isalnum(static_cast<unsigned char>(c)) || c == '.' ? c : '_';
  }
  return id.empty() ? "run" : id;
}

/// After the cells are known.
void read_report(const SuiteSource& source, Suite& suite) {
  suite.title = suite.name;
  for (const Cell& cell : suite.cells) {
    const std::string task = std::filesystem::path(cell.config.data).stem().string();  // as summary.json names it
    if (std::find(suite.tasks.begin(), suite.tasks.end(), task) == suite.tasks.end())
      suite.tasks.push_back(task);
  }
  const TomlPairs report = source.section("report");
  source.check_names(report, {"title", "tasks"});
  for (const auto& [name, node] : report) {
    if (name == "title")
      suite.title = source.string(*node, "report.title");
    else if (!suite.quick)  // quick mode may have fewer, in the order of the cells
      suite.tasks = source.strings(*node, "report.tasks", suite.tasks);
  }
}

Suite build(const toml::table& root, std::string_view name, bool quick) {
  const SuiteSource source(root, name, quick);
  Suite suite;
  suite.name = std::filesystem::path(std::string(name)).stem().string();
  suite.quick = quick;
  if (const toml::node* question = source.find("question")) {
    suite.question = source.string(*question, "question");
  }
  suite.seeds = read_seeds(source);
  suite.sweep = read_sweep(source, suite.seeds);
  suite.fairness = read_fairness(source);

  Draft base;
  for (const auto& [key, node] : source.section("base"))
    assign(base.config, run_key(source, key, *node), *node, source.at(*node));
  std::vector<Draft> drafts = with_axes(source, with_cases(source, base));
  apply_conditions(source, drafts, !quick);
  std::set<std::string> ids;
  for (Draft& draft : drafts) {
    Cell cell{cell_id(draft), std::move(draft.labels), std::move(draft.config)};
    check<ConfigError>(ids.insert(cell.id).second, name, ": two cells are called '", cell.id, "'");
    if (suite.sweep)
      check<ConfigError>(!draft.own.contains(suite.sweep->key), name, ": sweep.", suite.sweep->key,
                         ": it is an axis too");
    fill_adapter_defaults(cell.config);
    check_config(cell.config);
    suite.cells.push_back(std::move(cell));
  }
  read_report(source, suite);
  return suite;
}

}  // namespace

Suite parse_suite(std::string_view text, std::string_view name, bool quick) {
  const toml::table root = parse_toml(text, name);
  // Both, so that an error is found whichever way the suite is run.
  Suite full = build(root, name, /*quick=*/false), fast = build(root, name, /*quick=*/true);
  Suite suite = std::move(quick ? fast : full);
  suite.text = text;
  return suite;
}

}  // namespace osteon::experiments
