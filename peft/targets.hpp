#pragma once

#include <string>
#include <vector>

#include "peft/adapter_config.hpp"

namespace osteon::peft {

/// Whether peft would adapt the linear `name` ("model.layers.0.self_attn.q_proj"): exclusions and what is trained whole
/// first, then a regular expression that must match the whole name, "all-linear" (every linear but the head), or a list
/// of names and suffixes with the optional choice of layers. A bad regular expression is a ConfigError.
bool is_target(const AdapterConfig& config, const std::string& name);

/// The config with all-linear as the list of the names of its linears where layers are chosen, which peft does from
/// lists only.
AdapterConfig with_listed_targets(const AdapterConfig& config, const std::vector<std::string>& linears);

/// The names among `linears` that are targets. ConfigError, saying which of the three cases it is, if there are none:
/// nothing given, nothing matched, or all excluded.
std::vector<std::string> select_targets(const AdapterConfig& config, const std::vector<std::string>& linears);

/// ConfigError naming what of the config's target_modules, layers_to_transform, rank_pattern and alpha_pattern means
/// none of the `linears` or, for the patterns, of the `targets`: a misspelt name would silently train less. peft passes
/// over such names, so folders that it wrote are not held to this.
void check_all_used(const AdapterConfig& config, const std::vector<std::string>& linears,
                    const std::vector<std::string>& targets);

/// Whether a module is trained and saved whole (modules_to_save).
bool is_saved_whole(const AdapterConfig& config, const std::string& name);

/// Whether a parameter is trained and saved beside the adapter because its name contains one of train_parts.
bool is_train_part(const AdapterConfig& config, const std::string& parameter);

}  // namespace osteon::peft
