#include "experiments/config/options.hpp"

#include <CLI/CLI.hpp>
#include <algorithm>

#include "backends/error.hpp"
#include "experiments/config/values.hpp"

namespace osteon::experiments {

void add_set_option(CLI::App& app, ConfigArguments& arguments) {
  app.add_option("--set", arguments.set, "set one key: --set lr=1e-3 (repeatable; after the file, before the options)")
      ->type_name("KEY=VALUE")
      ->expected(1)
      ->take_all();
}

void add_config_options(CLI::App& app, ConfigArguments& arguments, std::span<const std::string_view> keys) {
  app.add_option("config,--config", arguments.file, "TOML file of the run; the options below go over it")
      ->type_name("FILE");
  add_set_option(app, arguments);
  const RunConfig defaults;
  if (keys.empty()) {
    const auto checkpoint = [&](const std::string& option, const char* value, const std::string& help) {
      return app.add_flag_callback(
          option, [&arguments, value] { arguments.options.emplace_back(kCheckpointKey, value); }, help);
    };
    checkpoint("--checkpoint", "true", "the same as --memory-policy checkpoint")->group("Machine");
    checkpoint("--no-checkpoint", "false", "")->group("");
  }
  for (const Key& key : config_keys()) {
    if (!keys.empty() && std::find(keys.begin(), keys.end(), key.name) == keys.end())
      continue;
    std::string option(key.name);
    std::replace(option.begin(), option.end(), '_', '-');
    const std::string name(key.name);
    if (std::holds_alternative<bool RunConfig::*>(key.member)) {
      const std::string twin = "--no-" + option;
      app.add_flag_callback(
             "--" + option, [&arguments, name] { arguments.options.emplace_back(name, "true"); },
             join(key.help, " [", value_text(defaults, key), "; ", twin, "]"))
          ->group(std::string(key.section));
      app.add_flag_callback(twin, [&arguments, name] { arguments.options.emplace_back(name, "false"); })->group("");
      continue;
    }
    std::string help(key.help);
    if (!key.allowed.empty())
      help += ": " + expected_text(key).substr(std::string_view("one of ").size());
    if (const std::string value = value_text(defaults, key); !value.empty())
      help += " [" + value + "]";
    app.add_option_function<std::string>(
           "--" + option, [&arguments, name](const std::string& text) { arguments.options.emplace_back(name, text); },
           help)
        ->type_name("")
        ->group(std::string(key.section));
  }
}

std::vector<std::string> ConfigArguments::given() const {
  std::vector<std::string> keys;
  for (const std::string& argument : set)
    keys.emplace_back(find_key(argument.substr(0, argument.find('=')), "--set").name);
  for (const auto& [key, text] : options)
    keys.push_back(key);
  return keys;
}

RunConfig resolve_config(const ConfigArguments& arguments, const RunConfig& defaults) {
  RunConfig config = defaults;
  if (!arguments.file.empty())
    read_config(arguments.file, config);
  for (const std::string& argument : arguments.set)
    set_argument(config, argument);
  for (const auto& [key, text] : arguments.options) {
    std::string option = key;
    std::replace(option.begin(), option.end(), '_', '-');
    set_key(config, key, text, "--" + option);
  }
  return config;
}

}  // namespace osteon::experiments
