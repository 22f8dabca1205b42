#pragma once

#include <cstdint>
#include <span>

namespace osteon::reference {

/// c [m, n] = alpha op(a) op(b) (+ c): plain loops in double.
inline void gemm(std::span<const double> a, std::span<const double> b, std::span<double> c, std::int64_t m,
                 std::int64_t n, std::int64_t k, bool transpose_a, bool transpose_b, double alpha, bool add) {
  const auto at = [](std::span<const double> x, std::int64_t i) { return x[static_cast<std::size_t>(i)]; };
  for (std::int64_t i = 0; i < m; ++i)
    for (std::int64_t j = 0; j < n; ++j) {
      double sum = 0;
      for (std::int64_t p = 0; p < k; ++p)
        sum += at(a, transpose_a ? p * m + i : i * k + p) * at(b, transpose_b ? j * k + p : p * n + j);
      double& out = c[static_cast<std::size_t>(i * n + j)];
      out = alpha * sum + (add ? out : 0.0);
    }
}

}  // namespace osteon::reference
