#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "peft/model.hpp"

namespace osteon::peft {

/// Adds the adapter of a Hugging Face folder (adapter_config.json, adapter_model.safetensors) to a model and makes it
/// active. Both names of Bone's block are read. FileError where tensors are missing, left over or of another shape;
/// what is odd but harmless goes to `warnings` if given. A PiSSA or OLoRA adapter belongs to its residual base.
ModelAdapter& load_adapter(PeftModel& model, const std::filesystem::path& folder, const std::string& name = "default",
                           std::vector<std::string>* warnings = nullptr);

/// Writes an adapter as peft does, keys and dtypes alike, as an io::OutputFolder: complete or not at all.
void save_adapter(PeftModel& model, const std::filesystem::path& folder, const std::string& name = "default");

/// The adapter's tensors by their names in the file ("base_model.model.model.layers.0....lora_A.weight"), in the order
/// of the model.
NamedTensors adapter_tensors(PeftModel& model, const std::string& name = "default");

}  // namespace osteon::peft
