#pragma once

#include "nn/rwkv.hpp"

namespace osteon::nn {

/// RWKV-6 ("Finch", x060), arXiv:2404.05892. Inner widths are those of its small matrices.
struct Rwkv6Config : RwkvConfig {
  std::int64_t mix_rank = 0, decay_rank = 0;  ///< of time_maa_w2, time_decay_w1
};
/// From the tensors' shapes; FileError names what does not fit.
Rwkv6Config read_rwkv6_config(const ShapeOf& shape_of);

class Rwkv6 final : public Rwkv {
 public:
  Rwkv6(const Rwkv6Config& config, DType dtype, Device device = default_device());

  const Rwkv6Config& config() const { return config_; }
  std::unique_ptr<LanguageModel> on_meta() const override;

 private:
  Rwkv6Config config_;
};

}  // namespace osteon::nn
