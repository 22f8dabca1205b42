#include "experiments/model_loading.hpp"

#include <cstdlib>
#include <unistd.h>

#include "backends/open_device.hpp"
#include "experiments/adapter_options.hpp"
#include "nn/io/pretrained.hpp"
#include "peft/hf_format.hpp"

namespace osteon::experiments {
namespace {

namespace fs = std::filesystem;

/// The base of the embedded ablation: 623,744 parameters, bytes as tokens.
nn::LlamaConfig tiny_config() {
  nn::LlamaConfig config;
  config.vocab_size = 256;
  config.hidden_size = 128;
  config.intermediate_size = 256;
  config.num_hidden_layers = 4;
  config.num_attention_heads = 4;
  config.num_key_value_heads = 2;
  config.head_dim = 32;
  config.max_position_embeddings = 256;
  config.rms_norm_eps = 1e-5;
  config.initializer_range = 0.05;
  config.tie_word_embeddings = true;
  return config;
}

std::unique_ptr<Tokenizer> tokenizer_of(const RunConfig& config) {
  if (!config.tokenizer.empty())
    return load_tokenizer(config.tokenizer);
  return config.model == kTinyModel ? load_tokenizer("byte") : load_model_tokenizer(config.model);
}

/// `auto` is settled by the planner before a run loads its model; what does not train keeps nothing anyway.
nn::MemoryPolicy policy_of(const RunConfig& config) {
  for (const nn::MemoryPolicy policy : nn::kMemoryPolicies)
    if (name_of(policy) == config.memory_policy)
      return policy;
  return nn::MemoryPolicy::save;
}

}  // namespace

fs::path tiny_model_folder() {
  if (const char* set = std::getenv("OSTEON_BASE"))
    return set;
  std::error_code ignored;
  for (const fs::path& start : {fs::read_symlink("/proc/self/exe", ignored), fs::current_path(ignored)})
    for (fs::path folder = start; folder != folder.root_path(); folder = folder.parent_path())
      if (fs::exists(folder / "experiments/base/tiny/config.json"))
        return folder / "experiments/base/tiny";
  fail<FileError>("synthetic:tiny: expected the folder experiments/base/tiny above the program or the working ",
                  "directory; `osteon pretrain --set model=synthetic:tiny` makes it, OSTEON_BASE names another place");
}

LoadedModel load_weights(const RunConfig& config, Weights weights, std::optional<Device> given) {
  const bool tiny = config.model == kTinyModel;
  check<ConfigError>(tiny || !config.model.starts_with("synthetic:"), "model: expected a model folder or ", kTinyModel,
                     ", the one embedded model, got ", config.model);
  const DType dtype = dtype_named(config.dtype);
  const Device device = given ? *given : open_device(config.device);
  LoadedModel loaded;
  loaded.name = config.model;
  if (weights == Weights::random) {
    nn::LlamaConfig architecture = tiny ? tiny_config() : nn::read_llama_config(config.model, &loaded.warnings);
    architecture.num_labels = classifier_labels(config);
    loaded.model = std::make_unique<nn::Llama>(architecture, dtype, device);
    loaded.model->initialize(static_cast<std::uint64_t>(config.seed));
  } else {
    loaded.model = nn::load_llama(tiny ? tiny_model_folder() : fs::path(config.model), dtype, device, &loaded.warnings,
                                  classifier_labels(config), static_cast<std::uint64_t>(config.seed));
  }
  loaded.model->set_requires_grad(false);
  loaded.model->set_memory_policy(policy_of(config));
  loaded.adapted = std::make_unique<peft::PeftModel>(*loaded.model);
  return loaded;
}

LoadedModel load_model(const RunConfig& config, Weights weights, std::optional<Device> device) {
  std::unique_ptr<Tokenizer> tokenizer = tokenizer_of(config);
  LoadedModel loaded = load_weights(config, weights, device);
  const std::int64_t known = loaded.model->config().vocab_size, needed = tokenizer->vocab_size();
  if (needed > known)
    loaded.warnings.push_back(join(config.model, ": the tokenizer has ", needed, " ids, the model ", known));
  loaded.tokenizer = std::move(tokenizer);
  return loaded;
}

void add_run_adapter(LoadedModel& loaded, const RunConfig& config) {
  if (!config.adapter.empty())
    peft::load_adapter(*loaded.adapted, config.adapter, "default", &loaded.warnings);
  else
    loaded.adapted->add(adapter_config(config));
  release_idle_memory(loaded.model->device());  // a factorisation's workspace fits nothing that training asks for
}

}  // namespace osteon::experiments
