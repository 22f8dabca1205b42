#pragma once

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "nn/language_model.hpp"
#include "peft/adapter.hpp"

namespace osteon::peft {

/// One adapter over a whole model: its linears' adapters and the modules trained whole.
struct ModelAdapter {
  AdapterConfig config;
  const Method* method = nullptr;
  std::map<std::string, std::unique_ptr<Adapter>> modules;  ///< by the linear's name
  std::map<std::string, Tensor> saved_modules;              ///< modules_to_save: trained copies by the parameter's name
  bool merged = false;
  std::map<std::string, Tensor> backup;  ///< weights before a merge, where kept
};

/// What a trainer updates: one parameter, its name, and the factor on its learning rate.
struct TrainableParameter {
  std::string name;  ///< module name and suffix: "model.layers.0.self_attn.q_proj.lora_A.weight"
  Tensor tensor;
  double learning_rate_factor = 1.0;
};

/// A base model and the adapters on it, of which at most one is active. The model must outlive this object.
class PeftModel {
 public:
  explicit PeftModel(nn::LanguageModel& model) : model_(model) {}
  ~PeftModel();
  PeftModel(const PeftModel&) = delete;
  PeftModel& operator=(const PeftModel&) = delete;

  /// Makes an adapter (or chooses what of the base trains), makes it active. `initialise` false leaves its parameters
  /// zero for values from a file. ConfigError where the config, its targets or the model do not fit.
  ModelAdapter& add(const AdapterConfig& config, const std::string& name = "default", bool initialise = true);

  /// Makes another adapter active; an empty name leaves the base alone.
  void activate(const std::string& name);
  const std::string& active() const { return active_; }
  ModelAdapter& adapter(const std::string& name = "default");
  /// Drops one adapter; the others stay, and none is active if it was. One that is merged has to be unmerged first.
  /// Without a PiSSA or OLoRA adapter the base stays the residual that it made.
  void remove(const std::string& name);
  std::vector<std::string> adapter_names() const;

  /// Puts the active adapter into the base weights, computed in f32 with one rounding. All results are made and
  /// checked before a weight is changed: NumericError naming the module leaves the model as it was.
  /// `keep_backup` keeps the weights that are replaced, so that unmerge gives them back bit for bit.
  void merge(bool keep_backup = false);
  void unmerge();
  /// Drops all adapters; the base keeps its weights as they are (merged, or PiSSA's residual).
  void unload();

  /// What trains now: the active adapter's parameters, its whole modules and the base's own where the method says so.
  std::vector<TrainableParameter> trainable_parameters();
  std::int64_t trainable_count();
  /// Elements of the base and of all adapters, with their copies of modules_to_save, as peft counts "all params".
  std::int64_t total_count() const;
  /// "trainable params: 32,768 || all params: 656,512 || trainable%: 4.9912", as peft prints it.
  std::string trainable_summary();
  void before_optimizer_step();

  nn::LanguageModel& model() { return model_; }

 private:
  void set_active(ModelAdapter* adapter);
  void freeze_base(const ModelAdapter* adapter);

  nn::LanguageModel& model_;
  std::map<std::string, ModelAdapter> adapters_;
  std::map<std::string, Tensor> original_modules_;  ///< what modules_to_save stand in for
  std::string active_;
};

}  // namespace osteon::peft
