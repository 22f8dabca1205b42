#include "nn/io/pretrained.hpp"

#include <algorithm>

#include "nn/io/checkpoint.hpp"
#include "nn/io/output_folder.hpp"
#include "nn/io/rwkv_config.hpp"

namespace osteon::nn {
namespace {

constexpr const char* kScore = "score.weight";
constexpr const char* kRwkvWeights = "model.pth";  // in a folder

NamedTensors parameters_in(const LanguageModel& model, DType dtype) {
  NamedTensors tensors = model.parameters();
  for (auto& [name, tensor] : tensors)
    if (const DType own = is_time_state(name) ? accumulator(dtype) : dtype; tensor.dtype() != own)
      tensor = converted(tensor, own, Category::workspace);
  return tensors;
}

/// Where an RWKV model's tensors are: a folder may hold them as a .pth or, as a Llama's, as safetensors.
std::filesystem::path rwkv_weights(const std::filesystem::path& path) {
  return std::filesystem::exists(path / kRwkvWeights) ? path / kRwkvWeights : path;
}

/// The weights alone; a folder that should have some and has none is told in RWKV's words.
io::ModelFiles open_rwkv(const std::filesystem::path& path) {
  const bool empty = std::filesystem::is_directory(path) && !std::filesystem::exists(path / kRwkvWeights) &&
                     !std::filesystem::exists(path / "model.safetensors") &&
                     !std::filesystem::exists(path / "model.safetensors.index.json");
  check<FileError>(!empty, path.string(), ": expected ", kRwkvWeights, " or model.safetensors, found neither");
  return io::ModelFiles(rwkv_weights(path));
}

AnyRwkvConfig config_of(const io::ModelFiles& files) {
  const bool seven = files.contains("blocks.0.att.r_k");
  check<FileError>(seven || files.contains("blocks.0.att.time_faaaa"), files.path().string(),
                   ": expected blocks.0.att.r_k (RWKV-7) or blocks.0.att.time_faaaa (RWKV-6), found neither");
  if (seven)
    return read_rwkv7_config(shapes_of(files));
  return read_rwkv6_config(shapes_of(files));
}

}  // namespace

std::unique_ptr<Llama> load_llama(const std::filesystem::path& folder, DType dtype, Device device,
                                  std::vector<std::string>* warnings, std::int64_t num_labels, std::uint64_t seed) {
  std::vector<std::string> notes;
  LlamaConfig config = read_llama_config(folder, &notes);
  check<FileError>(num_labels > 0 || config.num_labels == 0, folder.string(),
                   ": expected a language model, found a classifier of ", config.num_labels, " labels");
  config.num_labels = num_labels;
  if (warnings != nullptr)
    warnings->insert(warnings->end(), notes.begin(), notes.end());
  if (device == Device::meta)
    return std::make_unique<Llama>(config, dtype, device);
  const io::ModelFiles files(folder);
  const bool draws_score = num_labels > 0 && !files.contains(kScore);
  const auto in_files = [&](const Llama& model) {
    NamedTensors tensors = model.parameters();
    if (draws_score)
      std::erase_if(tensors, [](const NamedTensor& one) { return one.first == kScore; });
    return tensors;
  };
  // Against a model without memory first: a config.json of another model must not decide how much is allocated.
  std::vector<std::string> unexpected;
  try {
    unexpected = check_tensors(files, in_files(Llama(config, dtype, Device::meta)));
  } catch (const FileError& error) {
    std::string text = error.what();
    for (const std::string& note : notes)  // a misspelt key may be why
      text += "\n" + note;
    fail<FileError>(text);
  }
  auto model = std::make_unique<Llama>(config, dtype, device);
  load_tensors(files, in_files(*model));
  if (draws_score)
    model->initialize_score(seed);
  if (warnings != nullptr) {
    // Older checkpoints hold tensors that are computed, and tied heads that are copies of the embedding.
    std::erase_if(unexpected, [](const std::string& name) { return name.ends_with("rotary_emb.inv_freq"); });
    if (config.tie_word_embeddings || model->classifies())
      std::erase(unexpected, "lm_head.weight");
    warnings->insert(warnings->end(), files.warnings().begin(), files.warnings().end());
    for (const std::string& name : unexpected)
      warnings->push_back(join(folder.string(), ": ", name, ": no such parameter, ignored"));
  }
  return model;
}

std::unique_ptr<Rwkv> load_rwkv(const std::filesystem::path& path, DType dtype, Device device,
                                std::vector<std::string>* warnings) {
  const io::ModelFiles files = open_rwkv(path);
  const AnyRwkvConfig config = config_of(files);
  // First without memory: a file must not decide how much is allocated before all its shapes agree.
  const auto make = [&](Device where) {
    std::unique_ptr<Rwkv> model = make_rwkv(config, dtype, where);
    if (files.contains(join("blocks.0.", kTimeState)))
      model->add_time_states();
    return model;
  };
  const std::vector<std::string> unexpected = check_tensors(files, make(Device::meta)->parameters());
  std::unique_ptr<Rwkv> model = make(device);
  if (device != Device::meta)
    load_tensors(files, model->parameters());
  if (warnings != nullptr)
    for (const std::string& name : unexpected)
      warnings->push_back(join(path.string(), ": ", name, ": not a tensor of the model, ignored"));
  return model;
}

AnyRwkvConfig find_rwkv_config(const std::filesystem::path& path, std::vector<std::string>* warnings) {
  const bool described = std::filesystem::exists(path / "config.json");
  return described ? read_rwkv_config_json(path, warnings) : config_of(open_rwkv(path));
}

std::unique_ptr<Rwkv> draw_rwkv(const AnyRwkvConfig& config, std::uint64_t seed, DType dtype, Device device) {
  std::unique_ptr<Rwkv> model = make_rwkv(config, dtype, device);
  model->initialize(seed);
  return model;
}

void check_weights_there(const std::filesystem::path& path) { const io::ModelFiles files(rwkv_weights(path)); }

void save_rwkv(const Rwkv& model, const std::filesystem::path& file, std::optional<DType> dtype) {
  write_tensors(file, parameters_in(model, dtype.value_or(model.dtype())));
}

void save_rwkv_folder(const Rwkv& model, const std::filesystem::path& folder, std::optional<DType> dtype) {
  io::OutputFolder out(folder);
  save_rwkv(model, out.path() / kRwkvWeights, dtype);
  write_rwkv_config_json(out.path(), model);
  out.commit();
}

void save_llama(const Llama& model, const std::filesystem::path& folder, std::optional<DType> dtype) {
  const DType written = dtype.value_or(model.dtype());
  const NamedTensors tensors = parameters_in(model, written);
  io::OutputFolder out(folder);
  save_tensors(out.path(), tensors);
  LlamaConfig config = model.config();
  config.torch_dtype = written == DType::bf16 ? "bfloat16" : written == DType::f64 ? "float64" : "float32";
  write_llama_config(out.path(), config);
  out.commit();
}

}  // namespace osteon::nn
