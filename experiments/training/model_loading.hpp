#pragma once

#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "backends/device.hpp"
#include "experiments/config/config.hpp"
#include "experiments/data/tokenizer.hpp"
#include "nn/llama.hpp"
#include "peft/model.hpp"

namespace osteon::experiments {

/// A model, its tokenizer and its adapters, as a run uses them. Members go in this order: adapters before the model.
struct LoadedModel {
  std::string name;
  std::unique_ptr<Tokenizer> tokenizer;
  std::unique_ptr<nn::LanguageModel> model;
  std::unique_ptr<peft::PeftModel> adapted;
  std::vector<std::string> warnings;
};

/// The file or folder of a model's weights: config.model itself, or where an embedded model has them.
std::filesystem::path weights_of(const std::string& model);

/// Whether `model` names an RWKV file, a folder of one (rwkv_config.hpp) or an embedded RWKV model.
bool is_rwkv(const std::string& model);

/// Whether `model` is a folder of a classifier: trained whole with its head, or merged with an adapter that has one.
bool has_classification_head(const std::string& model);

/// Whether a run's loss has L2Wrap: config.l2_wrap, which `auto` leaves to the model as its own trainers have it.
bool wraps_logits(const RunConfig& config);

/// Whether a file of this name can be an RWKV model: .pth, .pt or .safetensors.
bool has_rwkv_ending(const std::filesystem::path& file);

/// Writes config.json and the weights in `dtype`, the model's own by default, as a folder of its architecture.
void save_model(const LoadedModel& loaded, const std::filesystem::path& folder, std::optional<DType> dtype = {});

enum class Weights { pretrained, random };

/// Loads config.model (a Hugging Face folder, an RWKV file or folder, or an embedded model, tiny_models.hpp) in
/// config.dtype, frozen, without tokenizer or adapter. Where the run trains a classification head (adapter_options.hpp)
/// the model has one. `random` draws weights from config.seed instead of reading them. Opens config.device
/// (device.hpp), unless the model is to be on `device`.
LoadedModel load_weights(const RunConfig& config, Weights weights = Weights::pretrained,
                         std::optional<Device> device = {});

/// The same with its tokenizer: config.tokenizer, else the folder's own; bytes for an embedded model.
LoadedModel load_model(const RunConfig& config, Weights weights = Weights::pretrained,
                       std::optional<Device> device = {});

/// The ids that end a generated text: those of the model's generation config; of an RWKV model the tokenizer's end.
std::vector<std::int32_t> end_token_ids(const LoadedModel& loaded);

/// Adds what the run trains: config.adapter's folder if given, else a new adapter of config.method.
void add_run_adapter(LoadedModel& loaded, const RunConfig& config);

}  // namespace osteon::experiments
