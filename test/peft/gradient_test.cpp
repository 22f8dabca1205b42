#include <doctest/doctest.h>

#include "autograd/gradcheck.hpp"
#include "autograd/node.hpp"
#include "autograd/ops.hpp"
#include "autograd/ops/dora.hpp"
#include "test/backends/threads.hpp"
#include "test/peft/adapter_case.hpp"

namespace osteon::test {
namespace {

constexpr RandomKey kDropoutKey = {17, 4};

/// Everything of an adapted linear that may train, the bias included.
std::vector<Tensor> trained(const AdaptedLinear& linear) {
  std::vector<Tensor> all;
  for (const auto& [name, tensor] : linear.adapter->parameters())
    if (tensor.requires_grad())
      all.push_back(tensor);
  if (linear.base.bias.defined())
    all.push_back(linear.base.bias.set_requires_grad(true));
  return all;
}

/// The forward as one op on {x, what trains...}: their values are copied into the adapter's own parameters, and its
/// backward hands on the gradients that these get. Dropout draws the same mask each time.
Tensor forward_of(const AdaptedLinear& linear, const std::vector<Tensor>& inputs) {
  std::vector<Tensor> leaves = {converted(inputs[0], inputs[0].dtype()).set_requires_grad(true)};
  for (const Tensor& own : trained(linear)) {
    set_values(own, inputs[leaves.size()].to_doubles());
    own.clear_grad();
    leaves.push_back(own);
  }
  const EnableGrad recording;
  random_state() = {kDropoutKey, 0};
  const Tensor y = linear(reshape(leaves[0], inputs[0].shape()));
  const auto at = [&](std::size_t i) { return i < inputs.size() ? inputs[i] : Tensor{}; };
  return record("adapter", y.detach(), {at(0), at(1), at(2), at(3), at(4)}, [y, leaves](const Tensor& dy, Grads& grad) {
    y.backward(dy);
    for (std::size_t i = 0; i < leaves.size(); ++i)
      if (leaves[i].grad().defined())
        grad.pass(i, leaves[i].grad());
  });
}

/// DoRA with its row norms held at the present weights, as its backward takes them to be.
TensorFunction dora_with_fixed_norm(const AdaptedLinear& linear) {
  const double scaling = 2.0;
  const Tensor a = linear.parameter("lora_A.weight"), b = linear.parameter("lora_B.weight");
  const Values weight = linear.base.weight.to_doubles(), av = a.to_doubles(), bv = b.to_doubles();
  const std::int64_t out = b.dim(0), in = a.dim(1), rank = a.dim(0);
  Values inverse;
  for (std::int64_t o = 0; o < out; ++o) {
    double squares = 0;
    for (std::int64_t i = 0; i < in; ++i) {
      double v = weight[static_cast<std::size_t>(o * in + i)];
      for (std::int64_t j = 0; j < rank; ++j)
        v += scaling * bv[static_cast<std::size_t>(o * rank + j)] * av[static_cast<std::size_t>(j * in + i)];
      squares += v * v;
    }
    inverse.push_back(1 / std::sqrt(squares));
  }
  const Tensor inverse_norm = from_values(inverse, {out}, DType::f64);
  const double p = linear.config.dropout;
  return [&linear, inverse_norm, p, scaling](const std::vector<Tensor>& at) {
    const Tensor bias = at.size() > 4 ? at[4] : Tensor{};
    const Tensor ratio = mul(at[3], inverse_norm), xd = p > 0 ? dropout(at[0], p, kDropoutKey.split(0)) : at[0];
    const Tensor h = scale(osteon::linear(osteon::linear(xd, at[1]), at[2]), scaling);
    const Tensor base = osteon::linear(at[0], linear.base.weight, bias),
                 dropped = osteon::linear(xd, linear.base.weight);
    // y = base(x) + (m/c - 1) (xd W^T) + (m/c) s h B^T
    return add(base, add(scale_columns(add(dropped, h), ratio), scale(dropped, -1.0)));
  };
}

TEST_CASE("every adapter's backward agrees with central differences" *
          doctest::skip(kHasCuda)) {  // slow where emulated
  const std::vector<AdapterCase> cases = adapter_cases();
  CHECK(cases.size() >= 500);
  with_threads(1, [&] {  // small sizes: waking threads costs more than the work
    for (const AdapterCase& one : cases) {
      CAPTURE(one.title());
      const AdaptedLinear linear(one, DType::f64);
      std::vector<Tensor> inputs = {grid_tensor(one.x, DType::f64, one.seed + 50).set_requires_grad(true)};
      for (const Tensor& own : trained(linear))
        inputs.push_back(converted(own, own.dtype()).set_requires_grad(true));
      GradcheckOptions options;
      if (one.method == "dora")
        options.numeric = dora_with_fixed_norm(linear);
      const GradReport report =
          gradcheck([&](const std::vector<Tensor>& in) { return forward_of(linear, in); }, inputs, options);
      CHECK_MESSAGE(report.max_error <= 1e-6, report.max_error, " ", report.worst);
      CHECK(report.compared >= inputs[0].numel() + static_cast<std::int64_t>(inputs.size()) - 1);
    }
  });
}

/// The output, dx, and the gradients of everything that trains.
std::vector<Values> results(const AdapterCase& one, DType dtype, DType of_adapter) {
  const AdaptedLinear linear(one, dtype, false, of_adapter);
  const std::vector<Tensor> own = trained(linear);
  const Tensor x = grid_tensor(one.x, dtype, one.seed + 50).set_requires_grad(true);
  random_state() = {kDropoutKey, 0};
  const Tensor y = linear(x);
  y.backward(grid_tensor(y.shape(), y.dtype(), one.seed + 60));
  std::vector<Values> all = {y.to_doubles(), x.grad().to_doubles()};
  for (const Tensor& parameter : own)
    all.push_back(parameter.grad().to_doubles());
  return all;
}

void compare_with_f64(DType dtype, DType of_adapter, double tolerance, double floor) {
  with_threads(1, [&] {
    for (const AdapterCase& one : adapter_cases()) {
      CAPTURE(one.title());
      const std::vector<Values> expected = results(one, DType::f64, DType::f64), got = results(one, dtype, of_adapter);
      REQUIRE(got.size() == expected.size());
      for (std::size_t i = 0; i < got.size(); ++i) {
        CAPTURE(i);  // 0: the result; 1: dx; else the gradient of parameter i - 2
        CHECK(largest_error(got[i], expected[i], floor) <= tolerance);
      }
    }
  });
}

// Tolerances as for single ops; DoRA with dropout adds three rounded parts, whose sum may cancel.
TEST_CASE("adapters in f32 agree with f64") { compare_with_f64(DType::f32, DType::f32, 1e-5, 0.01); }
TEST_CASE("bf16 adapters on an f32 base agree with f64") { compare_with_f64(DType::f32, DType::bf16, 0.04, 0.25); }
TEST_CASE("f32 adapters on a bf16 base agree with f64") { compare_with_f64(DType::bf16, DType::f32, 0.04, 0.25); }
TEST_CASE("bf16 adapters on a bf16 base agree with f64") { compare_with_f64(DType::bf16, DType::bf16, 0.04, 0.25); }

}  // namespace
}  // namespace osteon::test
