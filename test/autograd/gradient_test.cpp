#include <algorithm>
#include <cmath>
#include <doctest/doctest.h>

#include "test/backends/threads.hpp"
#include "test/op_cases.hpp"

namespace osteon::test {
namespace {

// On a GPU too slow where it is emulated; there, what is checked is that it computes what the CPU does.
TEST_CASE("every op's backward agrees with central differences" * doctest::skip(kHasCuda)) {
  CHECK(op_cases().size() >= 1000);
  with_threads(1, [] {  // small sizes: waking threads costs more than the work
    for (const OpCase& op_case : op_cases()) {
      CAPTURE(op_case.variant);
      const std::vector<Tensor> inputs = make_inputs(op_case, {});
      GradcheckOptions options;
      if (op_case.numeric)
        options.numeric = op_case.numeric(inputs);
      const GradReport report = gradcheck(op_case.f, inputs, options);
      CHECK_MESSAGE(report.max_error <= 1e-6, report.max_error, " ", report.worst);
      CHECK(report.compared > 0);
    }
  });
}

/// The result and all gradients, in order; those of inputs that do not train are empty.
std::vector<Values> results(const OpCase& op_case, CaseDTypes dtypes, bool leaves, Device device) {
  const std::vector<Tensor> inputs = make_inputs(op_case, dtypes, 7, device);
  std::vector<Tensor> given;
  for (std::size_t i = 0; i < inputs.size();
       ++i)  // activations are rarely leaves: their gradients have their own dtype
    given.push_back(!leaves && op_case.inputs[i].role == Role::activation ? reshape(inputs[i], inputs[i].shape())
                                                                          : inputs[i]);
  const Tensor y = op_case.f(given);
  Values dy(static_cast<std::size_t>(y.numel()));
  for (std::size_t i = 0; i < dy.size(); ++i)
    dy[i] = std::round(256 * static_cast<double>(uniform_from(philox({3, 9}, i)[0])) - 128) / 128;
  y.backward(from_values(dy, y.shape(), y.dtype(), device));
  std::vector<Values> all = {y.to_doubles()};
  for (const Tensor& input : inputs)
    all.push_back(input.grad().defined() ? input.grad().to_doubles() : Values{});
  return all;
}

/// Largest difference relative to the largest expected element, but at least to `floor`: inputs are about 1, and of a
/// sum that cancels the parts count.
double relative_error(const Values& got, const Values& expected, double floor) {
  double largest = floor, error = 0;
  for (std::size_t i = 0; i < expected.size(); ++i) {
    largest = std::max(largest, std::abs(expected[i]));
    const double difference = std::abs(got[i] - expected[i]);
    if (!(difference <= error))
      error = difference;
  }
  return error / largest;
}

/// Compares with what the CPU computes in f64.
void compare_with_f64(CaseDTypes dtypes, bool leaves, double tolerance, double floor) {
  with_threads(1, [&] {
    for (const OpCase& op_case : op_cases()) {
      CAPTURE(op_case.variant);
      const std::vector<Values> expected = results(op_case, {}, leaves, Device::cpu),
                                got = results(op_case, dtypes, leaves, default_device());
      REQUIRE(got.size() == expected.size());
      for (std::size_t i = 0; i < got.size(); ++i) {
        CAPTURE(i);  // 0: the result; else the gradient of input i - 1
        REQUIRE(got[i].size() == expected[i].size());
        CHECK(relative_error(got[i], expected[i], floor) <= tolerance);
      }
    }
  });
}

// Tolerances: largest errors found are 7e-6 in f32 and 2^-5.4 in bf16 (a few roundings of 2^-9 and their sums).
TEST_CASE("f64 results and gradients are the same on each device") { compare_with_f64({}, true, 1e-12, 1); }
TEST_CASE("f32 results and gradients agree with f64") { compare_with_f64({DType::f32, DType::f32}, true, 2e-5, 0.01); }
TEST_CASE("bf16 results and gradients agree with f64") {
  compare_with_f64({DType::bf16, DType::f32}, false, 0x1p-5, 0.25);
}
TEST_CASE("so they do with bf16 adapters") { compare_with_f64({DType::bf16, DType::bf16}, false, 0x1p-5, 0.25); }
TEST_CASE("and with bf16 leaves, whose gradients are f32") {
  compare_with_f64({DType::bf16, DType::bf16}, true, 0x1p-5, 0.25);
}

}  // namespace
}  // namespace osteon::test
