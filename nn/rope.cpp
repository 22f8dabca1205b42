#include "nn/rope.hpp"

#include <cmath>
#include <cstddef>
#include <numbers>

#include "backends/error.hpp"

namespace osteon::nn {
namespace {

// transformers computes in f32 tensors, one rounding an operation. Products go through double, where that of two f32 is
// exact, so that the compiler cannot join them with a sum and skip their rounding.
float product(float a, float b) { return static_cast<float>(static_cast<double>(a) * static_cast<double>(b)); }
float power(float base, float exponent) {
  return static_cast<float>(std::pow(static_cast<double>(base), static_cast<double>(exponent)));
}

/// theta^(-2j / head_dim), eq. 15 of arXiv:2104.09864.
std::vector<float> standard_frequencies(float theta, std::int64_t head_dim) {
  std::vector<float> inverse(static_cast<std::size_t>(head_dim / 2));
  for (std::size_t j = 0; j < inverse.size(); ++j)
    inverse[j] = 1.0F / power(theta, static_cast<float>(2 * j) / static_cast<float>(head_dim));
  return inverse;
}

/// "NTK-aware" scaling: beyond the trained length the base grows so that the slowest frequency is interpolated.
float dynamic_theta(const RopeConfig& rope, std::int64_t head_dim, std::int64_t seq_len) {
  const auto theta = static_cast<float>(rope.theta);
  if (seq_len <= rope.original_max_position_embeddings)
    return theta;
  const float reach = product(static_cast<float>(rope.factor), static_cast<float>(seq_len)) /
                      static_cast<float>(rope.original_max_position_embeddings);
  const auto exponent = static_cast<float>(static_cast<double>(head_dim) / static_cast<double>(head_dim - 2));
  return product(theta, power(reach - static_cast<float>(rope.factor - 1.0), exponent));
}

/// Llama 3.1: long wavelengths are interpolated, short ones kept, those between blended.
float llama3_frequency(const RopeConfig& rope, float inverse) {
  const auto trained = static_cast<double>(rope.original_max_position_embeddings);
  const auto low = static_cast<float>(rope.low_freq_factor), factor = static_cast<float>(rope.factor);
  const float wavelength = product(1.0F / inverse, static_cast<float>(2.0 * std::numbers::pi));
  if (wavelength < static_cast<float>(trained / rope.high_freq_factor))
    return inverse;
  if (wavelength > static_cast<float>(trained / rope.low_freq_factor))
    return inverse / factor;
  const float smooth = (product(1.0F / wavelength, static_cast<float>(trained)) - low) /
                       static_cast<float>(rope.high_freq_factor - rope.low_freq_factor);
  return product(1.0F - smooth, inverse) / factor + product(smooth, inverse);
}

}  // namespace

std::vector<float> rope_inverse_frequencies(const RopeConfig& rope, std::int64_t head_dim, std::int64_t seq_len) {
  check<ConfigError>(head_dim > 0 && head_dim % 2 == 0, "rope: head_dim: expected a positive even number, got ",
                     head_dim);
  check<ConfigError>(rope.type != RopeType::dynamic || head_dim > 2,
                     "rope: head_dim: expected more than 2 for dynamic scaling, got ", head_dim);
  std::vector<float> inverse = standard_frequencies(
      rope.type == RopeType::dynamic ? dynamic_theta(rope, head_dim, seq_len) : static_cast<float>(rope.theta),
      head_dim);
  for (float& frequency : inverse) {
    if (rope.type == RopeType::linear)
      frequency /= static_cast<float>(rope.factor);
    else if (rope.type == RopeType::llama3)
      frequency = llama3_frequency(rope, frequency);
  }
  return inverse;
}

}  // namespace osteon::nn
