#include "autograd/checkpoint.hpp"

#include <doctest/doctest.h>

#include "autograd/audit.hpp"
#include "autograd/node.hpp"
#include "autograd/ops.hpp"
#include "autograd/random_state.hpp"
#include "autograd/watchdog.hpp"
#include "backends/memory.hpp"

namespace osteon::test {
namespace {

using Values = std::vector<double>;

constexpr std::int64_t kTokens = 24, kHidden = 32;

Tensor numbers(const Shape& shape, DType dtype, std::uint64_t stream, Category category = Category::activation) {
  Values values(static_cast<std::size_t>(shape.numel()));
  for (std::size_t i = 0; i < values.size(); ++i)
    values[i] = static_cast<double>(uniform_from(philox({1, stream}, i)[0])) - 0.5;
  return from_values(values, shape, dtype, default_device(), category);
}

/// A small residual block with dropout, an adapter's shape of graph.
struct Block {
  Tensor norm, up, down, left, right;

  Block(DType dtype, std::uint64_t stream)
      : norm(numbers({kHidden}, dtype, stream, Category::weights)),
        up(numbers({4 * kHidden, kHidden}, dtype, stream + 1, Category::weights)),
        down(numbers({kHidden, 4 * kHidden}, dtype, stream + 2, Category::weights)),
        left(numbers({4, kHidden}, accumulator(dtype), stream + 3, Category::adapter).set_requires_grad(true)),
        right(numbers({4 * kHidden, 4}, accumulator(dtype), stream + 4, Category::adapter).set_requires_grad(true)) {}

  Tensor operator()(const Tensor& x) const {
    const Tensor n = rms_norm(x, norm, 1e-5);
    const Tensor h = training() ? dropout_linear(n, left, 0.3, next_random_key()) : linear(n, left);
    const Tensor u = linear_plus(n, up, {}, h, right, RightFactor::out_by_rank, 2.0);
    return add(x, linear(swiglu(u, scale(u, 0.5)), down));
  }
};

enum class Plan { plain, each, nested };

struct Outcome {
  Values loss;
  std::vector<Values> gradients;
  std::int64_t saved, peak;
};

Outcome step(DType dtype, Plan plan) {
  std::vector<Block> blocks;
  for (std::uint64_t i = 0; i < 4; ++i)
    blocks.emplace_back(dtype, 10 * i);
  random_state() = {RandomKey{9, 9}, 0};
  const Tensor leaf = numbers({2, kTokens, kHidden}, dtype, 77).set_requires_grad(true);
  const std::int64_t before = memory_report(default_device()).live[Category::activation];
  reset_memory_peak(default_device());
  Outcome outcome;
  Tensor loss;
  // Out here, since the regions run again in the backward.
  const auto pair = [&](const Tensor& at, std::size_t i) {
    return checkpoint([&, i](const Tensor& inner) { return blocks[i + 1](inner); },
                      checkpoint([&, i](const Tensor& inner) { return blocks[i](inner); }, at));
  };
  {
    const SavedAudit audit;
    Tensor x = scale(leaf, 1.0);
    for (std::size_t i = 0; i < blocks.size(); i += plan == Plan::nested ? 2 : 1)
      x = plan == Plan::plain  ? blocks[i](x)
          : plan == Plan::each ? checkpoint([&, i](const Tensor& at) { return blocks[i](at); }, x)
                               : checkpoint([&, i](const Tensor& at) { return pair(at, i); }, x);
    loss = sum(mul(x, x));
    outcome.saved = audit.bytes();
  }
  loss.backward();
  outcome.peak = memory_report(default_device()).peak_each[Category::activation] - before;
  outcome.loss = loss.to_doubles();
  outcome.gradients.push_back(leaf.grad().to_doubles());
  for (const Block& block : blocks)
    for (const Tensor& parameter : {block.left, block.right})
      outcome.gradients.push_back(parameter.grad().to_doubles());
  outcome.gradients.push_back({static_cast<double>(random_state().next)});
  return outcome;
}

TEST_CASE("checkpointing changes no bit of loss, gradients and random state, and keeps only the regions' inputs") {
  for (const DType dtype : {DType::f32, DType::bf16, DType::f64}) {
    CAPTURE(dtype);
    const Outcome plain = step(dtype, Plan::plain);
    for (const Plan plan : {Plan::each, Plan::nested}) {
      CAPTURE(static_cast<int>(plan));
      const Outcome kept = step(dtype, plan);
      CHECK(kept.loss == plain.loss);
      CHECK(kept.gradients == plain.gradients);
      // One x a region, and what mul keeps at the end.
      CHECK(kept.saved == (plan == Plan::each ? 5 : 3) * 2 * kTokens * kHidden * size_of(dtype));
      CHECK(kept.saved < plain.saved / 3);
      CHECK(kept.peak < plain.peak * 6 / 10);
    }
  }
}

TEST_CASE("dropout drops in both runs of a region, with the same mask") {
  const Block block(DType::f32, 3);
  random_state() = {RandomKey{2, 2}, 5};
  const Tensor x = numbers({1, kTokens, kHidden}, DType::f32, 70).set_requires_grad(true);
  const Tensor plain = block(x);
  random_state() = {RandomKey{2, 2}, 5};
  const Tensor kept = checkpoint(block, x);
  CHECK(kept.to_doubles() == plain.to_doubles());
  CHECK(random_state().next == 6);
  kept.backward(zeros(kept.shape(), kept.dtype()));
  CHECK(random_state().next == 6);
  const NoGrad no_grad;  // evaluation: nothing drops
  CHECK(checkpoint(block, x).to_doubles() == block(x).to_doubles());
  CHECK(random_state().next == 6);
  CHECK(block(x).to_doubles() != plain.to_doubles());
}

TEST_CASE("a region is recorded only if its input or a parameter in it trains") {
  const Tensor frozen = numbers({3}, DType::f32, 1), trainable = numbers({3}, DType::f32, 2).set_requires_grad(true);
  const auto square = [](const Tensor& x) { return mul(x, x); };
  CHECK_FALSE(checkpoint(square, frozen).requires_grad());
  CHECK(checkpoint(square, trainable).requires_grad());
  const Tensor y = checkpoint([&](const Tensor& x) { return mul(x, trainable); }, frozen);
  REQUIRE(y.requires_grad());
  y.backward(from_values(Values{1, 1, 1}, {3}, DType::f32));
  CHECK(trainable.grad().to_doubles() == frozen.to_doubles());
  const NoGrad no_grad;
  CHECK_FALSE(checkpoint(square, trainable).requires_grad());
}

TEST_CASE("a region may hand its input on, or not use it") {
  const Tensor x = numbers({3}, DType::f32, 1).set_requires_grad(true), dy = numbers({3}, DType::f32, 2);
  checkpoint([](const Tensor& at) { return at; }, x).backward(dy);
  CHECK(x.grad().to_doubles() == dy.to_doubles());
  x.clear_grad();
  const Tensor w = numbers({3}, DType::f32, 3).set_requires_grad(true);
  checkpoint([&](const Tensor&) { return scale(w, 2.0); }, x).backward(dy);
  CHECK_FALSE(x.grad().defined());
  CHECK(w.grad().to_doubles() == scale(dy, 2.0).to_doubles());
}

/// Four regions, of which the first makes a tensor that all read.
std::vector<Values> carried_step(DType dtype, bool keep_all, bool side_trains) {
  const Tensor weight = numbers({kHidden, kHidden}, dtype, 5, Category::weights).set_requires_grad(side_trains);
  const Tensor gain = numbers({2, kTokens, kHidden}, dtype, 6, Category::weights).set_requires_grad(true);
  const Tensor leaf = numbers({2, kTokens, kHidden}, dtype, 77);
  const auto region = [&](const Carried& at) {
    const Tensor side = at.side.defined() ? at.side : linear(at.x, weight);
    return Carried{add(mul(at.x, gain), mul(side, rms_norm(at.x, numbers({kHidden}, dtype, 7), 1e-5))), side};
  };
  Carried at{leaf, {}};
  for (int i = 0; i < 4; ++i)
    at = keep_all ? region(at) : checkpoint(region, at);
  sum(mul(at.x, at.side)).backward();
  std::vector<Values> gradients = {at.x.to_doubles(), gain.grad().to_doubles()};
  if (side_trains)
    gradients.push_back(weight.grad().to_doubles());
  return gradients;
}

TEST_CASE("regions that carry a second tensor past each other change no bit, of its gradient's sum either") {
  for (const DType dtype : {DType::f32, DType::bf16, DType::f64})
    for (const bool side_trains : {true, false}) {
      CAPTURE(dtype);
      CAPTURE(side_trains);
      CHECK(carried_step(dtype, false, side_trains) == carried_step(dtype, true, side_trains));
    }
  const Tensor x = numbers({3}, DType::f32, 1).set_requires_grad(true), side = numbers({3}, DType::f32, 2);
  const SavedAudit audit;
  const Carried y = checkpoint([](const Carried& at) { return Carried{mul(at.x, at.side), at.side}; }, {x, side});
  CHECK(y.side.storage().id() == side.storage().id());
  CHECK(audit.bytes() == 2 * 3 * 4);
}

TEST_CASE("the gradient of a bf16 region's input is bf16 and an activation, as without checkpointing") {
  const Tensor leaf = numbers({64}, DType::bf16, 1).set_requires_grad(true);
  const Tensor x = scale(leaf, 1.0);
  const std::int64_t gradients = memory_report(default_device()).live[Category::gradient];
  reset_memory_peak(default_device());
  checkpoint([](const Tensor& at) { return add(at, mul(at, at)); }, x).backward(numbers({64}, DType::bf16, 2));
  CHECK(memory_report(default_device()).peak_each[Category::gradient] - gradients == 64 * 4);  // the leaf's, f32
}

TEST_CASE("an error in the second run leaves the random state as it was") {
  bool fail_now = false;
  const Tensor x = numbers({4}, DType::f32, 1).set_requires_grad(true);
  random_state() = {RandomKey{1, 1}, 3};
  const Tensor y = checkpoint(
      [&](const Tensor& at) {
        const Tensor dropped = dropout(at, 0.5, next_random_key());
        check<NumericError>(!fail_now, "region: told to fail");
        return dropped;
      },
      x);
  next_random_key();
  fail_now = true;
  CHECK_THROWS_WITH_AS(y.backward(zeros({4}, DType::f32)), "region: told to fail", NumericError);
  CHECK(random_state().next == 5);
  CHECK(grad_enabled());
}

TEST_CASE("random keys differ, and depend on the state alone") {
  random_state() = {RandomKey{4, 0}, 0};
  const RandomKey a = next_random_key(), b = next_random_key();
  CHECK(a.stream != b.stream);
  random_state() = {RandomKey{4, 0}, 1};
  CHECK(next_random_key().stream == b.stream);
}

}  // namespace
}  // namespace osteon::test
