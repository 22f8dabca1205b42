#include "test/reference/wkv.hpp"

#include <cmath>

#include "autograd/rwkv_ops.hpp"
#include "test/op_cases.hpp"

namespace osteon::test {
namespace {

using Inputs = const std::vector<Tensor>&;
using Doubles = const std::vector<Values>&;

std::size_t size(std::int64_t n) { return static_cast<std::size_t>(n); }

CaseInput between(CaseInput input, double low, double high) {
  input.low = low, input.high = high;
  return input;
}

/// The states of a batch of sequences that are kept, and the one after the last token is not.
std::int64_t kept_states(const Shape& x, std::int64_t heads) {
  return x[0] * ((x[1] + 15) / 16) * x[2] * (x[2] / heads);
}

void add_wkv(CaseList& list, const Shape& x, std::int64_t heads, bool with_state) {
  const std::int64_t n = x[2] / heads;
  const std::string variant = join(heads, " heads", with_state ? ", state" : "");
  CaseInput state = activation({x[0], heads, n, n});
  state.role = Role::wide;
  state.from = [count = x[0] * heads * n * n](const std::vector<Values>&) {
    Values values(size(count));
    for (std::size_t i = 0; i < values.size(); ++i)
      values[i] = std::round(std::sin(static_cast<double>(i)) * 128) / 128;
    return values;
  };
  const auto begin = [=](Doubles v, std::size_t i) { return with_state ? v[i] : Values(size(x[0] * heads * n * n)); };
  std::vector<CaseInput> inputs = {activation(x), between(activation(x), -4, 1), activation(x), activation(x)};
  if (with_state)
    inputs.push_back(state);
  list.add({.op = "wkv6",
            .variant = variant,
            .inputs = inputs,
            .f = [=](Inputs v) { return wkv6(v[0], v[1], v[2], v[3], heads, with_state ? v[4] : Tensor{}).y; },
            .reference =
                [=](Doubles v) {
                  Values s = begin(v, 4);
                  return reference::wkv6(v[0], v[1], v[2], v[3], s, size(heads), size(n));
                }},
           [=](const std::vector<bool>&) {
             return Saves{.inputs = {0, 1, 2, 3}, .wide_elements = kept_states(x, heads)};
           });
  // A removal key has length 1 in the model: here at most that, so that the state stays of its size.
  const double most = 1 / std::sqrt(static_cast<double>(n));
  inputs = {activation(x), between(activation(x), -4, 4),       activation(x),
            activation(x), between(activation(x), -most, most), between(activation(x), 0, 1)};
  if (with_state)
    inputs.push_back(state);
  list.add(
      {.op = "wkv7",
       .variant = variant,
       .inputs = inputs,
       .f = [=](Inputs v) { return wkv7(v[0], v[1], v[2], v[3], v[4], v[5], heads, with_state ? v[6] : Tensor{}).y; },
       .reference =
           [=](Doubles v) {
             Values s = begin(v, 6);
             return reference::wkv7(v[0], v[1], v[2], v[3], v[4], v[5], s, size(heads), size(n));
           }},
      [=](const std::vector<bool>&) {
        return Saves{.inputs = {0, 1, 2, 3, 4, 5}, .wide_elements = kept_states(x, heads)};
      });
}

/// Trained: the first state of each of `batch` sequences.
void add_repeat_state(CaseList& list, const Shape& one, std::int64_t batch, bool transposed) {
  CaseInput state{.role = Role::wide, .shape = one, .trainable = true};
  list.add({.op = "repeat_state",
            .variant = join(batch, transposed ? " transposed" : ""),
            .inputs = {state},
            .f = [=](Inputs v) { return repeat_state(v[0], batch, transposed); },
            .reference =
                [=](Doubles v) {
                  const std::size_t n = size(one[1]);
                  Values y;
                  for (std::int64_t b = 0; b < batch; ++b)
                    for (std::size_t h = 0; h < size(one[0]); ++h)
                      for (std::size_t i = 0; i < n; ++i)
                        for (std::size_t j = 0; j < n; ++j)
                          y.push_back(v[0][(h * n + (transposed ? j : i)) * n + (transposed ? i : j)]);
                  return y;
                }},
           [](const std::vector<bool>&) { return Saves{}; });
}

}  // namespace

void add_wkv_cases(CaseList& list, bool large) {
  for (const bool transposed : {false, true})
    for (const std::int64_t batch : {1, 3})
      for (const Shape& one : {Shape{1, 1, 1}, Shape{2, 5, 5}, Shape{3, 18, 18}})
        add_repeat_state(list, one, batch, transposed);
  if (large) {
    for (const bool state : {false, true})
      add_wkv(list, {2, 67, 3 * 20}, 3, state);
    add_wkv(list, {1, 40, 64}, 1, true);  // fewer heads than threads: parts of their values
    return;
  }
  if (default_device() == Device::cuda) {  // a block's threads take their time where they are emulated
    add_wkv(list, {2, 5, 6}, 1, false);
    add_wkv(list, {1, 18, 15}, 3, true);
    return;
  }
  for (const bool state : {false, true}) {
    for (const Shape& x : {Shape{1, 1, 1}, Shape{1, 3, 2}, Shape{2, 5, 6}, Shape{2, 16, 4}, Shape{1, 17, 8},
                           Shape{1, 35, 4}, Shape{1, 4, 18}})
      add_wkv(list, x, 1, state);
    add_wkv(list, {2, 5, 4}, 2, state);
    add_wkv(list, {1, 33, 6}, 2, state);
    add_wkv(list, {1, 18, 15}, 3, state);
  }
}

}  // namespace osteon::test
