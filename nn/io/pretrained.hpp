#pragma once

#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "nn/llama.hpp"

namespace osteon::nn {

/// Loads a Hugging Face folder (config.json, one or many safetensors), reading the weights straight into place and
/// converting on the way. FileError names missing tensors and wrong shapes; unknown keys go to `warnings` if given. On
/// `meta` only config.json is read.
std::unique_ptr<Llama> load_llama(const std::filesystem::path& folder, DType dtype, Device device = default_device(),
                                  std::vector<std::string>* warnings = nullptr);

/// Writes config.json and the weights in `dtype`, the model's own by default (one rounding), as an OutputFolder.
void save_llama(const Llama& model, const std::filesystem::path& folder, std::optional<DType> dtype = {});

}  // namespace osteon::nn
