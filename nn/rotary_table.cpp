#include "nn/rotary_table.hpp"

#include <algorithm>
#include <cmath>

#include "nn/rope.hpp"

namespace osteon::nn {

RotaryTable::RotaryTable(const LlamaConfig& config, DType dtype, Device device)
    : config_(config), dtype_(accumulator(dtype)), device_(device) {}

const Tensor& RotaryTable::up_to(std::int64_t positions) const {
  const bool dynamic = config_.rope.type == RopeType::dynamic;
  const std::int64_t most = config_.max_position_embeddings;
  check<ConfigError>(dynamic || positions <= most, "sequence length: expected at most max_position_embeddings = ", most,
                     ", got ", positions);
  // Dynamic frequencies change with the length once it is beyond what the model was trained for.
  const std::int64_t frequency_length = dynamic ? std::max(positions, most) : most;
  if (table_.defined() && table_.dim(0) >= positions && made_for_ == frequency_length)
    return table_;
  made_for_ = frequency_length;
  const std::int64_t half = config_.head_dim / 2,
                     rows = dynamic ? positions : std::min(most, positions + positions / 2);
  const std::vector<float> inverse = rope_inverse_frequencies(config_.rope, config_.head_dim, frequency_length);
  std::vector<double> values(static_cast<std::size_t>(rows * 2 * half));
  for (std::int64_t position = 0; position < rows; ++position)
    for (std::int64_t j = 0; j < half; ++j) {
      const float angle = static_cast<float>(position) * inverse[static_cast<std::size_t>(j)];
      values[static_cast<std::size_t>((2 * position) * half + j)] = static_cast<double>(std::cos(angle));
      values[static_cast<std::size_t>((2 * position + 1) * half + j)] = static_cast<double>(std::sin(angle));
    }
  table_ = from_values(values, {rows, 2, half}, dtype_, device_, Category::workspace);
  return table_;
}

}  // namespace osteon::nn
