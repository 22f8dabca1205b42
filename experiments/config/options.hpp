#pragma once

#include <CLI/App.hpp>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "experiments/config/config.hpp"

namespace osteon::experiments {

/// What the command line said about a run, kept as text until the TOML file has been read: files come first, then
/// `--set`, then the named options, so that the most specific word counts.
struct ConfigArguments {
  std::string file;
  std::vector<std::string> set;
  std::vector<std::pair<std::string, std::string>> options;  // key, text

  /// The keys that --set and the options name.
  std::vector<std::string> given() const;
};

/// Registers `CONFIG.toml`, `--set key=value` and one option for every key of the table ("--batch-size") with help,
/// default and what it takes; booleans are flags with a `--no-` twin. Where `keys` names some, only these become
/// options. `arguments` must outlive the parsing.
void add_config_options(CLI::App& app, ConfigArguments& arguments, std::span<const std::string_view> keys = {});

/// Only `--set`, for subcommands that read a run's or a suite's file themselves.
void add_set_option(CLI::App& app, ConfigArguments& arguments);

/// The configuration: `defaults`, then the file, then `--set`, then the options. Errors as read_config and set_key.
RunConfig resolve_config(const ConfigArguments& arguments, const RunConfig& defaults = {});

}  // namespace osteon::experiments
