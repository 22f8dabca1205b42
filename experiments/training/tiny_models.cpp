#include "experiments/training/tiny_models.hpp"

#include <algorithm>
#include <cstdlib>
#include <regex>
#include <unistd.h>

#include "backends/error.hpp"

namespace osteon::experiments {

namespace fs = std::filesystem;

std::span<const TinyModel> tiny_models() {
  static constexpr TinyModel kModels[] = {
      {kTinyModel, "tiny", "runs/pretrain_tiny.toml", "OSTEON_BASE"},
      {kTinyRwkv6, "tiny-rwkv6", "runs/pretrain_tiny_rwkv6.toml", "OSTEON_BASE_RWKV6"},
      {kTinyRwkv7, "tiny-rwkv7", "runs/pretrain_tiny_rwkv7.toml", "OSTEON_BASE_RWKV7"},
  };
  return kModels;
}

const TinyModel* find_tiny_model(const std::string& model) {
  const std::span<const TinyModel> all = tiny_models();
  const auto found = std::find_if(all.begin(), all.end(), [&](const TinyModel& one) { return model == one.name; });
  return found == all.end() ? nullptr : &*found;
}

std::optional<nn::AnyRwkvConfig> find_drawn_model(const std::string& model) {
  static const std::regex pattern("synthetic:rwkv([67])-L([0-9]{1,4})-D([0-9]{1,6})(?:-V([0-9]{1,7}))?");
  std::smatch parts;
  if (!std::regex_match(model, parts, pattern))
    return {};
  constexpr std::int64_t kHeadSize = 64, kPublishedIds = 65536;
  nn::RwkvConfig shared;
  shared.num_hidden_layers = std::stoll(parts[2]);
  shared.hidden_size = std::stoll(parts[3]);
  shared.vocab_size = parts[4].matched ? std::stoll(parts[4]) : kPublishedIds;
  shared.heads = shared.hidden_size / kHeadSize;
  check<ConfigError>(
      shared.num_hidden_layers > 0 && shared.vocab_size > 0 && shared.heads > 0 && shared.hidden_size % kHeadSize == 0,
      "model: ", model, ": expected at least one layer and id, and channels in ", kHeadSize, "s");
  if (parts[1] == "7")
    return nn::with_usual_sizes<nn::Rwkv7Config>(shared);
  return nn::with_usual_sizes<nn::Rwkv6Config>(shared);
}

bool is_embedded_model(const std::string& model) {
  return find_tiny_model(model) != nullptr || find_drawn_model(model).has_value();
}

std::string embedded_model_names() {
  std::string names;
  for (const TinyModel& model : tiny_models())
    names += std::string(model.name) + ", ";
  return names + "synthetic:rwkv7-L12-D768 (any size)";
}

fs::path folder_of(const TinyModel& model) {
  if (const char* set = std::getenv(model.variable))
    return set;
  const fs::path stored = fs::path("experiments/base") / model.folder;
  std::error_code ignored;
  for (const fs::path& start : {fs::read_symlink("/proc/self/exe", ignored), fs::current_path(ignored)})
    for (fs::path folder = start; folder != folder.root_path(); folder = folder.parent_path())
      if (fs::exists(folder / stored / "config.json"))
        return folder / stored;
  fail<FileError>(model.name, ": expected the folder ", stored.string(),
                  " above the program or the working directory; ", "`osteon pretrain --set model=", model.name,
                  "` makes it, ", model.variable, " names another place");
}

nn::LlamaConfig tiny_llama_config() {
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

nn::AnyRwkvConfig tiny_rwkv_config(const TinyModel& model) {
  nn::RwkvConfig shared;
  shared.vocab_size = 256;
  shared.hidden_size = 128;
  shared.num_hidden_layers = 4;
  shared.heads = 4;
  if (model.name == std::string_view(kTinyRwkv7))
    return nn::with_usual_sizes<nn::Rwkv7Config>(shared);
  return nn::with_usual_sizes<nn::Rwkv6Config>(shared);
}

}  // namespace osteon::experiments
