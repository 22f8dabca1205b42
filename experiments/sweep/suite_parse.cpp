#include <algorithm>
#include <cctype>
#include <set>

#include "backends/error.hpp"
#include "backends/suggest.hpp"
#include "experiments/config/adapter_options.hpp"
#include "experiments/config/toml_file.hpp"
#include "experiments/config/values.hpp"
#include "experiments/report/report.hpp"
#include "experiments/sweep/suite.hpp"
#include "experiments/sweep/suite_rules.hpp"
#include "experiments/sweep/suite_source.hpp"
#include "experiments/training/task_score.hpp"

namespace osteon::experiments {
namespace {

/// What a cell is made of, while the axes are walked.
struct Draft {
  RunConfig config;
  std::vector<std::pair<std::string, std::string>> labels;
  std::set<std::string> own;  // keys that an axis or a case has set: [for] does not touch them
  std::string case_name;
  std::map<std::string, std::string> places;

  void set(const SuiteSource& source, const Key& key, const toml::node& value) {
    const std::string place = source.at(value);
    assign(config, key, value, place);
    places[std::string(key.name)] = place;
  }
  /// Sets the key as one that tells cells apart.
  void label(const SuiteSource& source, const Key& key, const toml::node& value) {
    set(source, key, value);
    own.emplace(key.name);
    labels.emplace_back(key.name, key_text(config, key.name));
  }
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
      draft.set(source, key, *value);
      draft.own.emplace(key.name);
    }
    if (draft.case_name.empty())  // a case without a name is told apart by all it sets
      for (const std::string& key : draft.own)
        draft.labels.emplace_back(key, key_text(draft.config, key));
    drafts.push_back(std::move(draft));
  }
  return drafts;
}

std::vector<Draft> with_zip(const SuiteSource& source, std::vector<Draft> drafts) {
  std::vector<std::pair<const Key*, const toml::array*>> lists;
  for (const auto& [name, node] : source.section("zip")) {
    const Key& key = run_key(source, name, *node);
    lists.emplace_back(&key, &source.list(*node, "zip." + name));
    const std::size_t expected = lists[0].second->size(), got = lists.back().second->size();
    check<ConfigError>(got == expected, source.at(*node), ": zip.", name, ": expected ", expected,
                       " values, as many as ", lists[0].first->name, " has, got ", got);
    for (const Draft& draft : drafts)
      check<ConfigError>(!draft.own.contains(std::string(key.name)), source.at(*node), ": zip.", name,
                         ": a case sets it too");
  }
  if (lists.empty())
    return drafts;
  std::vector<Draft> zipped;
  for (const Draft& draft : drafts)
    for (std::size_t i = 0; i < lists[0].second->size(); ++i) {
      Draft next = draft;
      for (const auto& [key, values] : lists)
        next.label(source, *key, *values->get(i));
      zipped.push_back(std::move(next));
    }
  return zipped;
}

std::vector<Draft> with_axes(const SuiteSource& source, std::vector<Draft> drafts) {
  for (const auto& [name, node] : source.section("axes")) {
    const Key& key = run_key(source, name, *node);
    const toml::array& values = source.list(*node, "axes." + name);
    std::vector<Draft> product;
    for (const Draft& draft : drafts) {
      check<ConfigError>(!draft.own.contains(std::string(key.name)), source.at(*node), ": axes.", name,
                         ": a case or [zip] sets it too");
      for (const toml::node& value : values) {
        Draft next = draft;
        next.label(source, key, value);
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
              draft.set(source, target, *node);
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
    const std::string task = task_name(cell.config);  // as summary.json names it
    if (std::find(suite.tasks.begin(), suite.tasks.end(), task) == suite.tasks.end())
      suite.tasks.push_back(task);
  }
  const TomlPairs report = source.section("report");
  source.check_names(report, {"title", "tasks", "plots"});
  for (const auto& [name, node] : report) {
    if (name == "title")
      suite.title = source.string(*node, "report.title");
    else if (name == "plots")
      suite.plots = source.strings(*node, "report.plots", report::plot_names());
    else if (!suite.quick)  // quick mode may have fewer, in the order of the cells
      suite.tasks = source.strings(*node, "report.tasks", suite.tasks);
  }
}

/// "axes.rank=[16, 32]": the value takes the other's place, and its line.
void replace_value(toml::table& root, std::string_view file, const std::string& argument) {
  const std::string origin = "--set " + argument;
  const std::size_t dot = argument.find('.'), equals = argument.find('=');
  check<ConfigError>(equals != std::string::npos && dot < equals, origin, ": expected section.key=value");
  const std::string section = argument.substr(0, dot), key = argument.substr(dot + 1, equals - dot - 1);
  bool found = false;
  toml::table* quick = root.get_as<toml::table>("quick");
  for (toml::table* from : {&root, quick}) {
    toml::table* there = from ? from->get_as<toml::table>(section) : nullptr;
    const toml::node* old = there ? there->get(key) : nullptr;
    if (!old)
      continue;
    found = true;
    const std::string lines(std::max<std::size_t>(1, old->source().begin.line) - 1, '\n');
    try {
      toml::table parsed = toml::parse(lines + "value = " + argument.substr(equals + 1), file);
      // Moved: a copy would not know its line.
      parsed.get("value")->visit([&](auto& value) { there->insert_or_assign(key, std::move(value)); });
    } catch (const toml::parse_error& error) {
      fail<ConfigError>(origin, ": ", error.description());
    }
  }
  check<ConfigError>(found, origin, ": ", file, " has no ", section, '.', key);
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

  Draft base;
  for (const auto& [key, node] : source.section("base"))
    base.set(source, run_key(source, key, *node), *node);
  std::vector<Draft> drafts = with_axes(source, with_zip(source, with_cases(source, base)));
  apply_conditions(source, drafts, !quick);
  std::set<std::string> ids;
  for (Draft& draft : drafts) {
    Cell cell{cell_id(draft), std::move(draft.labels), std::move(draft.config), std::move(draft.places)};
    check<ConfigError>(ids.insert(cell.id).second, name, ": two cells are called '", cell.id, "'");
    if (suite.sweep)
      check<ConfigError>(!draft.own.contains(suite.sweep->key), name, ": sweep.", suite.sweep->key,
                         ": it is an axis too");
    check_config(filled(cell.config));
    suite.cells.push_back(std::move(cell));
  }
  suite.fairness = read_fairness(source, suite);
  read_report(source, suite);
  return suite;
}

}  // namespace

Suite parse_suite(std::string_view text, std::string_view name, bool quick, const std::vector<std::string>& replaced) {
  toml::table root = parse_toml(text, name);
  for (const std::string& argument : replaced)
    replace_value(root, name, argument);
  // Both, so that an error is found whichever way the suite is run.
  Suite full = build(root, name, /*quick=*/false), fast = build(root, name, /*quick=*/true);
  Suite suite = std::move(quick ? fast : full);
  suite.text = text;
  return suite;
}

}  // namespace osteon::experiments
