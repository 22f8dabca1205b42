#pragma once

#include <filesystem>
#include <string>

#include "peft/hf_format.hpp"
#include "test/golden_case.hpp"

namespace osteon::test {

/// PiSSA and OLoRA take their start out of the base: their cases hold the factors, not adapter folders.
inline bool is_residual(const GoldenCase& golden) { return golden.method == "pissa" || golden.method == "olora"; }

/// The config of a case, as `methods()` in make_golden.py has it.
inline peft::AdapterConfig golden_config(const std::string& method) {
  peft::AdapterConfig config;
  config.method = method;
  config.task_type.clear();
  if (method == "full")
    return config;
  config.rank = 4;
  config.alpha = method == "pissa" || method == "olora" ? 4 : 8;
  config.target_modules = {"q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"};
  if (method == "lora_qv_pattern") {
    config.method = "lora";
    config.target_modules = {R"(.*\.(q_proj|v_proj))"};
    config.target_is_pattern = true;
    config.rank_pattern = {{"layers.1.self_attn.q_proj", 2}};
    config.alpha_pattern = {{"v_proj", 12}};
  } else if (method == "bone_ragged") {
    config.method = "bone";
    config.rank = 12;
  } else if (method == "bone" || method == "bat" || method.starts_with("miss")) {
    config.rank = 16;
  }
  if (method == "miss_mini") {
    config.mini_rank = 8;
    config.target_modules = {"q_proj", "o_proj", "gate_proj", "down_proj"};
  }
  return config;
}

/// PyTorch's name of a parameter as the adapter file has it: without the adapter's name, and DoRA's magnitude, which is
/// a module there, as a bare tensor.
inline std::string name_in_file(std::string name) {
  if (const auto at = name.find(".default"); at != std::string::npos)
    name.erase(at, 8);
  if (const auto at = name.find("_magnitude_vector.weight"); at != std::string::npos)
    name.erase(name.rfind(".weight"));
  return name;
}

/// Reads peft's residual base and its factors into an adapter that is there.
inline void read_residual(const GoldenCase& golden, peft::PeftModel& adapted, const std::string& when) {
  if (const auto residual = golden.folder / "residual_base.safetensors"; std::filesystem::exists(residual)) {
    const io::ModelFiles files(residual);
    for (const auto& [module, adapter] : adapted.adapter().modules)
      REQUIRE(files.contains(module + ".base_layer.weight"));
    for (const nn::Linear* linear : adapted.model().linears())
      if (const std::string name = linear->name() + ".base_layer.weight"; files.contains(name))
        nn::read_tensor(files, name, linear->weight);
  }
  const io::ModelFiles files(golden.folder / ("trainable_" + when + ".safetensors"));
  const NamedTensors own = peft::adapter_tensors(adapted);
  REQUIRE(files.names().size() == own.size());
  for (const std::string& name : files.names())
    for (const auto& [key, tensor] : own)
      if (key == name_in_file(name))
        nn::read_tensor(files, name, tensor);
}

/// Adds the adapter that peft had `before` or `after` its twelve steps.
inline void add_peft_adapter(const GoldenCase& golden, peft::PeftModel& adapted, const std::string& when) {
  if (golden.is_full()) {
    adapted.add(golden_config("full"));
  } else if (is_residual(golden)) {
    // Where the residual base is not stored, our own is equal: the product of the factors has no choice of signs.
    const bool stored = std::filesystem::exists(golden.folder / "residual_base.safetensors");
    adapted.add(golden_config(golden.method), "default", /*initialise=*/!stored);
    read_residual(golden, adapted, when);
  } else {
    peft::load_adapter(adapted, golden.folder / ("adapter_" + when));
  }
}

}  // namespace osteon::test
