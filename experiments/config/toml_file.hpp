#pragma once

#include <filesystem>
#include <string>
#include <string_view>
#include <toml++/toml.h>
#include <utility>
#include <vector>

namespace osteon::experiments {

/// "file:line" of a node; line 0 (a value made from text) gives the name alone.
std::string place(std::string_view name, const toml::node& node);

/// Parses TOML text. ConfigError "name:line:column: why" where it is malformed.
toml::table parse_toml(std::string_view text, std::string_view name);

/// Reads and parses a file. FileError where it cannot be read.
toml::table parse_toml_file(const std::filesystem::path& file);

/// The pairs of a table in the order of the text (toml++ itself sorts by key).
std::vector<std::pair<std::string, const toml::node*>> in_order(const toml::table& table);

}  // namespace osteon::experiments
