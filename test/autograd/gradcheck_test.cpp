#include "autograd/gradcheck.hpp"

#include <cmath>
#include <doctest/doctest.h>

#include "autograd/node.hpp"
#include "autograd/ops.hpp"
#include "backends/kernels/elementwise.hpp"

namespace osteon::test {
namespace {

/// x^3 elementwise, whose gradient is multiplied by `wrong` at one element.
Tensor cube(const Tensor& x, std::int64_t at, double wrong) {
  std::vector<double> values = x.to_doubles();
  for (double& value : values)
    value = value * value * value;
  return record("cube", from_values(values, x.shape(), x.dtype()), {x},
                [x = save("x", x), at, wrong](const Tensor& dy, Grads& grad) {
                  std::vector<double> dx = x.tensor().to_doubles();
                  const std::vector<double> g = dy.to_doubles();
                  for (std::size_t i = 0; i < dx.size(); ++i)
                    dx[i] = 3 * dx[i] * dx[i] * g[i] * (static_cast<std::int64_t>(i) == at ? wrong : 1.0);
                  grad.pass(0, from_values(dx, dy.shape(), dy.dtype()));
                });
}

Tensor counted(const Shape& shape) {
  std::vector<double> values;
  for (std::int64_t i = 0; i < shape.numel(); ++i)
    values.push_back(0.3 + 0.1 * static_cast<double>(i % 7));
  return from_values(values, shape, DType::f64);
}

TEST_CASE("gradcheck accepts a right gradient and names the place of a wrong one") {
  const auto with = [](double wrong) {
    return [=](const std::vector<Tensor>& in) { return mul(in[0], cube(in[1], 4, wrong)); };
  };
  const std::vector<Tensor> inputs = {counted({2, 3}), counted({2, 3})};
  const GradReport right = gradcheck(with(1.0), inputs);
  CHECK(right.max_error < 1e-8);
  CHECK(right.compared == 12);
  const GradReport wrong = gradcheck(with(1.00001), inputs);
  CHECK(wrong.max_error > 1e-6);
  CHECK(wrong.max_error < 2e-5);
  CHECK_MESSAGE(wrong.worst.starts_with("input 1 [2, 3] at (1, 1): analytic "), wrong.worst);
}

TEST_CASE("gradcheck finds one wrong element of many") {
  const std::vector<Tensor> inputs = {counted({40, 50})};
  GradcheckOptions options;
  const auto with = [](double wrong) { return [=](const std::vector<Tensor>& in) { return cube(in[0], 777, wrong); }; };
  const GradReport right = gradcheck(with(1.0), inputs, options);
  CHECK(right.max_error < 1e-8);
  CHECK(right.compared == options.elements + options.directions);
  const GradReport wrong = gradcheck(with(0.0), inputs, options);
  CHECK(wrong.max_error > 1e-4);
  CHECK_MESSAGE(wrong.worst.starts_with("input 0 [40, 50] along direction "), wrong.worst);
}

TEST_CASE("gradcheck compares gradients that are zero") {
  const TensorFunction flat = [](const std::vector<Tensor>& in) { return scale(mul(in[0], in[0]), 0.0); };
  CHECK(gradcheck(flat, {counted({5})}).max_error == 0.0);
  const TensorFunction wrong = [](const std::vector<Tensor>& in) {  // a constant with a gradient
    return record("constant", from_values(std::vector<double>(5, 1.0), {5}, DType::f64), {in[0]},
                  [](const Tensor& dy, Grads& grad) { grad.pass(0, dy); });
  };
  CHECK(gradcheck(wrong, {counted({5})}).max_error > 1.0);
  const TensorFunction nan = [](const std::vector<Tensor>& in) { return scale(in[0], NAN); };
  CHECK(std::isinf(gradcheck(nan, {counted({5})}).max_error));
}

TEST_CASE("gradcheck checks the inputs that require a gradient, and leaves the caller's alone") {
  const TensorFunction product = [](const std::vector<Tensor>& in) { return mul(in[0], in[1]); };
  const std::vector<Tensor> inputs = {counted({3}), counted({3})};
  CHECK(gradcheck(product, inputs).compared == 6);
  inputs[1].set_requires_grad(true);
  CHECK(gradcheck(product, inputs).compared == 3);
  CHECK_FALSE(inputs[1].grad().defined());
  CHECK(inputs[1].to_doubles() == counted({3}).to_doubles());
}

TEST_CASE("gradcheck differentiates another function where the backward holds something constant") {
  const TensorFunction held = [](const std::vector<Tensor>& in) { return mul(in[0].detach(), in[0]); };
  const std::vector<Tensor> inputs = {counted({3})};
  CHECK(gradcheck(held, inputs).max_error > 0.4);
  GradcheckOptions options;
  options.numeric = [at = counted({3})](const std::vector<Tensor>& in) { return mul(at, in[0]); };
  CHECK(gradcheck(held, inputs, options).max_error < 1e-8);
}

TEST_CASE("gradcheck wants f64 and something to differentiate") {
  const TensorFunction f = [](const std::vector<Tensor>& in) { return scale(in[0], 2.0); };
  CHECK_THROWS_WITH_AS(gradcheck(f, {converted(counted({3}), DType::f32)}),
                       "gradcheck: input 0: expected f64, got f32 [3]", ShapeError);
  const TensorFunction narrow = [](const std::vector<Tensor>& in) { return cast(in[0], DType::f32); };
  CHECK_THROWS_WITH_AS(gradcheck(narrow, {counted({3})}), "gradcheck: result: expected f64, got f32 [3]", ShapeError);
  const TensorFunction constant = [](const std::vector<Tensor>&) { return counted({3}); };
  CHECK_THROWS_WITH_AS(gradcheck(constant, {counted({3})}),
                       "gradcheck: result: expected one that depends on an input that requires a gradient", Error);
}

}  // namespace
}  // namespace osteon::test
