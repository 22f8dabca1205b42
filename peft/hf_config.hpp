#pragma once

#include <filesystem>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <vector>

#include "peft/adapter_config.hpp"

namespace osteon::peft {

/// Reads adapter_config.json of a folder as peft writes it. The method is found from peft_type and the method's own
/// keys. Throws FileError naming file and key for what cannot be meant here (an unknown peft_type, a wrong type, a
/// feature of peft that is not supported and is switched on); keys that are not known go to `warnings` if given.
AdapterConfig read_adapter_config(const std::filesystem::path& folder, std::vector<std::string>* warnings = nullptr);

/// The config as peft 0.17 writes it: all of its keys and, for what is not set here, peft's defaults. Of the keys that
/// say nothing of the adapter, base_model_name_or_path, revision, task_type and auto_mapping are the config's,
/// inference_mode is true as in every folder that peft saves. rank_pattern is beyond peft where a method other than
/// LoRA's kinds has one; train_parts is a key of ours, written where it says something.
nlohmann::json adapter_config_json(const AdapterConfig& config);

/// A number as Python's configs hold it: an integer where it is whole.
nlohmann::json json_number(double value);

}  // namespace osteon::peft
