#include "test/reference/attention.hpp"

#include <cmath>

#include "test/op_cases.hpp"

namespace osteon::test {
namespace {

using Inputs = const std::vector<Tensor>&;
using Doubles = const std::vector<Values>&;

struct Sizes {
  std::int64_t batch, queries, keys, heads, kv_heads, head_dim;
};

reference::AttentionSizes reference_sizes(const Sizes& s) {
  const auto u = [](std::int64_t n) { return static_cast<std::size_t>(n); };
  return {u(s.batch), u(s.queries), u(s.keys), u(s.heads), u(s.kv_heads), u(s.head_dim)};
}

Values causal(const Sizes& s) {
  Values range;
  for (std::int64_t n = 0; n < s.batch * s.queries; ++n) {
    range.push_back(0);
    range.push_back(static_cast<double>(n % s.queries + 1 + s.keys - s.queries));
  }
  return range;
}

/// Two documents in a row, the second from a third of it on: neither sees the other.
Values packed(const Sizes& s) {
  Values range = causal(s);
  const std::int64_t second = (s.queries + 2) / 3;
  for (std::int64_t n = 0; n < s.batch * s.queries; ++n)
    if (n % s.queries >= second)
      range[static_cast<std::size_t>(2 * n)] = static_cast<double>(second);
  return range;
}

/// Padding before the tokens in even rows, after them in odd ones; padded queries see nothing.
Values padded(const Sizes& s) {
  Values range = causal(s);
  for (std::int64_t b = 0; b < s.batch; ++b)
    for (std::int64_t t = 0; t < s.queries; ++t) {
      const auto n = static_cast<std::size_t>(2 * (b * s.queries + t));
      const std::int64_t padding = s.queries / 2;
      const bool empty = b % 2 == 0 ? t < padding : t >= s.queries - padding;
      if (empty)
        range[n] = range[n + 1] = 0;
      else if (b % 2 == 0)
        range[n] = static_cast<double>(padding);
    }
  return range;
}

/// Every query sees every key.
Values whole(const Sizes& s) {
  Values range = causal(s);
  for (std::size_t n = 1; n < range.size(); n += 2)
    range[n] = static_cast<double>(s.keys);
  return range;
}

/// A range that is the causal one is left out in half of the cases: the kernel makes it itself.
void add_attention(CaseList& list, const char* variant, const Sizes& s, const Values& range, bool given = true) {
  const double scale = 1 / std::sqrt(static_cast<double>(s.head_dim));
  const Shape q = {s.batch, s.queries, s.heads, s.head_dim}, k = {s.batch, s.keys, s.kv_heads, s.head_dim};
  std::vector<CaseInput> inputs = {activation(q), activation(k), activation(k)};
  if (given)
    inputs.push_back(ids({s.batch, s.queries, 2}, range, true));
  list.add({.op = "attention",
            .variant = variant,
            .inputs = inputs,
            .f = [=](Inputs v) { return attention(v[0], v[1], v[2], given ? v[3] : Tensor{}, scale); },
            .reference =
                [=](Doubles v) {
                  const std::vector<std::int64_t> keys(range.begin(), range.end());
                  return reference::attention(reference_sizes(s), v[0], v[1], v[2], keys, scale, v[0]).o;
                }},
           [=](const std::vector<bool>&) {
             return Saves{.inputs = {0, 1, 2}, .elements = q.numel(), .wide_elements = q.leading().numel()};
           });
}

}  // namespace

void add_attention_cases(CaseList& list, bool large) {
  if (large) {
    const Sizes s = {2, 133, 133, 4, 2, 16};
    add_attention(list, "packed", s, packed(s));
    return;
  }
  for (const Sizes& s : {Sizes{1, 1, 1, 1, 1, 2}, Sizes{2, 5, 5, 4, 2, 3}, Sizes{1, 4, 4, 3, 3, 1},
                         Sizes{2, 3, 3, 6, 1, 2}, Sizes{1, 70, 70, 2, 1, 4}, Sizes{2, 7, 7, 2, 2, 17}}) {
    add_attention(list, "causal", s, causal(s), false);
    add_attention(list, "causal range", s, causal(s));
    add_attention(list, "packed", s, packed(s));
    add_attention(list, "padded", s, padded(s));
    add_attention(list, "whole", s, whole(s));
  }
  const Sizes cached = {2, 3, 7, 4, 2, 4};  // queries at the end of longer keys
  add_attention(list, "cached", cached, causal(cached), false);
  add_attention(list, "cached whole", cached, whole(cached));
  list.add({.op = "attention",
            .variant = "tied",
            .inputs = {activation({1, 4, 2, 3})},
            .f = [](Inputs v) { return attention(v[0], v[0], v[0], {}, 0.7); },
            .reference =
                [](Doubles v) {
                  const Sizes s = {1, 4, 4, 2, 2, 3};
                  const Values range = causal(s);
                  const std::vector<std::int64_t> keys(range.begin(), range.end());
                  return reference::attention(reference_sizes(s), v[0], v[0], v[0], keys, 0.7, v[0]).o;
                }});
}

}  // namespace osteon::test
