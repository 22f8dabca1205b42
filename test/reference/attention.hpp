#pragma once

#include <cmath>
#include <cstdint>
#include <limits>
#include <span>
#include <vector>

namespace osteon::reference {

struct AttentionSizes {
  std::size_t batch, queries, keys, heads, kv_heads, head_dim;

  std::size_t q(std::size_t b, std::size_t t, std::size_t h) const {
    return ((b * queries + t) * heads + h) * head_dim;
  }
  std::size_t k(std::size_t b, std::size_t j, std::size_t h) const {
    return ((b * keys + j) * kv_heads + h / (heads / kv_heads)) * head_dim;
  }
};

struct Attention {
  std::vector<double> o, lse, dq, dk, dv;
};

/// Softmax attention with its scores written out, and its gradient for the output gradient `dout`.
/// range [batch, queries, 2]: the half-open range of keys that each query sees; none: o = 0, lse = -inf.
inline Attention attention(const AttentionSizes& s, std::span<const double> q, std::span<const double> k,
                           std::span<const double> v, std::span<const std::int64_t> range, double scale,
                           std::span<const double> dout) {
  Attention out{std::vector<double>(q.size()),
                std::vector<double>(s.batch * s.queries * s.heads, -std::numeric_limits<double>::infinity()),
                std::vector<double>(q.size()), std::vector<double>(k.size()), std::vector<double>(k.size())};
  for (std::size_t b = 0; b < s.batch; ++b)
    for (std::size_t t = 0; t < s.queries; ++t)
      for (std::size_t h = 0; h < s.heads; ++h) {
        const std::size_t n = b * s.queries + t, at = s.q(b, t, h);
        const auto first = static_cast<std::size_t>(range[2 * n]), last = static_cast<std::size_t>(range[2 * n + 1]);
        if (first >= last)
          continue;
        std::vector<double> p(s.keys), dp(s.keys);
        double highest = -std::numeric_limits<double>::infinity(), total = 0, delta = 0;
        for (std::size_t j = first; j < last; ++j) {
          for (std::size_t i = 0; i < s.head_dim; ++i)
            p[j] += scale * q[at + i] * k[s.k(b, j, h) + i];
          highest = std::max(highest, p[j]);
        }
        for (std::size_t j = first; j < last; ++j)
          total += p[j] = std::exp(p[j] - highest);
        out.lse[n * s.heads + h] = highest + std::log(total);
        for (std::size_t j = first; j < last; ++j) {
          p[j] /= total;
          for (std::size_t i = 0; i < s.head_dim; ++i) {
            out.o[at + i] += p[j] * v[s.k(b, j, h) + i];
            dp[j] += dout[at + i] * v[s.k(b, j, h) + i];
          }
          delta += p[j] * dp[j];
        }
        for (std::size_t j = first; j < last; ++j)
          for (std::size_t i = 0; i < s.head_dim; ++i) {
            const double ds = scale * p[j] * (dp[j] - delta);
            out.dq[at + i] += ds * k[s.k(b, j, h) + i];
            out.dk[s.k(b, j, h) + i] += ds * q[at + i];
            out.dv[s.k(b, j, h) + i] += p[j] * dout[at + i];
          }
      }
  return out;
}

}  // namespace osteon::reference
