#include "experiments/training/model_loading.hpp"

#include "backends/open_device.hpp"
#include "experiments/config/adapter_options.hpp"
#include "experiments/mpi/communicator.hpp"
#include "experiments/training/tiny_models.hpp"
#include "nn/io/pretrained.hpp"
#include "peft/hf_format.hpp"

namespace osteon::experiments {
namespace {

namespace fs = std::filesystem;

std::unique_ptr<Tokenizer> tokenizer_of(const RunConfig& config) {
  if (!config.tokenizer.empty())
    return load_tokenizer(config.tokenizer);
  return is_embedded_model(config.model) ? load_tokenizer("byte") : load_model_tokenizer(config.model);
}

/// `auto` is settled by the planner before a run loads its model; what does not train keeps nothing anyway.
nn::MemoryPolicy policy_of(const RunConfig& config) {
  return nn::find_memory_policy(config.memory_policy).value_or(nn::MemoryPolicy::save);
}

std::unique_ptr<nn::Llama> load_llama(const RunConfig& config, Weights weights, DType dtype, Device device,
                                      std::vector<std::string>& warnings) {
  const TinyModel* const tiny = find_tiny_model(config.model);
  const auto seed = static_cast<std::uint64_t>(config.seed);
  std::unique_ptr<nn::Llama> model;
  if (weights == Weights::random) {
    nn::LlamaConfig architecture =
        tiny != nullptr ? tiny_llama_config() : nn::read_llama_config(config.model, &warnings);
    architecture.num_labels = classifier_labels(config);
    model = std::make_unique<nn::Llama>(architecture, dtype, device);
    model->initialize(seed);
  } else {
    model = nn::load_llama(weights_of(config.model), dtype, device, &warnings, classifier_labels(config), seed);
  }
  return model;
}

/// What a recurrent model cannot do, or not yet.
void check_for_rwkv(const RunConfig& config) {
  check<ConfigError>(!config.packing, "packing: expected false with the RWKV model ", config.model,
                     ", in which the texts of a row would share a state");
  check<ConfigError>(classifier_labels(config) == 0, "task_type: expected CAUSAL_LM with the RWKV model ", config.model,
                     ", got a classification head");
}

std::unique_ptr<nn::Rwkv> rwkv_of(const RunConfig& config, Weights weights, DType dtype, Device device,
                                  std::vector<std::string>& warnings) {
  const std::uint64_t seed = weights == Weights::random ? static_cast<std::uint64_t>(config.seed) : 0;
  if (const auto drawn = find_drawn_model(config.model))
    return nn::draw_rwkv(*drawn, seed, dtype, device);
  if (weights == Weights::pretrained)
    return nn::load_rwkv(weights_of(config.model), dtype, device, &warnings);
  const TinyModel* const tiny = find_tiny_model(config.model);
  return nn::draw_rwkv(tiny != nullptr ? tiny_rwkv_config(*tiny) : nn::find_rwkv_config(config.model, &warnings), seed,
                       dtype, device);
}

std::unique_ptr<nn::Rwkv> load_rwkv(const RunConfig& config, Weights weights, DType dtype, Device device,
                                    std::vector<std::string>& warnings) {
  check<ConfigError>(!fs::is_regular_file(config.model) || has_rwkv_ending(config.model),
                     "model: expected a Hugging Face folder, or an RWKV file that ends in .pth or .safetensors, got ",
                     config.model);
  check_for_rwkv(config);
  std::unique_ptr<nn::Rwkv> model = rwkv_of(config, weights, dtype, device, warnings);
  model->set_l2_wrap(wraps_logits(config));
  return model;
}

}  // namespace

fs::path weights_of(const std::string& model) {
  const TinyModel* const tiny = find_tiny_model(model);
  return tiny != nullptr ? folder_of(*tiny) : fs::path(model);
}

bool has_rwkv_ending(const fs::path& file) {
  const fs::path ending = file.extension();
  return ending == ".pth" || ending == ".pt" || ending == ".safetensors";
}

bool has_classification_head(const std::string& model) {
  return !model.starts_with("synthetic:") && !is_rwkv(model) && nn::read_llama_config(model).num_labels > 0;
}

bool wraps_logits(const RunConfig& config) {
  return config.l2_wrap == "auto" ? is_rwkv(config.model) : config.l2_wrap == "on";
}

bool is_rwkv(const std::string& model) {
  if (has_rwkv_ending(model) && !fs::is_directory(model))
    return true;  // one that is missing is missed as such a file
  return model == kTinyRwkv6 || model == kTinyRwkv7 || find_drawn_model(model) || fs::is_regular_file(model) ||
         nn::is_rwkv_folder(model);
}

void save_model(const LoadedModel& loaded, const fs::path& folder, std::optional<DType> dtype) {
  if (const auto* rwkv = dynamic_cast<const nn::Rwkv*>(loaded.model.get()))
    nn::save_rwkv_folder(*rwkv, folder, dtype);
  else
    nn::save_llama(dynamic_cast<const nn::Llama&>(*loaded.model), folder, dtype);
}

LoadedModel load_weights(const RunConfig& config, Weights weights, std::optional<Device> given) {
  check<ConfigError>(is_embedded_model(config.model) || !config.model.starts_with("synthetic:"),
                     "model: expected a model folder or an embedded model (", embedded_model_names(), "), got ",
                     config.model);
  const DType dtype = dtype_named(config.dtype);
  const Device device = given ? *given : open_device(config.device, mpi::local_rank());
  LoadedModel loaded;
  loaded.name = config.model;
  if (is_rwkv(config.model))
    loaded.model = load_rwkv(config, weights, dtype, device, loaded.warnings);
  else
    loaded.model = load_llama(config, weights, dtype, device, loaded.warnings);
  check<ConfigError>(config.checkpoint_layers <= loaded.model->layer_count(), "checkpoint_layers: expected at most ",
                     loaded.model->layer_count(), ", the layers of ", config.model, ", got ", config.checkpoint_layers);
  loaded.model->set_memory_policy(policy_of(config), config.checkpoint_layers);
  loaded.model->set_requires_grad(false);
  loaded.adapted = std::make_unique<peft::PeftModel>(*loaded.model);
  return loaded;
}

LoadedModel load_model(const RunConfig& config, Weights weights, std::optional<Device> device) {
  std::unique_ptr<Tokenizer> tokenizer = tokenizer_of(config);
  LoadedModel loaded = load_weights(config, weights, device);
  const std::int64_t known = loaded.model->vocab_size(), needed = tokenizer->vocab_size();
  if (needed > known)
    loaded.warnings.push_back(join(config.model, ": the tokenizer has ", needed, " ids, the model ", known));
  loaded.tokenizer = std::move(tokenizer);
  return loaded;
}

std::vector<std::int32_t> end_token_ids(const LoadedModel& loaded) {
  if (const auto* llama = dynamic_cast<const nn::Llama*>(loaded.model.get()))
    return nn::generation_eos_token_ids(loaded.name, llama->config());
  const std::optional<std::int32_t> end = loaded.tokenizer->eos();
  return end ? std::vector{*end} : std::vector<std::int32_t>{};
}

void add_run_adapter(LoadedModel& loaded, const RunConfig& config) {
  if (!config.adapter.empty())
    peft::load_adapter(*loaded.adapted, config.adapter, "default", &loaded.warnings);
  else
    loaded.adapted->add(adapter_config(config));
  release_idle_memory(loaded.model->device());  // a factorisation's workspace fits nothing that training asks for
}

}  // namespace osteon::experiments
