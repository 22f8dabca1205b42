#include "nn/io/pretrained.hpp"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "backends/suggest.hpp"
#include "nn/io/atomic_file.hpp"
#include "nn/io/model_files.hpp"

namespace osteon::nn {

std::unique_ptr<Llama> load_llama(const std::filesystem::path& folder, DType dtype, Device device,
                                  std::vector<std::string>* warnings) {
  auto model = std::make_unique<Llama>(read_llama_config(folder, warnings), dtype, device);
  if (device == Device::meta)
    return model;
  const io::ModelFiles files(folder);
  std::vector<std::string> left = files.names(), missing;
  model->visit([&](const std::string& name, Tensor& parameter) {
    if (!files.contains(name)) {
      missing.push_back(name);
      return;
    }
    const Shape& shape = files.info(name).shape;
    check<FileError>(shape == parameter.shape(), files.file_of(name).path().string(), ": ", name, ": expected ",
                     parameter.shape(), " by config.json, got ", shape);
    files.read_into(name, parameter.mut().data, parameter.dtype());
    std::erase(left, name);
  });
  check<FileError>(missing.empty(), folder.string(), ": expected a tensor \"", missing.empty() ? "" : missing[0],
                   "\", which is missing", missing.size() > 1 ? join(" (and ", missing.size() - 1, " more)") : "",
                   missing.empty() ? "" : suggestion(missing[0], left));
  if (warnings != nullptr) {
    // Older checkpoints hold tensors that are computed, and tied heads that are copies of the embedding.
    std::erase_if(left, [](const std::string& name) { return name.ends_with("rotary_emb.inv_freq"); });
    if (model->config().tie_word_embeddings)
      std::erase(left, "lm_head.weight");
    for (const std::string& name : left)
      warnings->push_back(join(folder.string(), ": ", name, ": no such parameter, ignored"));
  }
  return model;
}

void save_llama(const Llama& model, const std::filesystem::path& folder) {
  check<FileError>(!std::filesystem::exists(folder) || std::filesystem::is_directory(folder), folder.string(),
                   ": expected a folder to save the model in, found a file");
  std::filesystem::create_directories(folder);
  std::vector<io::TensorToWrite> tensors;
  for (const auto& [name, parameter] : model.parameters())
    tensors.push_back(io::tensor_to_write(name, parameter.dtype(), parameter.shape(), parameter.view().data));
  nlohmann::json config = to_json(model.config());
  config["torch_dtype"] = model.dtype() == DType::bf16  ? "bfloat16"
                          : model.dtype() == DType::f64 ? "float64"
                                                        : "float32";
  io::write_model_files(folder, tensors);
  io::write_file_atomically(folder / "config.json", config.dump(2) + "\n");
}

}  // namespace osteon::nn
