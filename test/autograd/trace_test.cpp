#include "backends/trace.hpp"

#include <doctest/doctest.h>

#include "autograd/audit.hpp"
#include "autograd/checkpoint.hpp"
#include "test/op_cases.hpp"

namespace osteon::test {
namespace {

const TraceEvent* find(const TraceRecorder& recorder, std::string_view name, Phase phase) {
  for (const TraceEvent& event : recorder.events())
    if (event.kind == TraceEvent::Kind::op && event.name == name && event.phase == phase)
      return &event;
  return nullptr;
}

Tensor ones(const Shape& shape, DType dtype) {
  return from_values(Values(static_cast<std::size_t>(shape.numel()), 1.0), shape, dtype);
}

TEST_CASE("every op is in the trace, forward and backward, with what it saved") {
  for (const OpCase& op_case : op_cases()) {
    if (!op_case.saves)
      continue;
    CAPTURE(op_case.variant);
    const std::vector<Tensor> inputs = make_inputs(op_case, {DType::f32, DType::f32});
    reset_flop_count(default_device());
    const SavedAudit audit;
    const TraceRecorder recorder;
    const Tensor y = op_case.f(inputs);
    const TraceEvent* forward = find(recorder, op_case.op, Phase::forward);
    REQUIRE(forward != nullptr);
    CHECK(forward->end > forward->start);
    CHECK(forward->dtype == y.dtype());
    std::int64_t saved = 0;
    for (const SavedRecord& record : audit.records())
      saved += record.op == op_case.op ? record.bytes : 0;
    CHECK(forward->saved_bytes == saved);
    if (!y.requires_grad())
      continue;
    y.backward(ones(y.shape(), y.dtype()));
    REQUIRE(find(recorder, op_case.op, Phase::backward) != nullptr);
    const std::vector<std::ptrdiff_t> parents = enclosing(recorder.events());
    double flops = 0;
    for (std::size_t i = 0; i < parents.size(); ++i)
      flops += parents[i] < 0 ? recorder.events()[i].flops : 0;
    const FlopCount count = flop_count(default_device());
    CHECK(flops == doctest::Approx(count.total(Pass::forward) + count.total(Pass::backward)));
  }
}

TEST_CASE("an op's bytes are those of its products, else of what it reads and writes") {
  const Tensor x = ones({1, 6, 8}, DType::f32).set_requires_grad(true), norm = ones({8}, DType::f32);
  const Tensor table = from_values(Values(80, 1.0), {10, 8}, DType::f32, default_device(), Category::weights);
  const Tensor weight = ones({5, 8}, DType::f32);
  constexpr double kRows = 6 * 8 * 4;  // bytes of x
  const TraceRecorder recorder;
  const auto forward = [&](std::string_view op) { return find(recorder, op, Phase::forward)->bytes; };
  const auto backward = [&](std::string_view op) { return find(recorder, op, Phase::backward)->bytes; };

  embedding(table, from_ids(std::vector<std::int32_t>{1, 2}, {1, 2}));
  CHECK(forward("embedding") == 2 * (2 * 8 * 4));  // of the table the two rows, not all of it
  const Tensor y = rms_norm(x, norm, 1e-5);
  CHECK(forward("rms_norm") == 2 * kRows + 8 * 4);
  reshape(x, {6, 8});
  CHECK(forward("reshape") == 0);
  linear(x, weight);
  CHECK(forward("linear") == kRows + 5 * 8 * 4 + 6 * 5 * 4);

  add(y, y).backward(ones(x.shape(), x.dtype()));
  CHECK(backward("rms_norm") == kRows + (kRows + 6 * 4) + kRows);  // dy; x and rstd; dx
}

TEST_CASE("what a checkpointed region computes again is inside its backward") {
  const Tensor x = ones({2, 3}, DType::f32).set_requires_grad(true);
  const TraceRecorder recorder;
  const Tensor y = checkpoint([](const Tensor& at) { return mul(at, at); }, x);
  CHECK(find(recorder, "mul", Phase::forward) != nullptr);
  CHECK(find(recorder, "checkpoint", Phase::forward)->saved_bytes == x.bytes());
  CHECK(find(recorder, "mul", Phase::recomputed) == nullptr);
  y.backward(ones(x.shape(), x.dtype()));
  const TraceEvent* region = find(recorder, "checkpoint", Phase::backward);
  REQUIRE(region != nullptr);
  for (const Phase phase : {Phase::recomputed, Phase::backward}) {
    const TraceEvent* inner = find(recorder, "mul", phase);
    REQUIRE(inner != nullptr);
    CHECK(inner->start > region->start);
    CHECK(inner->end < region->end);
  }
}

}  // namespace
}  // namespace osteon::test
