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

TEST_CASE("a bias is part of the sum that is rounded to bf16; cuBLAS rounds before it, too") {
  const auto values = [](std::int64_t count, std::uint32_t seed) {
    Values all;
    for (std::int64_t i = 0; i < count; ++i)
      all.push_back(static_cast<double>((seed = seed * 1664525 + 1013904223) >> 8) / double{1 << 23} - 1);
    return all;
  };
  const std::int64_t tokens = 33, in = 16, out = 64, rank = 8;
  const Tensor x = from_values(values(tokens * in, 1), {tokens, in}, DType::bf16);
  const Tensor weight = from_values(values(out * in, 2), {out, in}, DType::bf16);
  const Tensor bias = from_values(values(out, 3), {out}, DType::bf16);
  const Tensor blocks = from_values(Values(out * rank, 0.0), {out / rank, rank, rank}, DType::f32);
  const auto exact = [](const Tensor& tensor) { return from_values(tensor.to_doubles(), tensor.shape(), DType::f64); };
  const Tensor nothing = from_values(Values(tokens * in, 0.0), {tokens, in}, DType::f64);
  const Tensor product = linear(exact(x), exact(weight)), rows_of_bias = linear(nothing, exact(weight), exact(bias));
  const bool twice = default_device() == Device::cuda;
  const Tensor expected = add(twice ? exact(converted(product, DType::bf16)) : product, rows_of_bias);
  for (const Tensor& y : {linear(x, weight, bias), bat_linear(x, weight, bias, blocks)}) {
    const Values got = y.to_doubles(), once = converted(expected, DType::bf16).to_doubles();
    std::int64_t others = 0;  // where the sum in f32 fell on the other side of a tie
    for (std::size_t i = 0; i < got.size(); ++i)
      others += got[i] != once[i];
    CHECK(others <= 2);
  }
}

}  // namespace
}  // namespace osteon::test
