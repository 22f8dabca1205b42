#pragma once

#include "peft/lora.hpp"

namespace osteon::peft {

/// LoRA whose factors are made from the weight itself and taken out of it: the base keeps W_res = W - s B A (PiSSA,
/// OLoRA). The factors are rounded to their own dtype first, so that W_res + s B A = W up to one rounding of W_res.
class ResidualLoraMethod : public LoraMethod {
 public:
  std::unique_ptr<Adapter> make(const AdapterSite& site) const override;
  void check(const AdapterConfig& config) const override;
  bool changes_base() const override { return true; }
  double default_alpha_over_rank() const override { return 1.0; }
  void write(const AdapterConfig& config, nlohmann::json& file) const override;

 protected:
  struct Factors {
    Tensor a, b;  ///< [rank, in], [out, rank]
  };
  /// The start of A and B for a weight given in f32 or f64.
  virtual Factors factors(const Tensor& weight, const AdapterConfig& config, double scaling, RandomKey key) const = 0;
  /// What init_lora_weights "true" stands for here.
  virtual std::string default_init() const = 0;
};

}  // namespace osteon::peft
