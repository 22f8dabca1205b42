#pragma once

#include <filesystem>
#include <optional>
#include <span>
#include <string>

#include "nn/io/hf_config.hpp"
#include "nn/io/rwkv_config.hpp"

namespace osteon::experiments {

/// Names that mean a base of the embedded suites instead of a folder.
inline constexpr const char* kTinyModel = "synthetic:tiny";  ///< a Llama
inline constexpr const char* kTinyRwkv6 = "synthetic:tiny-rwkv6";
inline constexpr const char* kTinyRwkv7 = "synthetic:tiny-rwkv7";

/// A base of the embedded suites: bytes as tokens, pretrained on the embedded mixture of tasks.
struct TinyModel {
  const char* name;
  const char* folder;    ///< of its weights, in experiments/base
  const char* recipe;    ///< the embedded file of the run that makes them
  const char* variable;  ///< of the environment, which names another folder
};

std::span<const TinyModel> tiny_models();
/// Null where `model` names none.
const TinyModel* find_tiny_model(const std::string& model);

/// The sizes that a name such as "synthetic:rwkv7-L12-D768" tells: of an RWKV model of 12 layers and 768 channels in
/// heads of 64, with the vocabulary of the published models (65,536 ids) or, behind -V, another. Its weights are drawn,
/// always the same: enough to ask for memory and time at any size. None of another name.
std::optional<nn::AnyRwkvConfig> find_drawn_model(const std::string& model);

/// Whether `model` names one of either kind; they have bytes as tokens.
bool is_embedded_model(const std::string& model);
/// "synthetic:tiny, synthetic:tiny-rwkv6, ...": what may be named, for messages.
std::string embedded_model_names();

/// The folder that holds the weights: that of the environment's variable, or the one in experiments/base above the
/// program or the working directory. FileError saying how to make it where there is none.
std::filesystem::path folder_of(const TinyModel& model);

/// 623,744 parameters.
nn::LlamaConfig tiny_llama_config();
/// Of as many channels and layers: 1,155,584 parameters of RWKV-6, 984,960 of RWKV-7.
nn::AnyRwkvConfig tiny_rwkv_config(const TinyModel& model);

}  // namespace osteon::experiments
