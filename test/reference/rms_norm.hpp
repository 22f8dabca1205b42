#pragma once

#include <cmath>
#include <span>
#include <vector>

namespace osteon::reference {

/// y = w x / sqrt(mean(x^2) + eps) for each row of w.size() elements.
inline std::vector<double> rms_norm(std::span<const double> x, std::span<const double> w, double eps) {
  std::vector<double> y(x.size());
  for (std::size_t n = 0; n < x.size(); n += w.size()) {
    double square = 0;
    for (std::size_t j = 0; j < w.size(); ++j)
      square += x[n + j] * x[n + j];
    const double rstd = 1 / std::sqrt(square / static_cast<double>(w.size()) + eps);
    for (std::size_t j = 0; j < w.size(); ++j)
      y[n + j] = w[j] * x[n + j] * rstd;
  }
  return y;
}

struct RmsNormGradient {
  std::vector<double> dx, dweight;
};

/// dx_i = rstd (q_i - x_i rstd^2 mean(q x)) with q = dy w;  dw_j = sum over rows of dy x rstd.
inline RmsNormGradient rms_norm_backward(std::span<const double> dy, std::span<const double> x,
                                         std::span<const double> w, double eps) {
  const std::size_t h = w.size();
  RmsNormGradient out{std::vector<double>(x.size()), std::vector<double>(h)};
  for (std::size_t n = 0; n < x.size(); n += h) {
    double square = 0, dot = 0;
    for (std::size_t j = 0; j < h; ++j) {
      square += x[n + j] * x[n + j];
      dot += dy[n + j] * w[j] * x[n + j];
    }
    const double width = static_cast<double>(h), rstd = 1 / std::sqrt(square / width + eps);
    for (std::size_t j = 0; j < h; ++j) {
      out.dx[n + j] = rstd * (dy[n + j] * w[j] - x[n + j] * rstd * rstd * dot / width);
      out.dweight[j] += dy[n + j] * x[n + j] * rstd;
    }
  }
  return out;
}

}  // namespace osteon::reference
