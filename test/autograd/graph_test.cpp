#include <doctest/doctest.h>

#include "autograd/node.hpp"
#include "autograd/ops.hpp"
#include "backends/kernels/elementwise.hpp"
#include "backends/memory.hpp"

namespace osteon::test {
namespace {

using Values = std::vector<double>;

Tensor leaf(const Values& values, const Shape& shape, DType dtype = DType::f32) {
  return from_values(values, shape, dtype).set_requires_grad(true);
}
Tensor leaf(const Values& values) { return leaf(values, {static_cast<std::int64_t>(values.size())}); }

std::int64_t live(Category category) { return memory_report(default_device()).live[category]; }

TEST_CASE("gradients accumulate over backwards until they are cleared") {
  const Tensor x = leaf({1, 2, 3});
  sum(mul(x, x)).backward();
  CHECK(x.grad().to_doubles() == Values{2, 4, 6});
  sum(scale(x, 10)).backward();
  CHECK(x.grad().to_doubles() == Values{12, 14, 16});
  x.clear_grad();
  CHECK_FALSE(x.grad().defined());
  sum(x).backward();
  CHECK(x.grad().to_doubles() == Values{1, 1, 1});
}

TEST_CASE("a gradient that reaches a tensor on several ways is their sum") {
  const Tensor x = leaf({1, 2, 3});
  const Tensor dy = from_values(Values{1, 10, 100}, {3}, DType::f32);
  SUBCASE("x + x") {
    add(x, x).backward(dy);
    CHECK(x.grad().to_doubles() == Values{2, 20, 200});
  }
  SUBCASE("h + h, a result taken twice by an op that hands its gradient on") {
    const Tensor h = scale(x, 3);
    add(h, h).backward(dy);
    CHECK(x.grad().to_doubles() == Values{6, 60, 600});
  }
  SUBCASE("mul(h, h)") {
    const Tensor h = scale(x, 1);
    mul(h, h).backward(dy);
    CHECK(x.grad().to_doubles() == Values{2, 40, 600});
  }
  SUBCASE("a residual: the branch adds to a gradient that was handed on") {
    const Tensor h = scale(x, 1);
    add(h, mul(h, h)).backward(dy);
    CHECK(x.grad().to_doubles() == Values{3, 50, 700});
  }
  SUBCASE("residuals in a row") {
    Tensor h = scale(x, 1);
    for (int i = 0; i < 3; ++i)
      h = add(h, scale(h, 2));
    h.backward(dy);
    CHECK(x.grad().to_doubles() == Values{27, 270, 2700});
  }
  CHECK(dy.to_doubles() == Values{1, 10, 100});  // what was handed on was not written to
}

TEST_CASE("a residual hands its gradient on without a copy") {
  const Tensor x = leaf(Values(1000, 0.5));
  const Tensor h = scale(x, 1.0), y = add(h, reshape(h, {1000}));
  reset_memory_peak(default_device());
  const std::int64_t before = live(Category::activation);
  y.backward(zeros({1000}, DType::f32));
  // dy, and one more where the second way meets the first; the leaf's gradient is of another category.
  CHECK(memory_report(default_device()).peak_each[Category::activation] - before <= 3 * 4000);
}

TEST_CASE("the backward releases what each op saved as soon as it is used") {
  constexpr std::int64_t kSize = 10000;
  const Tensor x = leaf(Values(kSize, 0.9));
  const std::int64_t before = live(Category::activation);
  Tensor loss;
  {
    Tensor h = x;
    for (int i = 0; i < 6; ++i)
      h = mul(h, h);
    loss = sum(h);
  }
  // h_1 ... h_5 are saved by the op that reads them; h_6 is read by sum, which needs its shape only.
  CHECK(live(Category::activation) - before == 5 * 4 * kSize + 4);
  reset_memory_peak(default_device());
  loss.backward();
  CHECK(live(Category::activation) - before == 4);
  // On top of the five: sum's gradient, and the two halves of the first gradient, of which one is the sum's place.
  CHECK(memory_report(default_device()).peak_each[Category::activation] - before <= (5 + 3) * 4 * kSize + 8);
}

TEST_CASE("intermediate gradients are activations, leaves' are gradients in the accumulator dtype") {
  const Tensor x = leaf({1, 2}, {2}, DType::bf16);
  const std::int64_t before = live(Category::gradient);
  sum(scale(scale(x, 2), 3)).backward();
  CHECK(x.grad().dtype() == DType::f32);
  CHECK(x.grad().to_doubles() == Values{6, 6});
  CHECK(live(Category::gradient) - before == 8);
  const Tensor wide = leaf({1, 2}, {2}, DType::f64);
  sum(wide).backward();
  CHECK(wide.grad().dtype() == DType::f64);
}

TEST_CASE("bf16 leaves get f32 gradients from kernels that write their own dtype only") {
  const Tensor x = leaf({1, 2}, {2}, DType::bf16);
  sum(mul(x, x)).backward();
  sum(mul(x, x)).backward();
  CHECK(x.grad().dtype() == DType::f32);
  CHECK(x.grad().to_doubles() == Values{4, 8});
}

TEST_CASE("a graph runs backward once") {
  const Tensor x = leaf({1, 2});
  const Tensor h = scale(x, 2), loss = sum(h);
  loss.backward();
  CHECK_THROWS_WITH_AS(loss.backward(), "backward: the graph was released by an earlier backward", Error);
  const Tensor other = sum(scale(h, 2));  // reaches what was released
  CHECK_THROWS_WITH_AS(other.backward(), "backward: the graph was released by an earlier backward", Error);
}

TEST_CASE("backward says what it cannot start from") {
  const Tensor x = leaf({1, 2});
  CHECK_THROWS_WITH_AS(scale(x, 2).backward(), "backward: expected a scalar, got [2]", ShapeError);
  CHECK_THROWS_WITH_AS(leaf({1}).backward(), "backward: expected the result of an op, got a leaf", Error);
  CHECK_THROWS_WITH_AS(sum(from_values(Values{1}, {1}, DType::f32)).backward(),
                       "backward: nothing was recorded for this tensor", Error);
  CHECK_THROWS_WITH_AS(scale(x, 2).backward(zeros({3}, DType::f32)),
                       "backward: expected a gradient [2] f32, got [3] f32", ShapeError);
  CHECK_THROWS_WITH_AS(scale(x, 2).backward(zeros({2}, DType::f64)),
                       "backward: expected a gradient [2] f32, got [2] f64", ShapeError);
  CHECK_THROWS_WITH_AS(scale(x, 2).set_requires_grad(true),
                       "set_requires_grad: expected a leaf, got the result of an op", Error);
}

TEST_CASE("nothing is recorded under NoGrad, and nothing kept") {
  const Tensor x = leaf({1, 2});
  const NoGrad no_grad;
  const std::int64_t before = live(Category::activation);
  const Tensor y = mul(scale(x, 2), scale(x, 3));
  CHECK_FALSE(y.requires_grad());
  CHECK(live(Category::activation) - before == y.bytes());
  const EnableGrad again;
  CHECK(scale(x, 2).requires_grad());
}

TEST_CASE("what counts is whether an input trains when the op runs") {
  const Tensor a = leaf({1, 2}), b = leaf({3, 4});
  b.set_requires_grad(false);
  const Tensor y = mul(a, b);
  b.set_requires_grad(true);
  y.backward(from_values(Values{1, 1}, {2}, DType::f32));
  CHECK(a.grad().to_doubles() == Values{3, 4});
  CHECK_FALSE(b.grad().defined());
}

TEST_CASE("derived results are shared, and made anew when what they were made from changes") {
  const Tensor x = leaf({1, 2, 3, 4}, {1, 4});
  const Tensor once = block_sum(x, 2), twice = block_sum(x, 2);
  CHECK(once.storage().id() == twice.storage().id());
  CHECK(once.grad_state() == twice.grad_state());
  CHECK(block_sum(x, 3).storage().id() != once.storage().id());
  SUBCASE("two users, one node: the gradients meet in it") {
    sum(add(once, scale(twice, 2))).backward();
    CHECK(x.grad().to_doubles() == Values{3, 3, 3, 3});
  }
  SUBCASE("a result without a place in the graph does not serve one that needs it") {
    Tensor apart;
    {
      const NoGrad no_grad;
      apart = block_sum(x, 2);
    }
    CHECK_FALSE(apart.requires_grad());
    CHECK(block_sum(x, 2).requires_grad());
  }
  SUBCASE("after a backward its node is gone") {
    sum(once).backward();
    sum(block_sum(x, 2)).backward();
    CHECK(x.grad().to_doubles() == Values{2, 2, 2, 2});
  }
  SUBCASE("a write through this handle") {
    on_device(x.device(), [&](auto dev) { kernels::fill(dev, x.mut(), 1.0); });
    CHECK(block_sum(x, 2).to_doubles() == Values{2, 2});
  }
  SUBCASE("a write through another handle on the same bytes") {
    on_device(x.device(), [&](auto dev) { kernels::fill(dev, x.detach().slice(0, 1).mut(), 1.0); });
    CHECK(block_sum(x, 2).to_doubles() == Values{2, 2});
  }
  SUBCASE("a stamp names what else it depends on") {
    int made = 0;
    const auto with = [&](const char* stamp) {
      return x.derive(
          "thing", [&] { return ++made, zeros({1}, DType::f32); }, stamp);
    };
    with("a");
    with("a");
    CHECK(made == 1);
    with("b");
    CHECK(made == 2);
  }
}

TEST_CASE("derived results die with the tensor") {
  const std::int64_t before = live(Category::activation);
  {
    const Tensor x = leaf(Values(100, 1.0), {1, 100});
    block_sum(x, 10);
    CHECK(live(Category::activation) - before == 440);
  }
  CHECK(live(Category::activation) == before);
}

TEST_CASE("a weight of another dtype is converted once until it changes") {
  const Tensor x = from_values(Values{1, 1}, {1, 2}, DType::bf16), w = leaf({1, 2, 3, 4}, {2, 2});
  CHECK(linear(x, w).to_doubles() == Values{3, 7});
  const std::int64_t before = memory_report(default_device()).live.total();
  CHECK(linear(x, w).to_doubles() == Values{3, 7});
  CHECK(memory_report(default_device()).live.total() == before);
  on_device(w.device(), [&](auto dev) { kernels::fill(dev, w.mut(), 1.0); });
  CHECK(linear(x, w).to_doubles() == Values{2, 2});
}

TEST_CASE("a deep graph can be dropped without a backward" * doctest::skip(kHasCuda)) {  // the graph is the host's
  Tensor h = leaf({1});
  for (int i = 0; i < 200000; ++i)
    h = scale(h, 1.0);
  h = {};
  CHECK_FALSE(h.defined());
}

TEST_CASE("gradients can be set, and are refused where none is wanted") {
  const Tensor x = leaf({1, 2});
  x.set_grad(from_values(Values{5, 5}, {2}, DType::f32));
  sum(x).backward();
  CHECK(x.grad().to_doubles() == Values{6, 6});
  x.set_requires_grad(false);
  CHECK_FALSE(x.grad().defined());
  CHECK_THROWS_WITH_AS(x.set_grad(zeros({2}, DType::f32)), "set_grad: expected a tensor that requires a gradient",
                       Error);
}

}  // namespace
}  // namespace osteon::test
