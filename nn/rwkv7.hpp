#pragma once

#include "nn/rwkv.hpp"

namespace osteon::nn {

/// RWKV-7 ("Goose", x070), arXiv:2503.14456. Inner widths are those of its small matrices.
struct Rwkv7Config : RwkvConfig {
  std::int64_t decay_rank = 0, rate_rank = 0, value_rank = 0, gate_rank = 0;  ///< of w1, a1, v1, g1
};
/// From the tensors' shapes; FileError names what does not fit.
Rwkv7Config read_rwkv7_config(const ShapeOf& shape_of);

class Rwkv7 final : public Rwkv {
 public:
  Rwkv7(const Rwkv7Config& config, DType dtype, Device device = default_device());

  const Rwkv7Config& config() const { return config_; }
  std::unique_ptr<LanguageModel> on_meta() const override;

 private:
  Rwkv7Config config_;
};

}  // namespace osteon::nn
