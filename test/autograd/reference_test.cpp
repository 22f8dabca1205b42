#include <algorithm>
#include <cmath>
#include <doctest/doctest.h>

#include "test/backends/threads.hpp"
#include "test/op_cases.hpp"

namespace osteon::test {
namespace {

/// The largest difference of f's result from the plain loops', relative to its largest element.
double difference(const OpCase& op_case, DType dtype) {
  const std::vector<Tensor> inputs = make_inputs(op_case, {dtype, dtype});
  std::vector<Values> values;
  for (const Tensor& input : inputs)
    values.push_back(input.to_doubles());
  const Values expected = op_case.reference(values), got = op_case.f(inputs).to_doubles();
  REQUIRE(got.size() == expected.size());
  double largest = 1e-3, worst = 0;
  for (std::size_t i = 0; i < got.size(); ++i) {
    largest = std::max(largest, std::abs(expected[i]));
    const double error = std::abs(got[i] - expected[i]);
    if (!(error <= worst))
      worst = error;
  }
  return worst / largest;
}

TEST_CASE("every op computes what its plain loops do") {
  with_threads(1, [] {
    for (const OpCase& op_case : op_cases()) {
      CAPTURE(op_case.variant);
      CHECK(difference(op_case, DType::f64) <= 1e-12);
    }
  });
}

TEST_CASE("so does every op at sizes that threads share") {
  with_threads(2, [] {
    for (const OpCase& op_case : large_op_cases()) {
      CAPTURE(op_case.variant);
      CHECK(difference(op_case, DType::f64) <= 1e-12);
      CHECK(difference(op_case, DType::f32) <= 1e-5);
      CHECK(difference(op_case, DType::bf16) <= 0x1p-6);
    }
  });
}

}  // namespace
}  // namespace osteon::test
