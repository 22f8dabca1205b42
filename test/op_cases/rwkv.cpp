#include <algorithm>
#include <cmath>

#include "autograd/rwkv_ops.hpp"
#include "test/op_cases.hpp"
#include "test/reference/activation.hpp"

namespace osteon::test {
namespace {

using Inputs = const std::vector<Tensor>&;
using Doubles = const std::vector<Values>&;

std::size_t size(std::int64_t n) { return static_cast<std::size_t>(n); }
Saves none(const std::vector<bool>&) { return {}; }

CaseInput between(CaseInput input, double low, double high) {
  input.low = low, input.high = high;
  return input;
}

void add_activations(CaseList& list, const Shape& x) {
  for (const Activation f : {Activation::identity, Activation::tanh, Activation::sigmoid, Activation::relu_squared}) {
    const auto saves = [f](const std::vector<bool>&) {
      return f == Activation::identity ? Saves{} : Saves{.inputs = {0}};
    };
    const auto name = [&](const char* what) { return join(what, static_cast<int>(f)); };
    list.add({.op = "activate",
              .variant = name("f"),
              .inputs = {between(activation(x), -3, 3)},
              .f = [f](Inputs v) { return activate(v[0], f); },
              .reference =
                  [f](Doubles v) {
                    Values y = v[0];
                    for (double& value : y)
                      value = reference::activation(f, value);
                    return y;
                  }},
             saves);
    list.add({.op = "activate",
              .variant = name("bias, f"),
              .inputs = {between(activation(x), -3, 3), weight({x[-1]})},
              .f = [f](Inputs v) { return activate(v[0], f, v[1]); },
              .reference =
                  [f](Doubles v) {
                    Values y = v[0];
                    for (std::size_t i = 0; i < y.size(); ++i)
                      y[i] = reference::activation(f, y[i] + v[1][i % v[1].size()]);
                    return y;
                  }},
             saves);
  }
}

void add_blends(CaseList& list, const Shape& x) {
  list.add({.op = "lerp",
            .inputs = {activation(x), activation(x), activation(x)},
            .f = [](Inputs v) { return lerp(v[0], v[1], v[2]); },
            .reference =
                [](Doubles v) {
                  Values y = v[0];
                  for (std::size_t i = 0; i < y.size(); ++i)
                    y[i] += (v[1][i] - v[0][i]) * v[2][i];
                  return y;
                }},
           [](const std::vector<bool>&) {
             return Saves{.inputs = {0, 1, 2}};
           });
  list.add({.op = "gated_key",
            .inputs = {activation(x), activation(x), weight({x[-1]})},
            .f = [](Inputs v) { return gated_key(v[0], v[1], v[2]); },
            .reference =
                [](Doubles v) {
                  Values y = v[0];
                  for (std::size_t i = 0; i < y.size(); ++i)
                    y[i] *= 1 + (v[1][i] - 1) * v[2][i % v[2].size()];
                  return y;
                }},
           [](const std::vector<bool>&) {
             return Saves{.inputs = {0, 1}};
           });
  const std::int64_t d = x[-1], begin = d / 3, count = d - begin - d / 4;
  list.add({.op = "columns",
            .inputs = {activation(x)},
            .f = [=](Inputs v) { return columns(v[0], begin, count); },
            .reference =
                [=](Doubles v) {
                  Values y;
                  for (std::size_t row = 0; row < v[0].size() / size(d); ++row)
                    for (std::int64_t j = begin; j < begin + count; ++j)
                      y.push_back(v[0][row * size(d) + size(j)]);
                  return y;
                }},
           none);
  list.add({.op = "columns",
            .variant = "both halves",
            .inputs = {activation(x.with_last(2 * d))},
            .f = [=](Inputs v) { return mul(columns(v[0], 0, d), columns(v[0], d, d)); },
            .reference =
                [=](Doubles v) {
                  Values y;
                  for (std::size_t row = 0; row < v[0].size() / size(2 * d); ++row)
                    for (std::size_t j = 0; j < size(d); ++j)
                      y.push_back(v[0][row * size(2 * d) + j] * v[0][row * size(2 * d) + size(d) + j]);
                  return y;
                }});
}

/// x, the mix of each channel, and, where given, what is added to it and the rows before the first ones.
void add_time_mix(CaseList& list, const Shape& x, bool with_extra, bool with_last) {
  std::vector<CaseInput> inputs = {activation(x), weight({x[2]})};
  if (with_extra)
    inputs.push_back(activation(x));
  if (with_last) {
    inputs.push_back(frozen(activation({x[0], x[2]})));
    inputs.back().batched = true;
  }
  const std::size_t last = with_extra ? 3 : 2, seq_len = size(x[1]), d = size(x[2]);
  list.add(
      {.op = "time_mix",
       .variant = join(with_extra ? "extra" : "", with_last ? " last" : ""),
       .inputs = inputs,
       .f =
           [=](Inputs v) { return time_mix(v[0], v[1], with_extra ? v[2] : Tensor{}, with_last ? v[last] : Tensor{}); },
       .reference =
           [=](Doubles v) {
             Values y = v[0];
             for (std::size_t i = 0; i < y.size(); ++i) {
               const std::size_t row = i / d, j = i % d;
               const double before = row % seq_len != 0 ? v[0][i - d] : with_last ? v[last][row / seq_len * d + j] : 0;
               y[i] += (before - v[0][i]) * (v[1][j] + (with_extra ? v[2][i] : 0));
             }
             return y;
           }},
      [=](const std::vector<bool>&) {
        Saves saves{.inputs = {0}};
        if (with_extra)
          saves.inputs.push_back(2);
        if (with_last)
          saves.inputs.push_back(last);
        return saves;
      });
}

void add_head_norms(CaseList& list, const Shape& x, std::int64_t heads) {
  const std::size_t n = size(x[-1] / heads), d = size(x[-1]);
  for (const double eps : {1e-5, 0.1})
    list.add({.op = "group_norm",
              .variant = join(heads, " groups, eps ", eps),
              .inputs = {activation(x), weight({x[-1]}), weight({x[-1]})},
              .f = [=](Inputs v) { return group_norm(v[0], heads, v[1], v[2], eps); },
              .reference =
                  [=](Doubles v) {
                    Values y = v[0];
                    for (std::size_t begin = 0; begin < y.size(); begin += n) {
                      double mean = 0, variance = 0;
                      for (std::size_t i = begin; i < begin + n; ++i)
                        mean += y[i] / static_cast<double>(n);
                      for (std::size_t i = begin; i < begin + n; ++i)
                        variance += (y[i] - mean) * (y[i] - mean) / static_cast<double>(n);
                      for (std::size_t i = begin; i < begin + n; ++i)
                        y[i] = v[1][i % d] * (y[i] - mean) / std::sqrt(variance + eps) + v[2][i % d];
                    }
                    return y;
                  }},
             [rows = x.rows(), heads](const std::vector<bool>&) {
               return Saves{.inputs = {0}, .wide_elements = 2 * rows * heads};
             });
  list.add({.op = "head_normalize",
            .variant = join(heads, " heads"),
            .inputs = {activation(x)},
            .f = [=](Inputs v) { return head_normalize(v[0], heads, 1e-12); },
            .reference =
                [=](Doubles v) {
                  Values y = v[0];
                  for (std::size_t begin = 0; begin < y.size(); begin += n) {
                    double square = 0;
                    for (std::size_t i = begin; i < begin + n; ++i)
                      square += y[i] * y[i];
                    for (std::size_t i = begin; i < begin + n; ++i)
                      y[i] /= std::sqrt(square);
                  }
                  return y;
                }},
           [rows = x.rows(), heads, elements = x.numel()](const std::vector<bool>& trains) {
             return trains[0] ? Saves{.elements = elements, .wide_elements = rows * heads} : Saves{};
           });
  list.add({.op = "head_bonus",
            .variant = join(heads, " heads"),
            .inputs = {activation(x), activation(x), activation(x), weight({x[-1]})},
            .f = [=](Inputs v) { return head_bonus(v[0], v[1], v[2], v[3], heads); },
            .reference =
                [=](Doubles v) {
                  Values y = v[2];
                  for (std::size_t begin = 0; begin < y.size(); begin += n) {
                    double sum = 0;
                    for (std::size_t i = begin; i < begin + n; ++i)
                      sum += v[0][i] * v[1][i] * v[3][i % d];
                    for (std::size_t i = begin; i < begin + n; ++i)
                      y[i] *= sum;
                  }
                  return y;
                }},
           [](const std::vector<bool>&) {
             return Saves{.inputs = {0, 1, 2}};
           });
}

void add_l2_wrap(CaseList& list, const Shape& logits, std::int64_t positions) {
  const auto rows = static_cast<double>(positions > 0 ? positions : logits.rows());
  const auto pulled = [=](const std::vector<Tensor>& in) {
    const std::vector<double> all = in[1].to_doubles();
    const std::size_t columns = size(in[1].dim(-1));
    double sum = 0;
    for (std::size_t row = 0; row < all.size(); row += columns) {
      const double largest = *std::max_element(all.begin() + static_cast<std::ptrdiff_t>(row),
                                               all.begin() + static_cast<std::ptrdiff_t>(row + columns));
      sum += 0.5e-4 * largest * largest / rows;
    }
    return from_values(std::vector<double>{in[0].item() + sum}, in[0].shape(), DType::f64);
  };
  list.add({.op = "l2_wrap",
            .inputs = {activation({}), activation(logits)},
            .f = [=](Inputs v) { return l2_wrap(v[0], v[1], positions); },
            .reference = [](Doubles v) { return v[0]; },
            .numeric = [=](const std::vector<Tensor>&) { return pulled; }});
}

}  // namespace

void add_rwkv_cases(CaseList& list, bool large) {
  if (large) {
    add_activations(list, {2, 131, 150});
    add_blends(list, {2, 131, 150});
    add_time_mix(list, {2, 131, 150}, true, true);
    add_head_norms(list, {3, 131, 144}, 3);
    return;
  }
  for (const Shape& x : {Shape{1}, Shape{2, 8}, Shape{3, 5, 7}, Shape{2, 3, 33}}) {
    add_activations(list, x);
    add_blends(list, x);
  }
  for (const Shape& x : {Shape{1, 1, 1}, Shape{2, 1, 3}, Shape{2, 5, 7}, Shape{3, 4, 17}})
    for (const bool extra : {false, true})
      for (const bool last : {false, true})
        add_time_mix(list, x, extra, last);
  for (const std::int64_t heads : {1, 2, 3})
    for (const Shape& x : {Shape{2 * heads}, Shape{2, 4 * heads}, Shape{2, 3, 5 * heads}, Shape{1, 2, 17 * heads}})
      add_head_norms(list, x, heads);
  for (const Shape& logits : {Shape{1}, Shape{3, 7}, Shape{2, 3, 5}})
    for (const std::int64_t positions : {0, 12})
      add_l2_wrap(list, logits, positions);
}

}  // namespace osteon::test
