#pragma once

#include "autograd/tensor.hpp"
#include "nn/io/hf_config.hpp"

namespace osteon::nn {

/// Cosines and sines of the rotary angles [positions, 2, head_dim / 2], made for as many positions as are asked for
/// and grown when more are. Angles are f32 products of position and inverse frequency, as in transformers.
class RotaryTable {
 public:
  RotaryTable(const LlamaConfig& config, DType dtype, Device device);

  /// A table of at least `positions` rows. Throws ConfigError beyond the model's max_position_embeddings, unless its
  /// rope scaling is dynamic.
  const Tensor& up_to(std::int64_t positions) const;

 private:
  LlamaConfig config_;
  DType dtype_;
  Device device_;
  mutable Tensor table_;
  mutable std::int64_t made_for_ = 0;  ///< sequence length that dynamic frequencies were made for
};

}  // namespace osteon::nn
