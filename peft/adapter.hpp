#pragma once

#include <memory>
#include <nlohmann/json_fwd.hpp>
#include <string>

#include "nn/language_model.hpp"
#include "nn/linear.hpp"
#include "peft/adapter_config.hpp"

namespace osteon::peft {

/// A linear that gets an adapter. `config` has the module's own rank and alpha.
struct AdapterSite {
  const AdapterConfig& config;
  nn::Linear& base;
  RandomKey key;           ///< the module's own random stream
  bool initialise = true;  ///< false: values come from a file, and the base is already what they belong to

  /// A zero-initialised trainable parameter on the base's device, in the config's dtype.
  Tensor parameter(const Shape& shape) const;
};

/// One linear's adapter. A method is one file with one class: its parameters, its forward and its change of the weight;
/// training, planning, saving, merging, reporting and every generic test work from these.
class Adapter : public nn::LinearOverride {
 public:
  /// x [..., in_features] -> [..., out_features], the base included.
  Tensor forward(const Tensor& x, const nn::Linear& base) const override = 0;
  /// Parameters by their suffix in adapter_model.safetensors ("lora_A.weight", "bone_block").
  virtual NamedTensors parameters() const = 0;
  /// One of them by its suffix; ConfigError where there is none of that name.
  Tensor parameter(const std::string& suffix) const;
  /// What merging adds to the base weight: [out_features, in_features] in the accumulator dtype.
  virtual Tensor delta_weight(const nn::Linear& base) const = 0;

  /// The base weight with the adapter in it, and without it again, in the accumulator dtype: the caller rounds once.
  virtual Tensor merged_weight(const nn::Linear& base) const;
  virtual Tensor unmerged_weight(const nn::Linear& base) const;
  /// Called between the last backward and the optimiser's step.
  virtual void before_optimizer_step() const {}
  /// Factor on the learning rate of one of parameters().
  virtual double learning_rate_factor(const std::string& /*parameter*/) const { return 1.0; }

 protected:
  /// weight + factor * delta in the accumulator dtype.
  static Tensor weight_plus(const nn::Linear& base, const Tensor& delta, double factor);
};

/// A way of fine-tuning, listed once in methods.cpp.
class Method {
 public:
  virtual ~Method() = default;
  virtual std::string name() const = 0;
  /// One line for --help and reports.
  virtual std::string summary() const = 0;
  /// Null for methods that train the base's own parameters.
  virtual std::unique_ptr<Adapter> make(const AdapterSite& site) const = 0;

  /// Throws ConfigError if the config makes no sense, whatever the module.
  virtual void check(const AdapterConfig& config) const;
  /// Whether it puts adapters on linears; false for methods that train parameters of the base alone.
  virtual bool adapts_linears() const { return true; }
  /// Whether what it trains is kept beside the base, as an adapter; else the result is a whole model.
  virtual bool keeps_base() const { return adapts_linears(); }
  /// Adds to a model what it will train and the model lacks; ConfigError for a model that cannot have it.
  virtual void prepare(nn::LanguageModel& /*model*/) const {}
  /// Whether making an adapter changes the base weight (PiSSA, OLoRA): such a base serves one adapter only.
  virtual bool changes_base() const { return false; }
  /// Whether a parameter of the base trains too.
  virtual bool trains_base(const std::string& /*parameter*/) const { return false; }
  /// Whether a parameter of the base trains in a copy that is the adapter's.
  virtual bool trains_copy(const std::string& /*parameter*/) const { return false; }
  /// Rank that a config without one gets, and alpha as a multiple of the rank.
  virtual std::int64_t default_rank() const { return 8; }
  virtual double default_alpha_over_rank() const { return 1.0; }

  /// The method's part of Hugging Face's adapter_config.json, and back: `read` says whether the file is this method's
  /// and fills the config if so. By default all that a config says of a method: rank, alpha, dropout, init.
  virtual void write(const AdapterConfig& config, nlohmann::json& file) const;
  virtual bool read(const nlohmann::json& file, AdapterConfig& config) const;
};

}  // namespace osteon::peft
