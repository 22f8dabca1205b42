#include <fmt/format.h>
#include <iostream>
#include <memory>
#include <nlohmann/json.hpp>
#include <variant>

#include "experiments/commands/command.hpp"
#include "experiments/training/record.hpp"
#include "nn/io/model_files.hpp"
#include "nn/io/pretrained.hpp"
#include "nn/io/tensor_file.hpp"
#include "peft/hf_config.hpp"
#include "peft/methods.hpp"
#include "peft/rwkv_format.hpp"

namespace osteon::experiments {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::ordered_json;

Json tensor_facts(const io::TensorEntry& entry) {
  return {{"name", entry.name},
          {"dtype", std::string(io::name_of(entry.dtype))},
          {"shape", std::vector<std::int64_t>(entry.shape.begin(), entry.shape.end())},
          {"bytes", entry.end - entry.begin}};
}

Json tensors(const io::ModelFiles& files) {
  Json list = Json::array();
  for (const std::string& name : files.names())
    list.push_back(tensor_facts(files.info(name)));
  return list;
}

/// Of a file or a folder.
Json rwkv_facts(const fs::path& path) {
  const nn::AnyRwkvConfig any = nn::find_rwkv_config(path);
  const auto facts = [&](const char* type, const nn::RwkvConfig& config) -> Json {
    return {{"model_type", type},
            {"parameters", nn::make_rwkv(any, DType::f32, Device::meta)->parameter_count()},
            {"layers", config.num_hidden_layers},
            {"hidden_size", config.hidden_size},
            {"intermediate_size", config.intermediate_size},
            {"heads", config.heads},
            {"vocab_size", config.vocab_size}};
  };
  if (const auto* seven = std::get_if<nn::Rwkv7Config>(&any)) {
    Json found = facts("rwkv7", *seven);
    found["low_ranks"] = {
        {"decay", seven->decay_rank}, {"a", seven->rate_rank}, {"v", seven->value_rank}, {"gate", seven->gate_rank}};
    return found;
  }
  const auto& six = std::get<nn::Rwkv6Config>(any);
  Json found = facts("rwkv6", six);
  found["low_ranks"] = {{"mix", six.mix_rank}, {"decay", six.decay_rank}};
  return found;
}

/// What is in a single file; of RWKV models and of RWKV-PEFT's adapters, what they are too.
void add_file(Json& found, const fs::path& path) {
  const io::TensorFile file(path);
  bool is_adapter = false, is_model = false, has_states = false;
  Json list = Json::array();
  for (const io::TensorEntry& entry : file.tensors()) {
    list.push_back(tensor_facts(entry));
    is_adapter = is_adapter || entry.name.ends_with(".disha") || entry.name.ends_with(".bone") ||
                 (io::is_torch_path(path) && entry.name.ends_with(".lora_A"));
    has_states = has_states || nn::is_time_state(entry.name);
    is_model = is_model || entry.name == "blocks.0.att.r_k" || entry.name == "blocks.0.att.time_faaaa";
  }
  if (is_adapter || (has_states && !is_model)) {
    const peft::RwkvAdapter adapter = peft::read_rwkv_adapter(file);
    Json& facts = found["adapter"] = {{"method", std::string(peft::name_of(adapter.kind))}};
    if (adapter.kind != peft::RwkvKind::state) {
      facts["rank"] = adapter.rank;
      facts["modules"] = adapter.modules.size();
    }
    facts["full_parameters"] = adapter.full_parameters;
    if (adapter.kind == peft::RwkvKind::bat)
      facts["layout"] = "RWKV-PEFT: a matrix an input block";
  } else if (is_model) {
    found["model"] = rwkv_facts(path);
  }
  found["tensors"] = list;
}

Json model_facts(const fs::path& folder) {
  if (nn::is_rwkv_folder(folder))
    return rwkv_facts(folder);
  const auto model = nn::load_llama(folder, DType::f32, Device::meta);
  const nn::LlamaConfig& config = model->config();
  return {{"model_type", config.model_type},
          {"parameters", model->parameter_count()},
          {"layers", config.num_hidden_layers},
          {"hidden_size", config.hidden_size},
          {"intermediate_size", config.intermediate_size},
          {"heads", config.num_attention_heads},
          {"kv_heads", config.num_key_value_heads},
          {"vocab_size", config.vocab_size},
          {"max_positions", config.max_position_embeddings},
          {"tied", config.tie_word_embeddings}};
}

void add_adapter(Json& found, const fs::path& folder) {
  const peft::AdapterConfig config = peft::read_adapter_config(folder);
  const io::ModelFiles files(folder, "adapter_model");
  std::int64_t parameters = 0;
  for (const std::string& name : files.names())
    parameters += files.info(name).shape.numel();
  Json& adapter = found["adapter"] = {{"method", config.method}};
  if (peft::find_method(config.method).adapts_linears()) {
    adapter["rank"] = config.rank;
    if (peft::adapter_config_json(config).contains("lora_alpha"))
      adapter["alpha"] = config.alpha;
    adapter["init"] = config.init;
    adapter["target_modules"] = config.target_modules;
  }
  adapter["base_model"] = config.base_model_name_or_path;
  adapter["parameters"] = parameters;
  found["adapter_tensors"] = tensors(files);
}

/// Everything that is recognised at a path: a model, an adapter, a run with its adapter or model, or a single
/// safetensors or .pth file.
Json facts(const fs::path& path) {
  check<FileError>(fs::exists(path), path.string(), ": expected a file or folder, found nothing");
  Json found;
  found["path"] = path.string();
  if (!fs::is_directory(path)) {
    add_file(found, path);
    return found;
  }
  if (fs::exists(path / "config.json") || nn::is_rwkv_folder(path))
    found["model"] = model_facts(path);
  if (fs::exists(path / "model.pth"))
    found["tensors"] = tensors(io::ModelFiles(path / "model.pth"));
  else if (fs::exists(path / "model.safetensors") || fs::exists(path / "model.safetensors.index.json"))
    found["tensors"] = tensors(io::ModelFiles(path));
  if (fs::exists(path / "adapter_config.json"))
    add_adapter(found, path);
  if (fs::exists(path / "summary.json")) {
    found["run"] = Json::parse(to_json(read_summary(path)));
    if (fs::exists(path / "adapter/adapter_config.json"))
      add_adapter(found, path / "adapter");
    if (fs::exists(path / "model/config.json") || nn::is_rwkv_folder(path / "model"))
      found["model"] = model_facts(path / "model");
  }
  check<FileError>(found.size() > 1, path.string(), ": expected a model, adapter or run folder, or a safetensors file");
  return found;
}

bool holds_objects(const Json& value) { return value.is_array() && !value.empty() && value[0].is_object(); }

std::string text_of(const Json& value) {
  constexpr std::size_t kShown = 16;
  if (value.is_string())
    return value.get<std::string>();
  return value.is_array() && value.size() > kShown ? fmt::format("{} values", value.size()) : value.dump();
}

void print_fields(const Json& object, int indent) {
  for (const auto& [key, value] : object.items()) {
    if (!value.is_object() && !holds_objects(value)) {
      fmt::print("{:{}}{:<24} {}\n", "", indent, key, text_of(value));
      continue;
    }
    fmt::print("{:{}}{}\n", "", indent, key);
    if (value.is_object()) {
      print_fields(value, indent + 2);
      continue;
    }
    for (const Json& line : value) {
      fmt::print("{:{}}", "", indent + 2);
      for (const auto& [name, part] : line.items())
        fmt::print("{:<20} ", name == "count" ? "x " + text_of(part) : text_of(part));
      fmt::print("\n");
    }
  }
}

void print_facts(const Json& found) {
  for (const auto& [section, content] : found.items()) {
    if (content.is_string()) {
      fmt::print("{}\n", content.get<std::string>());
      continue;
    }
    fmt::print("{}\n", section);
    if (content.is_array()) {
      for (const Json& tensor : content)
        fmt::print("  {:<64} {:<5} {:<16} {:>12} bytes\n", tensor["name"].get<std::string>(),
                   tensor["dtype"].get<std::string>(), tensor["shape"].dump(), tensor["bytes"].get<std::int64_t>());
      continue;
    }
    print_fields(content, 2);
  }
}

}  // namespace

void add_inspect(CLI::App& program, CommandContext& context) {
  CLI::App* command = new_command(program, context, "inspect", "What a model, adapter or run folder holds",
                                  "osteon inspect runs/bone/adapter");
  auto path = std::make_shared<std::string>();
  command->add_option("path", *path, "Folder, or safetensors or .pth file")->required();
  command->callback([path, &context] {
    context.action = [path, &context] {
      const Json found = facts(*path);
      if (context.json)
        std::cout << found.dump() << '\n';
      else
        print_facts(found);
      return 0;
    };
  });
}

}  // namespace osteon::experiments
