#pragma once

#include "peft/adapter.hpp"

namespace osteon::peft {

/// y = x W^T + s (dropout(x) A^T) B^T. The parent of every method that keeps LoRA's forward and differs in how its
/// factors begin, how they are scaled or what trains.
class Lora : public Adapter {
 public:
  /// B = 0 and A as config.init says; `scaling` is alpha / rank for plain LoRA.
  Lora(const AdapterSite& site, double scaling);

  Tensor forward(const Tensor& x, const nn::Linear& base) const override;
  NamedTensors parameters() const override { return {{"lora_A.weight", a_}, {"lora_B.weight", b_}}; }
  Tensor delta_weight(const nn::Linear& base) const override;

 protected:
  Tensor a_, b_;  ///< [rank, in_features], [out_features, rank]
  double scaling_, dropout_;
};

/// LoRA's keys of adapter_config.json, shared by its kinds.
class LoraMethod : public Method {
 public:
  std::unique_ptr<Adapter> make(const AdapterSite& site) const override;
  void check(const AdapterConfig& config) const override;
  double default_alpha_over_rank() const override { return 2.0; }
  void write(const AdapterConfig& config, nlohmann::json& file) const override;
  bool read(const nlohmann::json& file, AdapterConfig& config) const override;

  std::string name() const override { return "lora"; }
  std::string summary() const override { return "two low-rank factors beside the frozen weight (arXiv:2106.09685)"; }

 protected:
  /// The values of init_lora_weights that mean this kind.
  virtual bool accepts_init(const std::string& init) const;
  /// The same in words, for messages.
  virtual std::string inits() const { return "true, false or gaussian"; }
  virtual bool uses_rslora() const { return false; }
  virtual bool uses_dora() const { return false; }
};

}  // namespace osteon::peft
