#pragma once

#include <nlohmann/json.hpp>
#include <string>
#include <string_view>
#include <toml++/toml.h>

#include "experiments/config/keys.hpp"

namespace osteon::experiments {

/// Puts a TOML value into a key. ConfigError beginning with `origin` ("run.toml:4") where the type, the range or the
/// name does not fit: "run.toml:4: rank: expected an integer of at least 1, got \"eight\"".
void assign(RunConfig& config, const Key& key, const toml::node& value, std::string_view origin);

/// Puts text into a key: the text is first read as a TOML value of the key's kind, so that both ways share one set of
/// rules.
void assign_text(RunConfig& config, const Key& key, std::string_view text, std::string_view origin);

/// The value in TOML; empty where an optional key is open.
std::string value_toml(const RunConfig& config, const Key& key);

/// The value in JSON; null where an optional key is open.
nlohmann::ordered_json value_json(const RunConfig& config, const Key& key);

/// The value in words, for help and names: 2e-05, bone, q_proj,v_proj; empty where an optional key is open.
std::string value_text(const RunConfig& config, const Key& key);

/// The shortest text that reads back as the same number.
std::string number_text(double value);

/// What came, for a message: the value where it is short, else its kind ("a list").
std::string got_text(const toml::node& node);

/// What the key takes, for help and errors: "an integer of at least 1", "one of f32, bf16".
std::string expected_text(const Key& key);

}  // namespace osteon::experiments
