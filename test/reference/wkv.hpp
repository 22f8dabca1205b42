#pragma once

#include <cmath>
#include <cstdint>
#include <vector>

namespace osteon::reference {

// The recurrences of RWKV-6 and RWKV-7 as their papers write them, step by step. Sequences [batch, seq_len, heads, n],
// `state` [batch, heads, n, n] goes from before the first token to after the last.

using Numbers = std::vector<double>;

/// y_t = r_t S_{t-1},  S_t = diag(w_t) S_{t-1} + k_t^T v_t,  w = exp(-exp(decay))       arXiv:2404.05892
inline Numbers wkv6(const Numbers& r, const Numbers& decay, const Numbers& k, const Numbers& v, Numbers& state,
                    std::size_t heads, std::size_t n) {
  Numbers y(r.size());
  const std::size_t batch = state.size() / (heads * n * n), seq_len = r.size() / (batch * heads * n);
  for (std::size_t b = 0; b < batch; ++b)
    for (std::size_t t = 0; t < seq_len; ++t)
      for (std::size_t h = 0; h < heads; ++h) {
        const std::size_t at = ((b * seq_len + t) * heads + h) * n;
        double* const s = state.data() + (b * heads + h) * n * n;
        for (std::size_t i = 0; i < n; ++i)
          for (std::size_t j = 0; j < n; ++j) {
            y[at + j] += r[at + i] * s[i * n + j];
            s[i * n + j] = std::exp(-std::exp(decay[at + i])) * s[i * n + j] + k[at + i] * v[at + j];
          }
      }
  return y;
}

/// S_t = S_{t-1} diag(w_t) - (S_{t-1} removal_t^T) (removal_t rate_t) + v_t^T k_t,  y_t = S_t r_t^T,
/// w = exp(-exp(-softplus(-decay) - 1/2))                                               arXiv:2503.14456
inline Numbers wkv7(const Numbers& r, const Numbers& decay, const Numbers& k, const Numbers& v, const Numbers& removal,
                    const Numbers& rate, Numbers& state, std::size_t heads, std::size_t n) {
  Numbers y(r.size());
  const std::size_t batch = state.size() / (heads * n * n), seq_len = r.size() / (batch * heads * n);
  for (std::size_t b = 0; b < batch; ++b)
    for (std::size_t t = 0; t < seq_len; ++t)
      for (std::size_t h = 0; h < heads; ++h) {
        const std::size_t at = ((b * seq_len + t) * heads + h) * n;
        for (std::size_t i = 0; i < n; ++i) {
          double* const s = state.data() + ((b * heads + h) * n + i) * n;
          double removed = 0;
          for (std::size_t j = 0; j < n; ++j)
            removed -= s[j] * removal[at + j];
          for (std::size_t j = 0; j < n; ++j) {
            const double omega = -std::log1p(std::exp(-decay[at + j])) - 0.5;
            s[j] = s[j] * std::exp(-std::exp(omega)) + removed * removal[at + j] * rate[at + j] + v[at + i] * k[at + j];
            y[at + i] += s[j] * r[at + j];
          }
        }
      }
  return y;
}

}  // namespace osteon::reference
