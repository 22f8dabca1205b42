#pragma once

#include <span>
#include <vector>

#include "backends/random.hpp"

namespace osteon::reference {

/// Element i of x is kept, and divided by 1 - p, where number i of the key's stream is at least p.
inline std::vector<double> dropout(std::span<const double> x, double p, RandomKey key) {
  std::vector<double> y(x.size());
  for (std::size_t i = 0; i < x.size(); ++i)
    y[i] = static_cast<double>(uniform_from(philox(key, i / 4)[i % 4])) >= p ? x[i] / (1 - p) : 0.0;
  return y;
}

}  // namespace osteon::reference
