#include "experiments/config/adapter_options.hpp"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "backends/error.hpp"
#include "experiments/scoring/glue.hpp"
#include "experiments/training/model_loading.hpp"
#include "nn/io/model_files.hpp"
#include "peft/hf_config.hpp"
#include "peft/methods.hpp"

namespace osteon::experiments {
namespace {

void replace_method(RunConfig& config, const std::string& method, bool keep_init) {
  config.method = method;
  if (!keep_init)
    config.init_weights = "true";
}

/// As many as its head has rows.
std::int64_t labels_of_adapter(const std::string& folder) {
  constexpr std::string_view kHead = "base_model.model.score.weight";
  const io::ModelFiles files(folder, "adapter_model");
  check<FileError>(files.contains(kHead), folder, ": its task_type is SEQ_CLS: expected ", kHead, ", found none");
  return files.info(kHead).shape[0];
}

}  // namespace

DType dtype_named(const std::string& name) {
  for (const DType dtype : {DType::f32, DType::bf16})
    if (name_of(dtype) == name)
      return dtype;
  fail<ConfigError>("dtype: expected f32 or bf16, got \"", name, '"');
}

bool trains_classifier(const RunConfig& config) {
  return config.task_type == peft::kSequenceClassification ||
         (config.task_type == "auto" && scoring::is_glue(config.task));
}

std::int64_t classifier_labels(const RunConfig& config) {
  if (!trains_classifier(config))
    return 0;
  if (!scoring::is_glue(config.task) && !config.adapter.empty())
    return labels_of_adapter(config.adapter);
  check<ConfigError>(scoring::is_glue(config.task), "task_type: SEQ_CLS: expected task = glue:NAME beside it, got ",
                     config.task.empty() ? "none" : config.task);
  return scoring::label_count(scoring::glue_task(config.task));
}

void fill_adapter_defaults(RunConfig& config) {
  const std::string& init = config.init_weights;
  const bool lora = config.method == "lora", block = config.method == "bone" || config.method == "miss";
  if (block && init == "bat")
    replace_method(config, "bat", false);
  else if (block && init == "mini")
    replace_method(config, "miss_mini", false);
  else if (lora && init.starts_with("pissa"))
    replace_method(config, "pissa", true);
  else if (lora && init == "olora")
    replace_method(config, "olora", false);
  if (config.use_rslora && config.method != "rslora") {
    check<ConfigError>(config.method == "lora", "use_rslora: expected the method lora, got ", config.method);
    replace_method(config, "rslora", true);
  }
  const peft::Method& method = peft::find_method(config.method);
  if (config.task_type == "auto")
    config.task_type = trains_classifier(config) ? peft::kSequenceClassification : "CAUSAL_LM";
  config.l2_wrap = wraps_logits(config) ? "on" : "off";
  if (!method.adapts_linears())
    return;
  if (!config.rank)
    config.rank = method.default_rank();
  if (!config.alpha)
    config.alpha = static_cast<double>(*config.rank) * method.default_alpha_over_rank();
  method.check(adapter_config(config));
}

RunConfig filled(RunConfig config) {
  fill_adapter_defaults(config);
  return config;
}

std::vector<std::string> unused_keys(const RunConfig& config) {
  const peft::Method& method = peft::find_method(config.method);
  std::vector<std::string_view> unused;
  RunConfig open;  // what a run has that says nothing
  if (!method.adapts_linears()) {
    unused = {"rank",           "target_modules", "exclude_modules", "layers_to_transform",
              "layers_pattern", "dropout",        "init_weights",    "rank_pattern",
              "bias",           "adapter_dtype"};
  } else {
    open.rank = config.rank;
    open.alpha = static_cast<double>(config.rank.value_or(0)) * method.default_alpha_over_rank();
  }
  if (!method.adapts_linears() || !peft::adapter_config_json(adapter_config(config)).contains("lora_alpha"))
    unused.insert(unused.end(), {"alpha", "alpha_pattern"});
  if (config.method != "miss_mini")
    unused.emplace_back("mini_r");
  if (config.method != "bat_tile")
    unused.insert(unused.end(), {"tile_rows", "tile_columns"});
  if (config.method != "lora_plus")
    unused.emplace_back("loraplus_lr_ratio");
  std::vector<std::string> found;
  for (const std::string_view key : unused)
    if (key_text(config, key) != key_text(open, key))
      found.emplace_back(key);
  return found;
}

void adopt_adapter(RunConfig& config, std::span<const std::string> given) {
  const peft::AdapterConfig from = peft::read_adapter_config(config.adapter);
  RunConfig adopted = config;
  adopted.method = from.method;
  adopted.rank = from.rank;
  adopted.alpha = from.alpha;
  adopted.dropout = from.dropout;
  adopted.init_weights = from.init;
  adopted.mini_r = from.mini_rank;
  adopted.tile_rows = from.tile_rows;
  adopted.tile_columns = from.tile_columns;
  adopted.use_rslora = false;  // rslora is a method here
  adopted.bias = from.bias;
  adopted.adapter_dtype = "f32";
  const auto place = [](const std::vector<std::string>& names, bool is_pattern) {
    return is_pattern ? ModuleNames{{}, names[0]} : ModuleNames{names, ""};
  };
  adopted.target_modules = place(from.target_modules, from.target_is_pattern);
  adopted.exclude_modules = place(from.exclude_modules, from.exclude_is_pattern);
  adopted.layers_to_transform = from.layers_to_transform;
  adopted.layers_pattern = from.layers_pattern;
  adopted.rank_pattern = from.rank_pattern;
  adopted.alpha_pattern = from.alpha_pattern;
  adopted.modules_to_save = from.modules_to_save;
  adopted.train_parts = from.train_parts;
  const bool classifier = from.task_type == peft::kSequenceClassification;
  if (classifier || config.task_type == "auto")
    adopted.task_type = classifier ? peft::kSequenceClassification : "CAUSAL_LM";
  for (const std::string& name : given) {
    const std::string had = key_text(adopted, name), wanted = key_text(config, name);
    check<ConfigError>(had == wanted, name, ": expected what the adapter ", config.adapter, " has, ",
                       had.empty() ? "nothing" : had, ", got ", wanted);
  }
  config = adopted;
}

peft::AdapterConfig adapter_config(RunConfig config) {
  if (!config.rank || !config.alpha)
    fill_adapter_defaults(config);
  peft::AdapterConfig out;
  out.method = config.method;
  out.rank = config.rank.value_or(out.rank);
  out.alpha = config.alpha.value_or(out.alpha);
  out.dropout = config.dropout;
  out.init = config.init_weights;
  out.mini_rank = config.mini_r;
  out.tile_rows = config.tile_rows;
  out.tile_columns = config.tile_columns;
  out.learning_rate_ratio = config.loraplus_lr_ratio;
  out.bias = config.bias;
  out.dtype = dtype_named(config.adapter_dtype);
  out.seed = static_cast<std::uint64_t>(config.seed);
  const auto place = [](const ModuleNames& from, std::vector<std::string>& names, bool& is_pattern) {
    is_pattern = !from.pattern.empty();
    names = is_pattern ? std::vector<std::string>{from.pattern} : from.names;
  };
  place(config.target_modules, out.target_modules, out.target_is_pattern);
  place(config.exclude_modules, out.exclude_modules, out.exclude_is_pattern);
  out.layers_to_transform = config.layers_to_transform;
  out.layers_pattern = config.layers_pattern;
  out.rank_pattern = config.rank_pattern;
  out.alpha_pattern = config.alpha_pattern;
  out.modules_to_save = config.modules_to_save;
  out.train_parts = config.train_parts;
  if (trains_classifier(config)) {
    out.task_type = peft::kSequenceClassification;
    const bool trains_all = peft::find_method(config.method).trains_base("score.weight");
    for (const char* head : {"classifier", "score"})  // as peft adds both, whatever the head is called
      if (!trains_all &&
          std::find(out.modules_to_save.begin(), out.modules_to_save.end(), head) == out.modules_to_save.end())
        out.modules_to_save.emplace_back(head);
  }
  out.base_model_name_or_path = config.model;
  return out;
}

}  // namespace osteon::experiments
