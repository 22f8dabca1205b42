#pragma once

#include <cstdint>
#include <vector>

namespace osteon::nn {

enum class RopeType { standard, linear, dynamic, llama3 };

/// How rotary frequencies are scaled to longer contexts (rope_scaling or rope_parameters of config.json).
struct RopeConfig {
  RopeType type = RopeType::standard;  ///< "default" in the file
  double theta = 10000.0;
  double factor = 1.0;
  double low_freq_factor = 1.0;   ///< llama3
  double high_freq_factor = 4.0;  ///< llama3
  std::int64_t original_max_position_embeddings =
      2048;  ///< llama3: the length trained on; dynamic: max_position_embeddings
};

/// Inverse frequencies [head_dim / 2] as transformers 4.56 computes them, in f32; seq_len matters to `dynamic` only.
std::vector<float> rope_inverse_frequencies(const RopeConfig& rope, std::int64_t head_dim, std::int64_t seq_len);

}  // namespace osteon::nn
