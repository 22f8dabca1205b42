#pragma once

#include <limits>
#include <span>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "experiments/config/config.hpp"

namespace osteon::experiments {

/// Where a key's value lives; the alternative is its type.
using KeyMember =
    std::variant<std::string RunConfig::*, bool RunConfig::*, std::int64_t RunConfig::*, double RunConfig::*,
                 std::optional<std::int64_t> RunConfig::*, std::optional<double> RunConfig::*, ModuleNames RunConfig::*,
                 std::vector<std::string> RunConfig::*, std::vector<std::int64_t> RunConfig::*,
                 Pattern<std::int64_t> RunConfig::*, Pattern<double> RunConfig::*>;

/// The numbers a key takes (elements of lists and pairs too).
struct Range {
  double min = -std::numeric_limits<double>::infinity();
  double max = std::numeric_limits<double>::infinity();
  bool open_min = false;  // min itself is out
  bool open_max = false;  // max itself is out

  bool holds(double value) const;
  std::string text() const;  // " of at least 1", " in [0, 1)", or empty
};

/// One key of a run's configuration.
struct Key {
  std::string_view section;  // heading in --help and in config.toml
  std::string_view name;     // in TOML; as an option '_' becomes '-'
  KeyMember member;
  std::string_view help;
  std::vector<std::string> allowed = {};  // strings only; "<n>" at the end stands for a whole number; empty = any
  Range range = {};                       // numbers only
};

/// The one table of keys, in the order in which they are shown and written. Methods that are registered before it is
/// first asked for are among those that `method` takes.
std::span<const Key> config_keys();

/// All names of the table, for suggestions.
const std::vector<std::string>& config_key_names();

/// A boolean in files and on the command line that stands for two values of memory_policy.
inline constexpr std::string_view kCheckpointKey = "checkpoint", kMemoryPolicyKey = "memory_policy";

/// The row of a name ('-' counts as '_'), or ConfigError beginning with `origin` that suggests the nearest one.
/// kCheckpointKey gives that of memory_policy.
const Key& find_key(std::string_view name, std::string_view origin);

/// Whether `value` is one of key.allowed ("pissa_niter_<n>" allows pissa_niter_4).
bool allows(const Key& key, std::string_view value);

}  // namespace osteon::experiments
