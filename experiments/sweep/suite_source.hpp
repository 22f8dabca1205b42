#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <toml++/toml.h>
#include <utility>
#include <vector>

namespace osteon::experiments {

/// The pairs of a TOML table in the order of the file.
using TomlPairs = std::vector<std::pair<std::string, const toml::node*>>;

/// A suite's sections as if [quick] had been written over them. Nodes are not copied, so they know their lines: every
/// ConfigError begins with file and line. The table must outlive it.
class SuiteSource {
 public:
  /// Unknown sections are errors, in [quick] too, whether it is wanted or not.
  SuiteSource(const toml::table& root, std::string_view file, bool quick);

  /// "file:line" of a node.
  std::string at(const toml::node& node) const;

  /// The value of a name, [quick]'s before the file's; null where neither has it.
  const toml::node* find(std::string_view name) const;
  /// The pairs of a section, [quick]'s in place of those with the same name.
  TomlPairs section(std::string_view name) const;
  /// The tables of a name as they stand, the file's first.
  std::vector<const toml::table*> tables(std::string_view name) const;

  // Values of a type, or a ConfigError that says what was expected of `what`.
  const toml::table& table(const toml::node& node) const;
  const toml::array& list(const toml::node& node, std::string_view what) const;  // not empty
  std::string string(const toml::node& node, std::string_view what) const;
  std::int64_t integer(const toml::node& node, std::string_view what) const;  // at least 0
  /// A list of strings, each of them once and one of `allowed` (empty = any).
  std::vector<std::string> strings(const toml::node& node, std::string_view what,
                                   const std::vector<std::string>& allowed) const;
  void check_names(const TomlPairs& pairs, const std::vector<std::string>& names) const;

 private:
  const toml::table& root_;
  const toml::table* over_ = nullptr;
  std::string_view file_;
};

}  // namespace osteon::experiments
