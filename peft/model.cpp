#include "peft/model.hpp"

#include <algorithm>
#include <functional>

#include "backends/kernels/elementwise.hpp"
#include "backends/kernels/reduce.hpp"
#include "backends/suggest.hpp"
#include "peft/methods.hpp"
#include "peft/targets.hpp"

namespace osteon::peft {
namespace {

std::string module_of(const std::string& parameter) { return parameter.substr(0, parameter.rfind('.')); }

std::string with_commas(std::int64_t number) {
  std::string digits = std::to_string(number);
  for (auto i = static_cast<std::ptrdiff_t>(digits.size()) - 3; i > 0; i -= 3)
    digits.insert(static_cast<std::size_t>(i), ",");
  return digits;
}

/// What peft adds to modules_to_save of a classifier, whichever of the two its head is called.
bool is_head_name(const std::string& module) { return module == "classifier" || module == "score"; }

/// A classification head needs an adapter that holds it, and such an adapter a head.
void check_task_type(const AdapterConfig& config, const nn::LanguageModel& model) {
  const bool classifier = config.task_type == kSequenceClassification;
  check<ConfigError>(!classifier || model.classifies(), "task_type: ", config.task_type,
                     ": expected a model with a classification head, got a language model");
  check<ConfigError>(classifier || !model.classifies(), "task_type: expected ", kSequenceClassification,
                     " for a model with a classification head, got ",
                     config.task_type.empty() ? "nothing" : config.task_type);
}

/// Every part must mean something; an empty one would mean everything.
void check_train_parts(const AdapterConfig& config, const nn::LanguageModel& model) {
  const NamedTensors parameters = model.parameters();
  for (const std::string& part : config.train_parts)
    check<ConfigError>(
        !part.empty() && std::any_of(parameters.begin(), parameters.end(),
                                     [&](const auto& named) { return named.first.find(part) != std::string::npos; }),
        "train_parts: no parameter of the model has \"", part, "\" in its name");
}

/// Throws where the method refuses a linear: tried on its shape alone, without memory.
void check_site(const Method& method, const AdapterConfig& config, const nn::Linear& linear) {
  const AdapterConfig own = config.for_module(linear.name());
  nn::Linear shape(linear.name(), linear.in_features(), linear.out_features(), false, linear.weight.dtype(),
                   Device::meta);
  try {
    method.check(own);
    method.make({own, shape, {}, true});
  } catch (const ConfigError& error) {
    fail<ConfigError>(error.what(), " (", linear.name(), ")");
  }
}

}  // namespace

PeftModel::~PeftModel() {
  for (nn::Linear* linear : model_.linears())
    linear->set_override(nullptr);
}

ModelAdapter& PeftModel::add(const AdapterConfig& given, const std::string& name, bool initialise) {
  std::vector<nn::Linear*> linears = model_.linears();
  std::vector<std::string> names;
  for (const nn::Linear* linear : linears)
    names.push_back(linear->name());
  const AdapterConfig config = with_listed_targets(given, names);
  const Method& method = find_method(config.method);
  method.check(config);
  check_task_type(config, model_);
  method.prepare(model_);
  check_train_parts(config, model_);
  check<ConfigError>(!adapters_.contains(name), "adapter: there already is one named \"", name, "\"");
  check<ConfigError>(config.bias == "none" || adapters_.empty(),
                     "bias: expected \"none\" with several adapters, got \"", config.bias, "\"");
  const bool residual_base = std::any_of(adapters_.begin(), adapters_.end(),
                                         [](const auto& other) { return other.second.method->changes_base(); });
  check<ConfigError>(!residual_base && !(method.changes_base() && !adapters_.empty()), config.method,
                     ": PiSSA and OLoRA change the base weight, which then serves one adapter only");

  ModelAdapter made;
  made.config = config;
  made.method = &method;
  // A method without adapters (full, bitfit) has no targets to select.
  if (method.adapts_linears()) {
    const std::vector<std::string> targets = select_targets(config, names);
    if (initialise)
      check_all_used(config, names, targets);
    if (method.changes_base())  // refused for one linear, it must not have changed another
      for (const nn::Linear* linear : linears)
        if (std::find(targets.begin(), targets.end(), linear->name()) != targets.end())
          check_site(method, config, *linear);
    std::uint64_t index = 0;
    for (nn::Linear* linear : linears) {
      const std::uint64_t stream = index++;
      if (std::find(targets.begin(), targets.end(), linear->name()) == targets.end())
        continue;
      const AdapterConfig own = config.for_module(linear->name());
      try {
        method.check(own);
        made.modules[linear->name()] = method.make({own, *linear, RandomKey{config.seed, 1}.split(stream), initialise});
      } catch (const ConfigError& error) {
        fail<ConfigError>(error.what(), " (", linear->name(), ")");
      }
    }
  }
  model_.visit([&](const std::string& parameter, Tensor& tensor) {
    if (!is_saved_whole(config, module_of(parameter)) && !is_train_part(config, parameter) &&
        !method.trains_copy(parameter))
      return;
    Tensor copy = converted(tensor, tensor.dtype(), Category::adapter);
    copy.set_requires_grad(true);
    made.saved_modules[parameter] = copy;
  });
  for (const std::string& module : config.modules_to_save)
    check<ConfigError>((model_.classifies() && is_head_name(module)) ||
                           std::any_of(made.saved_modules.begin(), made.saved_modules.end(),
                                       [&](const auto& saved) {
                                         AdapterConfig one;
                                         one.modules_to_save = {module};
                                         return is_saved_whole(one, module_of(saved.first));
                                       }),
                       "modules_to_save: no module of the model matches \"", module, "\"", suggestion(module, names));
  ModelAdapter& adapter = adapters_[name] = std::move(made);
  activate(name);
  return adapter;
}

ModelAdapter& PeftModel::adapter(const std::string& name) {
  const auto found = adapters_.find(name);
  check<ConfigError>(found != adapters_.end(), "adapter: there is none named \"", name, "\"",
                     suggestion(name, adapter_names()));
  return found->second;
}

void PeftModel::remove(const std::string& name) {
  check<ConfigError>(!adapter(name).merged, "adapter: \"", name, "\" is merged; unmerge it before it is removed");
  if (name == active_)
    activate("");
  adapters_.erase(name);
}

std::vector<std::string> PeftModel::adapter_names() const {
  std::vector<std::string> names;
  for (const auto& [name, adapter] : adapters_)
    names.push_back(name);
  return names;
}

void PeftModel::activate(const std::string& name) {
  ModelAdapter* const next = name.empty() ? nullptr : &adapter(name);
  check<ConfigError>(active_.empty() || !adapters_.contains(active_) || !adapters_[active_].merged || name == active_,
                     "adapter: \"", active_, "\" is merged; unmerge it before another is made active");
  active_ = name;
  set_active(next);
}

void PeftModel::set_active(ModelAdapter* adapter) {
  for (nn::Linear* linear : model_.linears()) {
    const bool adapted = adapter != nullptr && !adapter->merged && adapter->modules.contains(linear->name());
    linear->set_override(adapted ? adapter->modules[linear->name()].get() : nullptr);
  }
  model_.visit([&](const std::string& name, Tensor& parameter) {
    if (const auto original = original_modules_.find(name); original != original_modules_.end())
      parameter = original->second;
    if (adapter == nullptr || !adapter->saved_modules.contains(name))
      return;
    original_modules_[name] = parameter;
    parameter = adapter->saved_modules[name];
  });
  freeze_base(adapter);
}

void PeftModel::freeze_base(const ModelAdapter* adapter) {
  model_.set_requires_grad(false);
  if (adapter == nullptr)
    return;
  const std::string& bias = adapter->config.bias;
  model_.visit([&](const std::string& name, Tensor& parameter) {
    const bool is_bias = name.ends_with(".bias");
    const bool of_adapted = adapter->modules.contains(module_of(name));
    const bool trains = adapter->method->trains_base(name) || adapter->saved_modules.contains(name) ||
                        (is_bias && (bias == "all" || (bias.ends_with("_only") && of_adapted)));
    parameter.set_requires_grad(trains);
  });
}

void PeftModel::merge(bool keep_backup) {
  check<ConfigError>(!active_.empty(), "merge: expected an active adapter");
  ModelAdapter& adapter = adapters_[active_];
  if (adapter.merged)
    return;
  std::map<std::string, Tensor> merged;
  for (const nn::Linear* linear : model_.linears()) {
    const auto found = adapter.modules.find(linear->name());
    if (found == adapter.modules.end())
      continue;
    const Tensor weight = converted(found->second->merged_weight(*linear), linear->weight.dtype(), Category::weights);
    const Tensor count = empty({}, DType::i32, weight.device(), Category::workspace);
    on_device(weight.device(), [&](auto dev) { kernels::count_nonfinite(dev, weight.view(), count.mut()); });
    check<NumericError>(count.item() == 0.0, "merge: ", linear->name(), ": ", count.item(),
                        " merged weights are NaN or infinite; nothing was changed");
    merged[linear->name()] = weight;
  }
  for (nn::Linear* linear : model_.linears())
    if (const auto found = merged.find(linear->name()); found != merged.end()) {
      if (keep_backup)
        adapter.backup[linear->name()] = linear->weight;
      linear->weight = found->second;
    }
  adapter.merged = true;
  set_active(&adapter);
}

void PeftModel::unmerge() {
  check<ConfigError>(!active_.empty() && adapters_[active_].merged, "unmerge: expected a merged adapter");
  ModelAdapter& adapter = adapters_[active_];
  std::map<std::string, Tensor> restored;
  for (const nn::Linear* linear : model_.linears()) {
    const auto found = adapter.modules.find(linear->name());
    if (found == adapter.modules.end())
      continue;
    const auto backup = adapter.backup.find(linear->name());
    restored[linear->name()] = backup != adapter.backup.end() ? backup->second
                                                              : converted(found->second->unmerged_weight(*linear),
                                                                          linear->weight.dtype(), Category::weights);
  }
  for (nn::Linear* linear : model_.linears())
    if (const auto found = restored.find(linear->name()); found != restored.end())
      linear->weight = found->second;
  adapter.backup.clear();
  adapter.merged = false;
  set_active(&adapter);
}

void PeftModel::unload() {
  // Trained whole modules are part of the model only if they were merged into it.
  const bool keep_modules = !active_.empty() && adapters_[active_].merged;
  if (keep_modules)
    original_modules_.clear();
  set_active(nullptr);
  active_.clear();
  adapters_.clear();
  original_modules_.clear();
}

std::vector<TrainableParameter> PeftModel::trainable_parameters() {
  std::vector<TrainableParameter> all;
  if (!active_.empty())
    for (const nn::Linear* linear : model_.linears())
      if (const auto found = adapters_[active_].modules.find(linear->name()); found != adapters_[active_].modules.end())
        for (const auto& [suffix, tensor] : found->second->parameters())
          if (tensor.requires_grad())
            all.push_back({linear->name() + "." + suffix, tensor, found->second->learning_rate_factor(suffix)});
  for (const auto& [name, tensor] : model_.parameters())
    if (tensor.requires_grad())
      all.push_back({name, tensor, 1.0});
  return all;
}

std::int64_t PeftModel::trainable_count() {
  std::int64_t count = 0;
  for (const TrainableParameter& parameter : trainable_parameters())
    count += parameter.tensor.numel();
  return count;
}

std::int64_t PeftModel::total_count() const {
  std::int64_t count = model_.parameter_count();
  for (const auto& [name, adapter] : adapters_) {
    for (const auto& [module, one] : adapter.modules)
      for (const auto& [suffix, tensor] : one->parameters())
        count += tensor.numel();
    for (const auto& [parameter, copy] : adapter.saved_modules)
      count += copy.numel();
  }
  return count;
}

std::string PeftModel::trainable_summary() {
  const std::int64_t trainable = trainable_count();
  const std::int64_t total = total_count();
  std::ostringstream percent;
  percent.precision(4);
  percent << std::fixed << 100.0 * static_cast<double>(trainable) / static_cast<double>(total);
  return join("trainable params: ", with_commas(trainable), " || all params: ", with_commas(total),
              " || trainable%: ", percent.str());
}

void PeftModel::before_optimizer_step() {
  if (!active_.empty())
    for (const auto& [name, adapter] : adapters_[active_].modules)
      adapter->before_optimizer_step();
}

}  // namespace osteon::peft
