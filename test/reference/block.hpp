#pragma once

#include <cstdint>
#include <span>

namespace osteon::reference {

/// y [n, rank] = sums of x [n, k] over the features with the same residue.
inline void block_sum(std::span<const double> x, std::span<double> y, std::int64_t n, std::int64_t k,
                      std::int64_t rank) {
  for (double& value : y)
    value = 0;
  for (std::int64_t row = 0; row < n; ++row)
    for (std::int64_t i = 0; i < k; ++i)
      y[static_cast<std::size_t>(row * rank + i % rank)] += x[static_cast<std::size_t>(row * k + i)];
}

/// Bat's weight, element by element: W'[o, b r + j] = W[o, b r + j] + sum_i W[o, b r + i] B_a[i, j] + B_a[o mod r, j]
/// with a = o / r.
inline void bat_weight(std::span<const double> w, std::span<const double> b, std::span<double> y, std::int64_t rows,
                       std::int64_t k, std::int64_t r) {
  const auto block = [&](std::int64_t a, std::int64_t i, std::int64_t j) {
    return b[static_cast<std::size_t>((a * r + i) * r + j)];
  };
  for (std::int64_t o = 0; o < rows; ++o)
    for (std::int64_t column = 0; column < k; ++column) {
      const std::int64_t j = column % r, first = column - j;
      double sum = w[static_cast<std::size_t>(o * k + column)] + block(o / r, o % r, j);
      for (std::int64_t i = 0; i < r; ++i)
        sum += w[static_cast<std::size_t>(o * k + first + i)] * block(o / r, i, j);
      y[static_cast<std::size_t>(o * k + column)] = sum;
    }
}

/// dB_a = sum over pieces of W_ab^T dW'_ab + dW'_ab.
inline void bat_block_gradient(std::span<const double> w, std::span<const double> dw, std::span<double> db,
                               std::int64_t rows, std::int64_t k, std::int64_t r) {
  for (double& value : db)
    value = 0;
  for (std::int64_t o = 0; o < rows; ++o)
    for (std::int64_t column = 0; column < k; ++column) {
      const std::int64_t a = o / r, j = column % r, first = column - j;
      const double g = dw[static_cast<std::size_t>(o * k + column)];
      db[static_cast<std::size_t>((a * r + o % r) * r + j)] += g;
      for (std::int64_t i = 0; i < r; ++i)
        db[static_cast<std::size_t>((a * r + i) * r + j)] += w[static_cast<std::size_t>(o * k + first + i)] * g;
    }
}

}  // namespace osteon::reference
