#include "test/reference/wkv.hpp"

#include <algorithm>
#include <cmath>
#include <doctest/doctest.h>

#include "autograd/ops.hpp"
#include "autograd/rwkv_ops.hpp"
#include "backends/flops.hpp"
#include "test/op_cases.hpp"

// The recurrences of RWKV beyond what every op is checked for (op_cases/rwkv.cpp): long sequences, pieces, the state.

namespace osteon::test {
namespace {

/// The inputs of a recurrence over one sequence, decays near both ends of their range among them.
struct Sequence {
  std::int64_t seq_len, heads, n;
  std::vector<Values> inputs = {};  ///< r, decay, k, v, removal, rate

  Sequence(std::int64_t length, std::int64_t head_count, std::int64_t head_size, double low, double high)
      : seq_len(length), heads(head_count), n(head_size) {
    const double most = 1 / std::sqrt(static_cast<double>(n));
    const double range[6][2] = {{-1, 1}, {low, high}, {-1, 1}, {-1, 1}, {-most, most}, {0, 1}};
    for (std::size_t input = 0; input < 6; ++input) {
      Values values(static_cast<std::size_t>(seq_len * heads * n));
      for (std::size_t i = 0; i < values.size(); ++i)
        values[i] = static_cast<double>(
            static_cast<float>(range[input][0] + (range[input][1] - range[input][0]) *
                                                     static_cast<double>(uniform_from(philox({11, input}, i)[0]))));
      inputs.push_back(std::move(values));
    }
  }

  /// Tokens [begin, end) as leaves.
  std::vector<Tensor> tensors(DType dtype, std::int64_t begin, std::int64_t end) const {
    std::vector<Tensor> all;
    for (const Values& values : inputs) {
      const std::int64_t d = heads * n;
      all.push_back(
          from_values(Values(values.begin() + begin * d, values.begin() + end * d), {1, end - begin, d}, dtype)
              .set_requires_grad(true));
    }
    return all;
  }
};

Recurrent run(int version, const std::vector<Tensor>& in, std::int64_t heads, const Tensor& state = {}) {
  return version == 6 ? wkv6(in[0], in[1], in[2], in[3], heads, state)
                      : wkv7(in[0], in[1], in[2], in[3], in[4], in[5], heads, state);
}

/// Of an output: its gradient, a function of the place only.
Tensor upstream(const Tensor& y) {
  Values values(static_cast<std::size_t>(y.numel()));
  for (std::size_t i = 0; i < values.size(); ++i)
    values[i] = static_cast<double>(uniform_from(philox({3, 4}, i)[0])) - 0.5;
  return from_values(values, y.shape(), y.dtype());
}

double error(const Values& got, const Values& expected) {
  REQUIRE(got.size() == expected.size());
  double largest = 0, worst = 0;
  for (std::size_t i = 0; i < got.size(); ++i) {
    largest = std::max(largest, std::abs(expected[i]));
    worst = std::isfinite(got[i]) ? std::max(worst, std::abs(got[i] - expected[i])) : INFINITY;
  }
  return worst / largest;
}

/// The result, the last state and all gradients.
std::vector<Values> results(int version, const Sequence& sequence, DType dtype) {
  const std::vector<Tensor> in = sequence.tensors(dtype, 0, sequence.seq_len);
  const Recurrent out = run(version, in, sequence.heads);
  out.y.backward(upstream(out.y));
  std::vector<Values> all = {out.y.to_doubles(), out.state.to_doubles()};
  for (std::size_t i = 0; i < (version == 6 ? 4U : 6U); ++i)
    all.push_back(in[i].grad().to_doubles());
  return all;
}

TEST_CASE("wkv: f32 agrees with f64 over 4096 tokens, with decays near both ends") {
  const std::int64_t seq_len = kHasCuda ? 128 : 4096;  // an emulated GPU takes its time
  // RWKV-6: w = exp(-exp(x)) from 0.9999 to 0. RWKV-7: exp(-0.61 sigmoid(x)) from 1 - 6e-6 to 0.545.
  const double ranges[][2] = {{-9.0, -7.0}, {-9.0, 3.0}, {2.0, 4.0}, {-12.0, -10.0}, {10.0, 12.0}};
  for (const int version : {6, 7})
    for (const auto& range : ranges) {
      CAPTURE(version);
      CAPTURE(range[0]);
      const Sequence sequence(seq_len, 2, 16, range[0], range[1]);
      const std::vector<Values> got = results(version, sequence, DType::f32),
                                expected = results(version, sequence, DType::f64);
      for (std::size_t i = 0; i < got.size(); ++i) {
        if (version == 6 && i == 3 && range[0] >= 10)
          continue;  // exp(-exp(10)) is 0: so is that gradient
        CAPTURE(i);  // 0: the result, 1: the state; then the gradients
        CHECK(error(got[i], expected[i]) <= 2e-5);
      }
    }
}

TEST_CASE("wkv: the state after the last token is the plain loops'") {
  for (const std::int64_t seq_len : {1, 15, 16, 17, 40}) {
    CAPTURE(seq_len);
    const Sequence s(seq_len, 2, 5, -3, 1);
    const std::vector<Tensor> in = s.tensors(DType::f64, 0, seq_len);
    Values six(50), seven(50);
    reference::wkv6(s.inputs[0], s.inputs[1], s.inputs[2], s.inputs[3], six, 2, 5);
    reference::wkv7(s.inputs[0], s.inputs[1], s.inputs[2], s.inputs[3], s.inputs[4], s.inputs[5], seven, 2, 5);
    CHECK(error(run(6, in, 2).state.to_doubles(), six) <= 1e-13);
    CHECK(error(run(7, in, 2).state.to_doubles(), seven) <= 1e-13);
  }
}

TEST_CASE("wkv: pieces that carry the state equal one sequence to the bit, token by token too") {
  for (const int version : {6, 7})
    for (const DType dtype : {DType::f32, DType::bf16})
      for (const std::int64_t piece : {1, 7, 16, 24}) {
        CAPTURE(version);
        CAPTURE(dtype);
        CAPTURE(piece);
        const Sequence sequence(50, 3, 20, -3, 1);
        const Recurrent whole = run(version, sequence.tensors(dtype, 0, 50), 3);
        Values y;
        Tensor state;
        for (std::int64_t begin = 0; begin < 50; begin += piece) {
          const Recurrent part =
              run(version, sequence.tensors(dtype, begin, std::min<std::int64_t>(begin + piece, 50)), 3, state);
          const Values values = part.y.to_doubles();
          y.insert(y.end(), values.begin(), values.end());
          state = part.state;
        }
        CHECK(y == whole.y.to_doubles());
        CHECK(state.to_doubles() == whole.state.to_doubles());
      }
}

TEST_CASE("wkv: of a head of 64 channels, which kernels know, the first 60 are a head of 60 if the others are silent") {
  const Sequence small(37, 2, 60, -3, 1);
  Sequence usual(37, 2, 64, -3, 1);
  const auto resized = [](const Values& values, std::size_t from, std::size_t to) {
    Values all;
    for (std::size_t row = 0; row < values.size() / from; ++row)
      for (std::size_t j = 0; j < to; ++j)
        all.push_back(j < from ? values[row * from + j] : 0);
    return all;
  };
  for (std::size_t i = 0; i < usual.inputs.size(); ++i)
    usual.inputs[i] = resized(small.inputs[i], 60, 64);
  for (const int version : {6, 7}) {
    const auto gradients_of = [version](const Sequence& s, const Values& dy) {
      const std::vector<Tensor> in = s.tensors(DType::f64, 0, s.seq_len);
      const Recurrent out = run(version, in, s.heads);
      out.y.backward(from_values(dy, out.y.shape(), DType::f64));
      std::vector<Values> all = {out.y.to_doubles()};
      for (std::size_t i = 0; i < (version == 6 ? 4U : 6U); ++i)
        all.push_back(in[i].grad().to_doubles());
      return all;
    };
    const Values dy = small.inputs[2];
    const std::vector<Values> want = gradients_of(small, dy), got = gradients_of(usual, resized(dy, 60, 64));
    for (std::size_t i = 0; i < want.size(); ++i) {
      CAPTURE(version);
      CAPTURE(i);
      CHECK(error(resized(got[i], 64, 60), want[i]) <= 1e-13);
    }
  }
}

TEST_CASE("wkv: operations are counted as the formulas have them, on the device without memory too") {
  const Sequence sequence(20, 2, 8, -3, 1);
  const double elements = 20 * 2 * 8 * 8;
  for (const Device device : {default_device(), Device::meta})
    for (const int version : {6, 7}) {
      std::vector<Tensor> in;
      for (const Tensor& x : sequence.tensors(DType::f32, 0, 20))
        in.push_back(device == Device::meta ? empty(x.shape(), x.dtype(), device).set_requires_grad(true) : x);
      reset_flop_count(device);
      const Recurrent out = run(version, in, 2);
      sum(out.y).backward();
      const FlopCount count = flop_count(device);
      CHECK(count.of(Pass::forward, Work::recurrence) == elements * (version == 6 ? 5 : 9));
      CHECK(count.of(Pass::backward, Work::recurrence) == elements * (version == 6 ? 14 : 26));
    }
}

TEST_CASE("wkv: what cannot be is refused") {
  const Tensor x = from_values(Values(24, 0.5), {2, 3, 4}, DType::f32);
  CHECK_THROWS_WITH_AS(wkv6(x, x, x, x, 3),
                       "wkv6: r: expected [batch, seq_len, d] in 3 heads of at most 256 channels, got [2, 3, 4]",
                       ShapeError);
  const Tensor other = from_values(Values(24, 0.5), {2, 4, 3}, DType::f32);
  CHECK_THROWS_AS(wkv7(x, x, x, other, x, x, 2), ShapeError);
  CHECK_THROWS_AS(wkv7(x, x, x, x, x, x, 2, x), ShapeError);
  CHECK_THROWS_AS(time_mix(x, from_values(Values(3, 0.5), {3}, DType::f32)), ShapeError);
  CHECK_THROWS_AS(group_norm(x, 3, x, x, 1e-5), ShapeError);
  CHECK_THROWS_AS(columns(x, 2, 3), ShapeError);
}

}  // namespace
}  // namespace osteon::test
