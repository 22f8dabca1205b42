#pragma once

#include <cstdint>
#include <span>
#include <vector>

namespace osteon::reference {

/// Turns the pair (j, j + head_dim/2) of every head of token n by the angle in row position[n] of the table, which
/// holds the cosines, then the sines.
inline std::vector<double> rotary(std::span<const double> x, std::span<const double> table,
                                  std::span<const std::int64_t> position, std::size_t heads, std::size_t head_dim,
                                  bool inverse) {
  std::vector<double> y(x.size());
  const std::size_t half = head_dim / 2;
  for (std::size_t n = 0; n < position.size(); ++n)
    for (std::size_t h = 0; h < heads; ++h)
      for (std::size_t j = 0; j < half; ++j) {
        const std::size_t row = static_cast<std::size_t>(position[n]) * head_dim, at = (n * heads + h) * head_dim + j;
        const double c = table[row + j], s = (inverse ? -1 : 1) * table[row + half + j];
        y[at] = x[at] * c - x[at + half] * s;
        y[at + half] = x[at + half] * c + x[at] * s;
      }
  return y;
}

}  // namespace osteon::reference
