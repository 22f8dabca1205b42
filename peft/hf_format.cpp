#include "peft/hf_format.hpp"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "nn/io/checkpoint.hpp"
#include "nn/io/output_folder.hpp"
#include "peft/hf_config.hpp"
#include "peft/methods.hpp"

namespace osteon::peft {
namespace {

constexpr std::string_view kPrefix = "base_model.model.";

/// The name that a file uses for `name`: Bone's block is `bone_block` in older files and `miss_block` in newer ones.
std::string name_in_file(const io::ModelFiles& files, const std::string& name) {
  if (files.contains(name))
    return name;
  const auto swapped = [&](const std::string& from, const std::string& to) {
    std::string other = name;
    if (other.ends_with(from))
      other.replace(other.size() - from.size(), from.size(), to);
    return other;
  };
  for (const std::string& other : {swapped("bone_block", "miss_block"), swapped("miss_block", "bone_block")})
    if (files.contains(other))
      return other;
  return name;
}

}  // namespace

NamedTensors adapter_tensors(PeftModel& model, const std::string& name) {
  ModelAdapter& adapter = model.adapter(name);
  NamedTensors all;
  for (nn::Linear* linear : model.model().linears())
    if (const auto found = adapter.modules.find(linear->name()); found != adapter.modules.end())
      for (const auto& [suffix, tensor] : found->second->parameters())
        all.emplace_back(join(kPrefix, linear->name(), ".", suffix), tensor);
  for (const auto& [parameter, tensor] : adapter.saved_modules)
    all.emplace_back(join(kPrefix, parameter), tensor);
  if (adapter.config.bias != "none" || !adapter.method->adapts_linears())
    for (const auto& [parameter, tensor] : model.model().parameters())
      if (tensor.requires_grad() && !adapter.saved_modules.contains(parameter)) {
        const std::string module = parameter.substr(0, parameter.rfind('.'));
        const bool wrapped = adapter.modules.contains(module);
        all.emplace_back(wrapped ? join(kPrefix, module, ".base_layer.bias") : join(kPrefix, parameter), tensor);
      }
  return all;
}

ModelAdapter& load_adapter(PeftModel& model, const std::filesystem::path& folder, const std::string& name,
                           std::vector<std::string>* warnings) {
  const AdapterConfig config = read_adapter_config(folder, warnings);
  const io::ModelFiles files(folder, "adapter_model");
  const auto tensors_in_file = [&](PeftModel& of) {
    NamedTensors tensors = adapter_tensors(of, name);
    for (auto& [key, tensor] : tensors)
      key = name_in_file(files, key);
    return tensors;
  };
  {
    // On a model without memory first: a file that does not fit costs nothing and leaves no half-read adapter.
    const std::unique_ptr<nn::LanguageModel> shapes = model.model().on_meta();
    PeftModel plan(*shapes);
    try {
      plan.add(config, name, /*initialise=*/false);
    } catch (const Error& error) {
      fail<FileError>((folder / "adapter_config.json").string(), ": ", error.what());
    }
    const std::vector<std::string> left = nn::check_tensors(files, tensors_in_file(plan));
    check<FileError>(left.empty(), folder.string(), ": \"", left.empty() ? "" : left[0], "\" and ",
                     left.empty() ? 0 : left.size() - 1, " more tensors belong to no module of the model");
  }
  ModelAdapter& adapter = model.add(config, name, /*initialise=*/false);
  if (model.model().device() != Device::meta)
    nn::load_tensors(files, tensors_in_file(model));
  return adapter;
}

void save_adapter(PeftModel& model, const std::filesystem::path& folder, const std::string& name) {
  const ModelAdapter& adapter = model.adapter(name);
  io::OutputFolder out(folder);
  nn::save_tensors(out.path(), adapter_tensors(model, name), "adapter_model");
  io::write_file_atomically(out.path() / "adapter_config.json", adapter_config_json(adapter.config).dump(2));
  out.commit();
}

}  // namespace osteon::peft
