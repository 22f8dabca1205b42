#include "experiments/sweep/suite_source.hpp"

#include <algorithm>

#include "backends/error.hpp"
#include "backends/suggest.hpp"
#include "experiments/config/toml_file.hpp"
#include "experiments/config/values.hpp"

namespace osteon::experiments {
namespace {

const std::vector<std::string> kSections = {"question", "seeds", "base",     "axes",   "zip",  "cases",
                                            "for",      "sweep", "fairness", "report", "quick"};

bool has(const std::vector<std::string>& names, std::string_view name) {
  return std::find(names.begin(), names.end(), name) != names.end();
}

}  // namespace

SuiteSource::SuiteSource(const toml::table& root, std::string_view file, bool quick) : root_(root), file_(file) {
  check_names(in_order(root), kSections);
  if (const toml::node* over = root.get("quick")) {
    check_names(in_order(table(*over)), kSections);
    if (quick)
      over_ = over->as_table();
  }
}

std::string SuiteSource::at(const toml::node& node) const { return place(file_, node); }

const toml::node* SuiteSource::find(std::string_view name) const {
  const toml::node* node = over_ ? over_->get(name) : nullptr;
  return node ? node : root_.get(name);
}

TomlPairs SuiteSource::section(std::string_view name) const {
  TomlPairs pairs;
  for (const toml::table* from : tables(name))
    for (const auto& [key, node] : in_order(*from)) {
      const auto same =
          std::find_if(pairs.begin(), pairs.end(), [&, k = key](const auto& pair) { return pair.first == k; });
      if (same == pairs.end())
        pairs.emplace_back(key, node);
      else
        same->second = node;
    }
  return pairs;
}

std::vector<const toml::table*> SuiteSource::tables(std::string_view name) const {
  std::vector<const toml::table*> found;
  for (const toml::table* from : {&root_, over_})
    if (const toml::node* node = from ? from->get(name) : nullptr)
      found.push_back(&table(*node));
  return found;
}

const toml::table& SuiteSource::table(const toml::node& node) const {
  check<ConfigError>(node.is_table(), at(node), ": expected a table, got ", got_text(node));
  return *node.as_table();
}

const toml::array& SuiteSource::list(const toml::node& node, std::string_view what) const {
  const toml::array* array = node.as_array();
  check<ConfigError>(array && !array->empty(), at(node), ": ", what, ": expected a list that is not empty, got ",
                     array ? "an empty one" : got_text(node));
  return *array;
}

std::string SuiteSource::string(const toml::node& node, std::string_view what) const {
  check<ConfigError>(node.is_string(), at(node), ": ", what, ": expected a string, got ", got_text(node));
  return node.as_string()->get();
}

std::int64_t SuiteSource::integer(const toml::node& node, std::string_view what) const {
  const auto* value = node.as_integer();
  check<ConfigError>(value && value->get() >= 0, at(node), ": ", what, ": expected an integer of at least 0, got ",
                     got_text(node));
  return value->get();
}

std::vector<std::string> SuiteSource::strings(const toml::node& node, std::string_view what,
                                              const std::vector<std::string>& allowed) const {
  std::vector<std::string> out;
  for (const toml::node& element : list(node, what)) {
    const std::string text = string(element, what);
    check<ConfigError>(allowed.empty() || has(allowed, text), at(element), ": ", what, ": unknown '", text, "'",
                       suggestion(text, allowed));
    check<ConfigError>(!has(out, text), at(element), ": ", what, ": expected each name once, got '", text, "' twice");
    out.push_back(text);
  }
  return out;
}

void SuiteSource::check_names(const TomlPairs& pairs, const std::vector<std::string>& names) const {
  for (const auto& [name, node] : pairs)
    check<ConfigError>(has(names, name), at(*node), ": unknown key '", name, "'", suggestion(name, names));
}

}  // namespace osteon::experiments
