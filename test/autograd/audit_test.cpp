#include "autograd/audit.hpp"

#include <doctest/doctest.h>
#include <set>

#include "backends/memory.hpp"
#include "test/op_cases.hpp"

namespace osteon::test {
namespace {

std::int64_t contract_bytes(const OpCase& op_case, const std::vector<Tensor>& inputs, DType compute) {
  std::int64_t bytes =
      op_case.saves->elements * size_of(compute) + op_case.saves->wide_elements * size_of(accumulator(compute));
  for (const std::size_t i : op_case.saves->inputs)
    if (op_case.inputs[i].role == Role::activation || op_case.inputs[i].role == Role::ids)
      bytes += inputs[i].bytes();  // parameters are there anyway
  return bytes;
}

TEST_CASE("every op saves what its contract says, to the byte") {
  for (const CaseDTypes dtypes : {CaseDTypes{DType::f32, DType::f32}, CaseDTypes{DType::bf16, DType::f32}})
    for (const OpCase& op_case : op_cases()) {
      if (!op_case.saves)
        continue;
      CAPTURE(op_case.variant);
      const std::vector<Tensor> inputs = make_inputs(op_case, dtypes);
      const SavedAudit audit;
      const Tensor y = op_case.f(inputs);
      CHECK(audit.bytes() == contract_bytes(op_case, inputs, dtypes.compute));
    }
}

TEST_CASE("what stays alive for the backward is what the audit lists") {
  for (const OpCase& op_case : op_cases()) {
    if (!op_case.saves)
      continue;
    CAPTURE(op_case.variant);
    const MemoryUse before = memory_report(default_device()).live;
    std::vector<Tensor> inputs = make_inputs(op_case, {DType::f32, DType::f32});
    std::int64_t expected = contract_bytes(op_case, inputs, DType::f32);
    for (const std::size_t i : op_case.saves->inputs)
      expected -= op_case.inputs[i].role == Role::ids ? inputs[i].bytes() : 0;
    const Tensor y = op_case.f(inputs);
    inputs.clear();
    if (op_case.op != "attention" && op_case.op != "head_normalize")  // their output is among what they save
      expected += y.bytes();
    CHECK(memory_report(default_device()).live[Category::activation] - before[Category::activation] == expected);
  }
}

TEST_CASE("an op on inputs that do not train saves nothing") {
  std::set<std::string> seen;
  for (OpCase op_case : op_cases()) {
    if (!seen.insert(op_case.op).second)
      continue;
    CAPTURE(op_case.variant);
    for (CaseInput& input : op_case.inputs)
      input.trainable = false;
    const std::vector<Tensor> inputs = make_inputs(op_case, {DType::f32, DType::f32});
    const SavedAudit audit;
    const Tensor y = op_case.f(inputs);
    CHECK(audit.records().empty());
    CHECK_FALSE(y.requires_grad());
  }
  CHECK(seen.size() >= 20);
}

TEST_CASE("the audit counts a storage once, however many ops keep it, and says who") {
  const Tensor x = from_values(std::vector<double>(6, 0.5), {2, 3}, DType::f32).set_requires_grad(true);
  const auto trainable = [](const Shape& shape) {
    return from_values(std::vector<double>(static_cast<std::size_t>(shape.numel()), 0.1), shape, DType::f32,
                       default_device(), Category::weights)
        .set_requires_grad(true);
  };
  const Tensor hidden = scale(x, 2.0);
  const SavedAudit audit;
  const Tensor q = linear(hidden, trainable({4, 3})), k = linear(reshape(hidden, {2, 1, 3}), trainable({5, 3}));
  REQUIRE(audit.records().size() == 2);
  CHECK(audit.bytes() == 24);
  CHECK(audit.records()[0].op == "linear");
  CHECK(audit.records()[0].name == "x");
  CHECK(audit.records()[0].shape == Shape{2, 3});
  CHECK(audit.records()[0].dtype == DType::f32);
  CHECK(audit.records()[0].first);
  CHECK(audit.records()[1].shape == Shape{2, 1, 3});
  CHECK_FALSE(audit.records()[1].first);
  {
    const SavedAudit inner;  // only the innermost lists
    mul(hidden, hidden);
    CHECK(inner.bytes() == 24);
    CHECK(inner.records().size() == 2);
  }
  CHECK(audit.records().size() == 2);
  mul(hidden, hidden);
  CHECK(audit.records().size() == 4);
  const NoGrad no_grad;
  linear(hidden, trainable({4, 3}));
  CHECK(audit.records().size() == 4);
}

}  // namespace
}  // namespace osteon::test
