#pragma once

#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "nn/io/json_keys.hpp"
#include "nn/rope.hpp"

namespace osteon::nn {

/// The rope keys of a config.json: rope_theta and rope_scaling (transformers 4), or rope_parameters, which holds both
/// (transformers 5). Scalings other than RopeType's and missing numbers are refused; keys that the type does not use
/// are put into `warnings`.
RopeConfig read_rope(const io::JsonKeys& keys, const std::string& where, std::int64_t max_positions,
                     std::vector<std::string>& warnings);

/// The value of transformers 4's rope_scaling: null for unscaled frequencies.
nlohmann::json rope_scaling_json(const RopeConfig& rope);

/// The value of transformers 5's rope_parameters.
nlohmann::json rope_parameters_json(const RopeConfig& rope);

}  // namespace osteon::nn
