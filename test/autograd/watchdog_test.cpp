#include "autograd/watchdog.hpp"

#include <cmath>
#include <doctest/doctest.h>

#include "autograd/node.hpp"
#include "autograd/ops.hpp"

namespace osteon::test {
namespace {

using Values = std::vector<double>;

Tensor leaf(const Values& values, const Shape& shape) {
  return from_values(values, shape, DType::f32).set_requires_grad(true);
}

/// Passes x on; its backward makes element 1 of the gradient NaN.
Tensor faulty(const Tensor& x) {
  return record("faulty", x.alias(x.shape()), {x}, [](const Tensor& dy, Grads& grad) {
    Values dx = dy.to_doubles();
    dx[1] = NAN;
    grad.pass(0, from_values(dx, dy.shape(), dy.dtype()));
  });
}

TEST_CASE("the watchdog names the first op whose result is bad, recorded or not") {
  const Tensor x = leaf({1, 2, 3}, {3});
  const Watchdog watchdog;
  const auto step = [&] { return scale(mul(scale(x, 1e38), scale(x, 10.0)), 0.0); };
  const char* message = "mul (forward): 3 of 3 elements of [3] are NaN or infinite; the first op with such a result";
  CHECK_THROWS_WITH_AS(step(), message, NumericError);
  const NoGrad no_grad;
  CHECK_THROWS_WITH_AS(step(), message, NumericError);
}

TEST_CASE("the watchdog names the op whose backward goes wrong, not one that got its gradient") {
  const Tensor x = leaf({1, 2, 3}, {3});
  const Watchdog watchdog;
  const Tensor loss = sum(scale(faulty(scale(x, 2.0)), 2.0));
  CHECK_THROWS_WITH_AS(loss.backward(),
                       "faulty (backward): 1 of 3 elements of [3] are NaN or infinite; the first op with such a result",
                       NumericError);
}

TEST_CASE("the watchdog sees the gradients of parameters") {
  const Tensor x = leaf({1, 2}, {1, 2}), w = leaf({0, 0}, {1, 2});
  const Watchdog watchdog;
  const Tensor huge = from_values(Values{3e38, 3e38}, {1, 2}, DType::f32);
  const Tensor y = linear(huge, w);  // 0, and its weight's gradient is infinite
  CHECK_THROWS_WITH_AS(
      scale(y, 100.0).backward(from_values(Values{1}, {1, 1}, DType::f32)),
      "linear (backward): 2 of 2 elements of [1, 2] are NaN or infinite; the first op with such a result",
      NumericError);
  CHECK_THROWS_WITH_AS(scale(x, 2.0).backward(from_values(Values{1, INFINITY}, {1, 2}, DType::f32)),
                       "scale (gradient given to backward): 1 of 2 elements of [1, 2] are NaN or infinite; the first "
                       "op with such a result",
                       NumericError);
}

TEST_CASE("without a watchdog nothing is checked") {
  const Tensor x = leaf({1, 2, 3}, {3});
  { const Watchdog watchdog; }
  sum(faulty(x)).backward();
  CHECK(std::isnan(x.grad().to_doubles()[1]));
  CHECK(std::isnan(scale(x, NAN).to_doubles()[0]));
}

}  // namespace
}  // namespace osteon::test
