#pragma once

#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "nn/io/rwkv_config.hpp"
#include "nn/llama.hpp"

namespace osteon::nn {

/// Loads a Hugging Face folder (config.json, one or many safetensors), reading the weights straight into place and
/// converting on the way. FileError names missing tensors and wrong shapes; unknown keys go to `warnings` if given. On
/// `meta` only config.json is read.
/// `num_labels` above 0 gives the model a classification head of so many outputs in place of the language model's: the
/// folder's `score.weight`, or one that is drawn from `seed` where it has none.
std::unique_ptr<Llama> load_llama(const std::filesystem::path& folder, DType dtype, Device device = default_device(),
                                  std::vector<std::string>* warnings = nullptr, std::int64_t num_labels = 0,
                                  std::uint64_t seed = 0);

/// Loads an RWKV-6 or RWKV-7 file, .pth or safetensors, or the model.pth or model.safetensors of a folder; its tensors
/// tell which, and all sizes. Else as load_llama.
std::unique_ptr<Rwkv> load_rwkv(const std::filesystem::path& path, DType dtype, Device device = default_device(),
                                std::vector<std::string>* warnings = nullptr);

/// The sizes of an RWKV model: those of the folder's config.json if it has one, else of its tensors.
AnyRwkvConfig find_rwkv_config(const std::filesystem::path& path, std::vector<std::string>* warnings = nullptr);

/// A model of these sizes with weights that are drawn from `seed`.
std::unique_ptr<Rwkv> draw_rwkv(const AnyRwkvConfig& config, std::uint64_t seed, DType dtype,
                                Device device = default_device());

/// FileError where a model's folder or file has no weights, of a Llama or an RWKV model, that can be opened.
void check_weights_there(const std::filesystem::path& path);

/// Writes the parameters in `dtype`, the model's own by default, as a .pth or a safetensors file, by its name.
void save_rwkv(const Rwkv& model, const std::filesystem::path& file, std::optional<DType> dtype = {});

/// Writes model.pth as save_rwkv does, and config.json, into a folder.
void save_rwkv_folder(const Rwkv& model, const std::filesystem::path& folder, std::optional<DType> dtype = {});

/// Writes config.json and the weights in `dtype`, the model's own by default (one rounding), as an OutputFolder.
void save_llama(const Llama& model, const std::filesystem::path& folder, std::optional<DType> dtype = {});

}  // namespace osteon::nn
