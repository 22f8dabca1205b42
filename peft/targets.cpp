#include "peft/targets.hpp"

#include <algorithm>
#include <cctype>
#include <regex>

#include "backends/error.hpp"
#include "backends/suggest.hpp"

namespace osteon::peft {
namespace {

std::regex compiled(const std::string& pattern, const char* option) {
  try {
    return std::regex(pattern);
  } catch (const std::regex_error& error) {
    fail<ConfigError>(option, ": expected a regular expression, got \"", pattern, "\" (", error.what(), ")");
  }
}

bool matches_entry(const std::string& name, const std::string& entry) {
  return name == entry || name.ends_with("." + entry);
}

bool is_excluded(const AdapterConfig& config, const std::string& name) {
  if (config.exclude_is_pattern)
    return std::regex_match(name, compiled(config.exclude_modules.at(0), "exclude_modules"));
  return std::any_of(config.exclude_modules.begin(), config.exclude_modules.end(),
                     [&](const std::string& entry) { return matches_entry(name, entry); });
}

bool is_all_linear(std::string text) {
  std::transform(text.begin(), text.end(), text.begin(),
                 [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  return text == "all-linear";
}

/// The layer index peft reads from a name: the first number between dots behind the first pattern that fits (or,
/// without patterns, behind any part). Unlike there the pattern may begin the name: RWKV's are "blocks.0.att.key".
std::optional<std::int64_t> layer_of(const AdapterConfig& config, const std::string& name) {
  static const std::vector<std::string> any = {"[^.]*"};
  for (const std::string& part : config.layers_pattern.empty() ? any : config.layers_pattern)
    if (std::smatch found;
        std::regex_search(name, found, compiled("(?:.*?\\.)?" + part + "\\.(\\d+)\\.", "layers_pattern"),
                          std::regex_constants::match_continuous))
      return std::stoll(found[1]);
  return std::nullopt;
}

/// Whether a key of rank_pattern or alpha_pattern means the module.
bool matches_pattern(const std::string& name, const std::string& pattern, const char* option) {
  return std::regex_match(name, compiled("(.*\\.)?(" + pattern + ")", option));
}

std::vector<std::string> last_parts(const std::vector<std::string>& names) {
  std::vector<std::string> parts;
  for (const std::string& name : names)
    parts.push_back(name.substr(name.rfind('.') + 1));
  return parts;
}

/// Every name of target_modules and every layer of layers_to_transform is there.
void check_entries(const AdapterConfig& config, const std::vector<std::string>& linears) {
  for (const std::string& entry : config.target_modules)
    check<ConfigError>(std::any_of(linears.begin(), linears.end(),
                                   [&](const std::string& name) { return matches_entry(name, entry); }),
                       "target_modules: no linear matches \"", entry, "\"", suggestion(entry, last_parts(linears)));
  std::int64_t last = -1;
  for (const std::string& name : linears)
    last = std::max(last, layer_of(config, name).value_or(-1));
  check<ConfigError>(last >= 0 || config.layers_pattern.empty(),
                     "layers_pattern: expected the name before a layer's number, as in \"", linears.front(),
                     "\", got \"", config.layers_pattern.empty() ? "" : config.layers_pattern[0], '"');
  for (const std::int64_t layer : config.layers_to_transform)
    check<ConfigError>(layer <= last, "layers_to_transform: expected layers from 0 to ", last, ", got ", layer);
}

}  // namespace

bool is_saved_whole(const AdapterConfig& config, const std::string& name) {
  return std::any_of(config.modules_to_save.begin(), config.modules_to_save.end(), [&](const std::string& module) {
    return std::regex_match(name, compiled("(.*\\.)?" + module + "(\\..*)?", "modules_to_save"));
  });
}

bool is_train_part(const AdapterConfig& config, const std::string& parameter) {
  return std::any_of(config.train_parts.begin(), config.train_parts.end(),
                     [&](const std::string& part) { return parameter.find(part) != std::string::npos; });
}

bool is_target(const AdapterConfig& config, const std::string& name) {
  if (config.target_modules.empty() || is_excluded(config, name) || is_saved_whole(config, name) ||
      is_train_part(config, name + ".weight"))
    return false;
  if (config.target_is_pattern) {
    const std::string& pattern = config.target_modules[0];
    return is_all_linear(pattern) ? name != "lm_head" && name != "score" && name != "head"
                                  : std::regex_match(name, compiled(pattern, "target_modules"));
  }
  const auto& entries = config.target_modules;
  if (std::find(entries.begin(), entries.end(), name) != entries.end())
    return true;  // an exact name skips the choice of layers
  if (std::none_of(entries.begin(), entries.end(), [&](const auto& entry) { return matches_entry(name, entry); }))
    return false;
  if (config.layers_to_transform.empty())
    return true;
  const std::optional<std::int64_t> layer = layer_of(config, name);
  const auto& layers = config.layers_to_transform;
  return layer.has_value() && std::find(layers.begin(), layers.end(), *layer) != layers.end();
}

AdapterConfig with_listed_targets(const AdapterConfig& config, const std::vector<std::string>& linears) {
  AdapterConfig listed = config;
  if (config.layers_to_transform.empty() || !config.target_is_pattern || !is_all_linear(config.target_modules.at(0)))
    return listed;
  listed.target_is_pattern = false;
  listed.target_modules.clear();
  for (const std::string& name : linears) {
    const std::string part = name.substr(name.rfind('.') + 1);
    if (is_target(config, name) &&
        std::find(listed.target_modules.begin(), listed.target_modules.end(), part) == listed.target_modules.end())
      listed.target_modules.push_back(part);
  }
  return listed;
}

std::vector<std::string> select_targets(const AdapterConfig& config, const std::vector<std::string>& linears) {
  check<ConfigError>(!config.target_modules.empty(), "target_modules: expected names, a regular expression or ",
                     "\"all-linear\", got nothing");
  check<ConfigError>(!config.target_is_pattern || (config.layers_to_transform.empty() && config.layers_pattern.empty()),
                     "target_modules: a regular expression cannot be used with layers_to_transform or layers_pattern");
  std::vector<std::string> chosen;
  for (const std::string& name : linears)
    if (is_target(config, name))
      chosen.push_back(name);
  if (!chosen.empty())
    return chosen;
  AdapterConfig everything = config;
  everything.exclude_modules.clear();
  everything.exclude_is_pattern = false;
  const bool excluded =
      std::any_of(linears.begin(), linears.end(), [&](const std::string& name) { return is_target(everything, name); });
  check<ConfigError>(!excluded, "target_modules: all matching modules are excluded by exclude_modules");
  if (!config.target_is_pattern)
    check_entries(config, linears);
  fail<ConfigError>("target_modules: no linear matches \"", config.target_modules[0], "\"",
                    suggestion(config.target_modules[0], last_parts(linears)));
}

void check_all_used(const AdapterConfig& config, const std::vector<std::string>& linears,
                    const std::vector<std::string>& targets) {
  if (!config.target_is_pattern)
    check_entries(config, linears);
  const auto check_pattern = [&](const char* option, const std::string& pattern) {
    check<ConfigError>(std::any_of(targets.begin(), targets.end(),
                                   [&](const std::string& name) { return matches_pattern(name, pattern, option); }),
                       option, ": no adapted linear matches \"", pattern, "\"",
                       suggestion(pattern, last_parts(targets)));
  };
  for (const auto& [pattern, rank] : config.rank_pattern)
    check_pattern("rank_pattern", pattern);
  for (const auto& [pattern, alpha] : config.alpha_pattern)
    check_pattern("alpha_pattern", pattern);
}

AdapterConfig AdapterConfig::for_module(const std::string& name) const {
  AdapterConfig own = *this;
  for (const auto& [pattern, value] : rank_pattern)
    if (matches_pattern(name, pattern, "rank_pattern")) {
      own.rank = value;
      break;
    }
  for (const auto& [pattern, value] : alpha_pattern)
    if (matches_pattern(name, pattern, "alpha_pattern")) {
      own.alpha = value;
      break;
    }
  return own;
}

}  // namespace osteon::peft
