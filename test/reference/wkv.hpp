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

/// Gradients of a loss whose gradient of y is dy: of the sequences in the order of the forward's arguments, and of the
/// first state. By the chain rule step by step, from states that are all kept.
struct WkvGradients {
  std::vector<Numbers> inputs;
  Numbers first;
};

inline WkvGradients wkv6_backward(const Numbers& dy, const Numbers& r, const Numbers& decay, const Numbers& k,
                                  const Numbers& v, const Numbers& first, std::size_t heads, std::size_t n) {
  const std::size_t batch = first.size() / (heads * n * n), seq_len = r.size() / (batch * heads * n), square = n * n;
  WkvGradients d{std::vector<Numbers>(4, Numbers(r.size())), Numbers(first.size())};
  for (std::size_t item = 0; item < batch * heads; ++item) {
    const auto place = [&](std::size_t t) { return ((item / heads * seq_len + t) * heads + item % heads) * n; };
    Numbers states(first.begin() + static_cast<std::ptrdiff_t>(item * square),
                   first.begin() + static_cast<std::ptrdiff_t>((item + 1) * square));
    for (std::size_t t = 0; t < seq_len; ++t)
      for (std::size_t i = 0; i < n; ++i)
        for (std::size_t j = 0; j < n; ++j)
          states.push_back(std::exp(-std::exp(decay[place(t) + i])) * states[t * square + i * n + j] +
                           k[place(t) + i] * v[place(t) + j]);
    double* const g = d.first.data() + item * square;
    for (std::size_t t = seq_len; t-- > 0;)
      for (std::size_t i = 0; i < n; ++i)
        for (std::size_t j = 0; j < n; ++j) {
          const std::size_t key = place(t) + i, value = place(t) + j;
          const double before = states[t * square + i * n + j], w = std::exp(-std::exp(decay[key]));
          double& own = g[i * n + j];
          d.inputs[0][key] += dy[value] * before;
          d.inputs[1][key] -= own * before * w * std::exp(decay[key]);
          d.inputs[2][key] += own * v[value];
          d.inputs[3][value] += own * k[key];
          own = own * w + r[key] * dy[value];
        }
  }
  return d;
}

inline WkvGradients wkv7_backward(const Numbers& dy, const Numbers& r, const Numbers& decay, const Numbers& k,
                                  const Numbers& v, const Numbers& removal, const Numbers& rate, const Numbers& first,
                                  std::size_t heads, std::size_t n) {
  const std::size_t batch = first.size() / (heads * n * n), seq_len = r.size() / (batch * heads * n), square = n * n;
  const auto kept = [](double x) { return std::exp(-std::exp(-std::log1p(std::exp(-x)) - 0.5)); };
  WkvGradients d{std::vector<Numbers>(6, Numbers(r.size())), Numbers(first.size())};
  for (std::size_t item = 0; item < batch * heads; ++item) {
    const auto place = [&](std::size_t t) { return ((item / heads * seq_len + t) * heads + item % heads) * n; };
    Numbers states(first.begin() + static_cast<std::ptrdiff_t>(item * square),
                   first.begin() + static_cast<std::ptrdiff_t>((item + 1) * square));
    Numbers removed;  // of each token and row
    for (std::size_t t = 0; t < seq_len; ++t)
      for (std::size_t i = 0; i < n; ++i) {
        const std::size_t before = t * square + i * n, at = place(t);
        double sum = 0;
        for (std::size_t j = 0; j < n; ++j)
          sum -= states[before + j] * removal[at + j];
        removed.push_back(sum);
        for (std::size_t j = 0; j < n; ++j)
          states.push_back(states[before + j] * kept(decay[at + j]) + sum * removal[at + j] * rate[at + j] +
                           v[at + i] * k[at + j]);
      }
    double* const g = d.first.data() + item * square;
    for (std::size_t t = seq_len; t-- > 0;)
      for (std::size_t i = 0; i < n; ++i) {
        const std::size_t before = t * square + i * n, after = before + square, at = place(t);
        const double s = removed[t * n + i];
        double ds = 0;
        for (std::size_t j = 0; j < n; ++j) {
          g[i * n + j] += dy[at + i] * r[at + j];
          ds += g[i * n + j] * removal[at + j] * rate[at + j];
        }
        for (std::size_t j = 0; j < n; ++j) {
          double& own = g[i * n + j];
          const double w = kept(decay[at + j]), sigmoid = 1 / (1 + std::exp(-decay[at + j]));
          d.inputs[0][at + j] += dy[at + i] * states[after + j];
          d.inputs[1][at + j] -= own * states[before + j] * w * std::exp(-0.5) * sigmoid * (1 - sigmoid);
          d.inputs[2][at + j] += own * v[at + i];
          d.inputs[3][at + i] += own * k[at + j];
          d.inputs[4][at + j] += own * s * rate[at + j] - ds * states[before + j];
          d.inputs[5][at + j] += own * s * removal[at + j];
          own = own * w - ds * removal[at + j];
        }
      }
  }
  return d;
}

}  // namespace osteon::reference
