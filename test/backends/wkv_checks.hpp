#pragma once

#include "backends/kernels/wkv.hpp"
#include "test/backends/kernel_checks.hpp"
#include "test/reference/wkv.hpp"

namespace osteon::test {

// Checks of the recurrences of RWKV-6 and RWKV-7, which take as many inputs as the version has: r, decay, k, v, and of
// RWKV-7 removal and rate.

struct Wkv6Kernels {
  static constexpr std::size_t kInputs = 4;
  static constexpr double kDecays[] = {-4, 1};

  static kernels::Wkv6Inputs inputs(const std::vector<ConstView>& in, ConstView first) {
    return {in[0], in[1], in[2], in[3], first};
  }
  static void forward(const std::vector<ConstView>& in, ConstView first, View y, View state, View states) {
    kernels::wkv6(kDevice, inputs(in, first), y, state, states);
  }
  static void backward(ConstView dy, const std::vector<ConstView>& in, ConstView states, View workspace,
                       const std::vector<Sink>& to, Sink first) {
    kernels::wkv6_backward(kDevice, dy, inputs(in, {}), states, workspace, {to[0], to[1], to[2], to[3], first});
  }
  static reference::Numbers reference(const std::vector<reference::Numbers>& in, reference::Numbers& state,
                                      std::size_t heads, std::size_t n) {
    return reference::wkv6(in[0], in[1], in[2], in[3], state, heads, n);
  }
  static reference::WkvGradients reference_backward(const reference::Numbers& dy,
                                                    const std::vector<reference::Numbers>& in,
                                                    const reference::Numbers& first, std::size_t heads, std::size_t n) {
    return reference::wkv6_backward(dy, in[0], in[1], in[2], in[3], first, heads, n);
  }
};

struct Wkv7Kernels {
  static constexpr std::size_t kInputs = 6;
  static constexpr double kDecays[] = {-4, 4};

  static kernels::Wkv7Inputs inputs(const std::vector<ConstView>& in, ConstView first) {
    return {in[0], in[1], in[2], in[3], in[4], in[5], first};
  }
  static void forward(const std::vector<ConstView>& in, ConstView first, View y, View state, View states) {
    kernels::wkv7(kDevice, inputs(in, first), y, state, states);
  }
  static void backward(ConstView dy, const std::vector<ConstView>& in, ConstView states, View workspace,
                       const std::vector<Sink>& to, Sink first) {
    kernels::wkv7_backward(kDevice, dy, inputs(in, {}), states, workspace,
                           {to[0], to[1], to[2], to[3], to[4], to[5], first});
  }
  static reference::Numbers reference(const std::vector<reference::Numbers>& in, reference::Numbers& state,
                                      std::size_t heads, std::size_t n) {
    return reference::wkv7(in[0], in[1], in[2], in[3], in[4], in[5], state, heads, n);
  }
  static reference::WkvGradients reference_backward(const reference::Numbers& dy,
                                                    const std::vector<reference::Numbers>& in,
                                                    const reference::Numbers& first, std::size_t heads, std::size_t n) {
    return reference::wkv7_backward(dy, in[0], in[1], in[2], in[3], in[4], in[5], first, heads, n);
  }
};

struct WkvExtent {
  std::int64_t batch, seq_len, heads, n;
};

/// Inputs of a recurrence, and the gradient that comes to its result.
template <class Kernels>
struct WkvCase {
  WkvExtent of;
  DType dtype, wide;
  Shape shape, state_shape;
  std::vector<Array> inputs = {};
  Array dy, first;

  WkvCase(const WkvExtent& extent, DType type)
      : of(extent),
        dtype(type),
        wide(accumulator(type)),
        shape{of.batch, of.seq_len, of.heads * of.n},
        state_shape{of.batch, of.heads, of.n, of.n},
        dy(Array::random(type, shape, 20)),
        first(Array::random(wide, state_shape, 21)) {
    // A removal key has length 1 in the model: here at most that, so that the state stays of its size.
    const double most = 1 / std::sqrt(static_cast<double>(of.n)), low = Kernels::kDecays[0], high = Kernels::kDecays[1];
    const double ranges[][2] = {{-1, 1}, {low, high}, {-1, 1}, {-1, 1}, {-most, most}, {0, 1}};
    for (std::size_t i = 0; i < Kernels::kInputs; ++i) {
      Array input = Array::random(dtype, shape, i + 1);
      for (std::int64_t j = 0; j < input.numel(); ++j)
        input.set(j, ranges[i][0] + (ranges[i][1] - ranges[i][0]) * (input.at(j) + 1) / 2);
      inputs.push_back(std::move(input));
    }
  }

  std::vector<ConstView> views() const {
    std::vector<ConstView> all;
    for (const Array& input : inputs)
      all.push_back(input.view());
    return all;
  }
  std::vector<reference::Numbers> numbers() const {
    std::vector<reference::Numbers> all;
    for (const Array& input : inputs)
      all.push_back(input.doubles());
    return all;
  }

  /// y, the last state and those that are kept.
  std::vector<Array> forward(bool with_first) const {
    std::vector<Array> out = {Array(dtype, shape), Array(wide, state_shape),
                              Array(wide, {of.batch, of.heads, kernels::wkv_states(of.seq_len), of.n, of.n})};
    Kernels::forward(views(), with_first ? first.view() : ConstView{}, out[0].view(), out[1].view(), out[2].view());
    return out;
  }
  /// Into `gradients`, of the inputs and then of the first state; of those alone that `wanted` says.
  template <class Wanted>
  void backward(const Array& states, std::vector<Array>& gradients, bool add, const Wanted& wanted) const {
    Array workspace(wide, {of.batch * of.heads * kernels::wkv_workspace(kDevice, of.n, wide)});
    std::vector<Sink> to;
    for (std::size_t i = 0; i < gradients.size(); ++i)
      to.push_back(wanted(i) ? gradients[i].sink(add) : Sink{});
    Kernels::backward(dy.view(), views(), states.view(), workspace.view(), to, to.back());
  }
  /// Where they go: numbers that are there already.
  std::vector<Array> sinks() const {
    std::vector<Array> all;
    for (std::size_t i = 0; i < Kernels::kInputs; ++i)
      all.push_back(Array::random(dtype, shape, 30 + i));
    all.push_back(Array::random(wide, state_shape, 40));
    return all;
  }
};

template <class Kernels>
void check_wkv_against_loops(const WkvExtent& of, DType dtype) {
  CAPTURE(of.batch);
  CAPTURE(of.seq_len);
  CAPTURE(of.heads);
  CAPTURE(of.n);
  CAPTURE(dtype);
  const WkvCase<Kernels> c(of, dtype);
  const auto heads = static_cast<std::size_t>(of.heads), n = static_cast<std::size_t>(of.n);
  for (const bool with_first : {false, true}) {
    CAPTURE(with_first);
    const reference::Numbers first =
        with_first ? c.first.doubles() : reference::Numbers(static_cast<std::size_t>(c.first.numel()));
    reference::Numbers last = first;
    const reference::Numbers y = Kernels::reference(c.numbers(), last, heads, n);
    const std::vector<Array> got = c.forward(with_first);
    check_close(got[0], y, 64);
    check_close(got[1], last, 64);
    const reference::WkvGradients want = Kernels::reference_backward(c.dy.doubles(), c.numbers(), first, heads, n);
    const std::vector<Array> old = c.sinks();
    std::vector<Array> gradients = old, alone = old;
    const bool add = with_first;
    c.backward(got[2], gradients, add, [](std::size_t) { return true; });
    for (std::size_t i = 0; i < gradients.size(); ++i) {
      CAPTURE(i);
      std::vector<double> expected = i < want.inputs.size() ? want.inputs[i] : want.first;
      for (std::size_t j = 0; add && j < expected.size(); ++j)
        expected[j] += old[i].at(static_cast<std::int64_t>(j));
      check_close(gradients[i], expected, 128);
    }
    c.backward(got[2], alone, add, [](std::size_t i) { return i % 2 == 1; });
    for (std::size_t i = 0; i < alone.size(); ++i)
      CHECK(alone[i] == (i % 2 == 1 ? gradients[i] : old[i]));
  }
}

template <class Kernels>
void check_wkv_bits(const WkvExtent& of, DType dtype) {
  const WkvCase<Kernels> c(of, dtype);
  check_thread_counts([&] {
    std::vector<Array> out = c.forward(true), gradients = c.sinks();
    c.backward(out[2], gradients, true, [](std::size_t) { return true; });
    out.insert(out.end(), gradients.begin(), gradients.end());
    return out;
  });
  // A state that is carried: the same as one sequence, of which the first half makes no states for a backward.
  const std::vector<Array> whole = c.forward(true);
  const std::int64_t half = of.seq_len / 2;
  std::vector<Array> y(1, Array(dtype, c.shape));
  Array state = c.first, next(c.wide, c.state_shape);
  REQUIRE(of.batch == 1);
  for (const auto& [begin, end] : {std::pair<std::int64_t, std::int64_t>{0, half}, {half, of.seq_len}}) {
    std::vector<ConstView> part;
    for (const ConstView& view : c.views())
      part.push_back(view.slice_rows(begin, end).reshape({1, end - begin, c.shape[2]}));
    Kernels::forward(part, state.view(), y[0].view().slice_rows(begin, end).reshape({1, end - begin, c.shape[2]}),
                     next.view(), {});
    state = next;
  }
  CHECK(y[0] == whole[0]);
  CHECK(state == whole[1]);
}

/// No sequences, and sequences without tokens: the state stays as it is, and so does its gradient, 0.
template <class Kernels>
void check_wkv_empty() {
  for (const WkvExtent& of : {WkvExtent{0, 3, 2, 4}, WkvExtent{2, 0, 2, 4}}) {
    CAPTURE(of.seq_len);
    const WkvCase<Kernels> c(of, DType::f32);
    const std::vector<Array> out = c.forward(true);
    CHECK(out[1] == c.first);
    for (const bool add : {false, true}) {
      std::vector<Array> gradients = c.sinks();
      c.backward(out[2], gradients, add, [](std::size_t) { return true; });
      CHECK(gradients.back() == (add ? c.sinks().back() : Array(DType::f32, c.state_shape)));
    }
  }
}

/// Decays that leave everything or nothing of the state give finite numbers, and NaN goes through.
template <class Kernels>
void check_wkv_far_decays(double low, double high) {
  for (const DType dtype : kFloating) {
    WkvCase<Kernels> c({1, 19, 1, 4}, dtype);
    for (std::int64_t i = 0; i < c.inputs[1].numel(); ++i)
      c.inputs[1].set(i, i % 3 == 0 ? low : i % 3 == 1 ? high : 0);
    const auto finite = [](const Array& a) {
      for (std::int64_t i = 0; i < a.numel(); ++i)
        if (!std::isfinite(a.at(i)))
          return false;
      return true;
    };
    const std::vector<Array> out = c.forward(true);
    std::vector<Array> gradients = c.sinks();
    c.backward(out[2], gradients, false, [](std::size_t) { return true; });
    for (const Array& array : out)
      CHECK(finite(array));
    for (const Array& array : gradients)
      CHECK(finite(array));
    c.inputs[1].set(5, std::nan(""));
    CHECK(!finite(c.forward(true)[1]));
  }
}

template <class Kernels>
void check_wkv_refusals() {
  const WkvCase<Kernels> c({2, 3, 2, 2}, DType::f32), other({2, 3, 1, 4}, DType::f32), wide({2, 3, 2, 2}, DType::f64);
  Array y(DType::f32, c.shape), state(DType::f32, c.state_shape), half(DType::bf16, c.shape);
  CHECK_THROWS_AS(Kernels::forward(c.views(), {}, half.view(), state.view(), {}), ShapeError);
  CHECK_THROWS_AS(Kernels::forward(wide.views(), {}, y.view(), state.view(), {}), ShapeError);
  Array square(DType::f32, {2, 2, 2, 3});
  CHECK_THROWS_AS(Kernels::forward(c.views(), {}, y.view(), square.view(), {}), ShapeError);
  std::vector<ConstView> mixed = c.views();
  mixed[2] = half.view();
  CHECK_THROWS_AS(Kernels::forward(mixed, {}, y.view(), state.view(), {}), ShapeError);
  Array states(DType::f32, {2, 2, 1, 2, 2}), few(DType::f32, {1});
  CHECK_THROWS_AS(Kernels::backward(half.view(), c.views(), states.view(), few.view(), std::vector<Sink>(7), {}),
                  ShapeError);
}

}  // namespace osteon::test
