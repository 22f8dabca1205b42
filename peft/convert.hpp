#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "peft/model.hpp"

namespace osteon::peft {

/// The names of conversions that are exact, "bone -> miss".
std::vector<std::string> conversions();

/// Replaces the active adapter by an equal one of another method and gives it back, active, under `name`:
///   bone -> miss, miss -> bone      the same block under its other name
///   bone, miss, miss_mini -> lora   A is the fixed matrix [i mod r = j], B = D^T, alpha = r
///   bat -> bat_row, bat_row -> bat  where each module's matrices are all the same one, as where it has only one: a
///   matrix
///                                   an output block and one an input block (RWKV-PEFT's) then mean the same
/// The delta of every weight stays the same. ConfigError for a pair that is not equal, naming what differs.
ModelAdapter& convert_adapter(PeftModel& model, const std::string& to, const std::string& name);

/// PiSSA or OLoRA as a LoRA of twice the rank on the original weights: A' = [A; A0], B' = [B, -B0], so that
/// W + s B' A' = W_res + s B A. `start` holds the factors at the start, by adapter_tensors' names; the base of the
/// result is the original model.
void save_residual_as_lora(PeftModel& model, const NamedTensors& start, const std::filesystem::path& folder);

}  // namespace osteon::peft
