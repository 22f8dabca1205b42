#include <algorithm>
#include <array>
#include <utility>

#include "backends/error.hpp"
#include "nn/io/checkpoint.hpp"
#include "peft/hf_format.hpp"
#include "peft/rwkv_format.hpp"

namespace osteon::peft {
namespace {

/// Methods whose merged weight is one of the formulas that RWKV-PEFT's scripts know.
constexpr std::array<std::pair<std::string_view, RwkvKind>, 9> kMethods{{{"lora", RwkvKind::lora},
                                                                         {"lora_plus", RwkvKind::lora},
                                                                         {"lora_fa", RwkvKind::lora},
                                                                         {"pissa", RwkvKind::pissa},
                                                                         {"olora", RwkvKind::pissa},
                                                                         {"bone", RwkvKind::bone},
                                                                         {"miss", RwkvKind::bone},
                                                                         {"bat_row", RwkvKind::bat},
                                                                         {"state", RwkvKind::state}}};

/// Before adapter_tensors' names; the "model." behind it is in the names of init_pissa.pth too.
constexpr std::string_view kBase = "base_model.";

/// "lora_A.weight" -> "lora_A"; every block is a "disha".
std::string suffix_in_file(const std::string& suffix) {
  return suffix.ends_with("_block") ? "disha" : suffix.substr(0, suffix.find('.'));
}

ModelAdapter& active_adapter(PeftModel& model) {
  check<ConfigError>(!model.active().empty(), "rwkv-peft: expected an active adapter");
  return model.adapter(model.active());
}

}  // namespace

RwkvKind rwkv_kind_of(const AdapterConfig& config) {
  const auto* const found =
      std::find_if(kMethods.begin(), kMethods.end(), [&](const auto& known) { return known.first == config.method; });
  std::string all;
  for (const auto& [method, kind] : kMethods)
    all += join(all.empty() ? "" : ", ", method);
  check<ConfigError>(found != kMethods.end(), "rwkv-peft: method: its files hold adapters of ", all, "; got ",
                     config.method, config.method == "bat" ? ", whose matrices are those of output blocks" : "");
  const RwkvKind kind = found->second;
  check<ConfigError>(config.rank_pattern.empty(), "rwkv-peft: rank_pattern: its files have one rank, got ", config.rank,
                     " and others");
  check<ConfigError>(kind == RwkvKind::bone || kind == RwkvKind::bat || config.alpha_pattern.empty(),
                     "rwkv-peft: alpha_pattern: its merge has one alpha, got ", config.alpha, " and others");
  check<ConfigError>(kind != RwkvKind::pissa || config.alpha == static_cast<double>(config.rank),
                     "rwkv-peft: alpha: its ", config.method, " is not scaled: expected alpha = rank = ", config.rank,
                     ", got ", config.alpha);
  return kind;
}

void save_rwkv_adapter(PeftModel& model, const std::filesystem::path& file) {
  const ModelAdapter& adapter = active_adapter(model);
  rwkv_kind_of(adapter.config);
  NamedTensors tensors;
  for (const nn::Linear* linear : model.model().linears())
    if (const auto found = adapter.modules.find(linear->name()); found != adapter.modules.end())
      for (const auto& [suffix, tensor] : found->second->parameters())
        tensors.emplace_back(join(linear->name(), '.', suffix_in_file(suffix)), tensor);
  for (const auto& [name, parameter] : model.model().parameters())
    if (parameter.requires_grad())
      tensors.emplace_back(name, parameter);
  nn::write_tensors(file, tensors);
}

void save_rwkv_start(PeftModel& model, const NamedTensors& start, const std::filesystem::path& file) {
  const ModelAdapter& adapter = active_adapter(model);
  check<ConfigError>(rwkv_kind_of(adapter.config) == RwkvKind::pissa, "rwkv-peft: expected PiSSA's or OLoRA's start, ",
                     "got that of ", adapter.config.method);
  NamedTensors tensors;
  for (const NamedTensor& now : adapter_tensors(model, model.active())) {
    const std::string& name = now.first;  // "base_model.model.<module>.lora_A.weight"
    const std::size_t factor = name.rfind(".lora_");
    if (factor == std::string::npos)
      continue;
    const auto then = std::find_if(start.begin(), start.end(), [&](const auto& one) { return one.first == name; });
    check<FileError>(then != start.end(), "rwkv-peft: expected the starting factor \"", name, "\", which is missing");
    const std::string module = name.substr(kBase.size(), factor - kBase.size());
    tensors.emplace_back(join(module, ".init_", suffix_in_file(name.substr(factor + 1))), then->second);
  }
  nn::write_tensors(file, tensors);
}

}  // namespace osteon::peft
