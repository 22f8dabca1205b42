#include <doctest/doctest.h>

#include "backends/flops.hpp"
#include "test/backends/threads.hpp"
#include "test/op_cases.hpp"

namespace osteon::test {
namespace {

struct Account {
  std::vector<Shape> shapes;
  MemoryReport forward, backward, after;
};

/// Runs a case with its backward and notes, per device, what lives when.
Account run(const OpCase& op_case, CaseDTypes dtypes, Device device) {
  Account account;
  const std::vector<Tensor> inputs = make_inputs(op_case, dtypes, 7, device);
  reset_memory_peak(device);
  {
    std::vector<Tensor> given;  // activations are rarely leaves
    for (std::size_t i = 0; i < inputs.size(); ++i)
      given.push_back(op_case.inputs[i].role == Role::activation ? reshape(inputs[i], inputs[i].shape()) : inputs[i]);
    const Tensor y = op_case.f(given);
    account.shapes.push_back(y.shape());
    account.forward = memory_report(device);
    y.backward(zeros(y.shape(), y.dtype(), device));
    account.backward = memory_report(device);
  }
  account.after = memory_report(device);
  for (const Tensor& input : inputs) {
    const Tensor gradient = input.grad();
    account.shapes.push_back(gradient.defined() ? gradient.shape() : Shape{});
  }
  return account;
}

void compare(const MemoryReport& meta, const MemoryReport& cpu, const MemoryReport& cpu_base) {
  for (const Category category : kCategories) {
    CAPTURE(name_of(category));
    CHECK(meta.live[category] == cpu.live[category] - cpu_base.live[category]);
    CHECK(meta.peak[category] == cpu.peak[category] - cpu_base.live[category]);
    CHECK(meta.peak_each[category] == cpu.peak_each[category] - cpu_base.live[category]);
  }
}

/// From where products kept nothing: the scratch that they ask for is part of the account.
Account run_afresh(const OpCase& op_case, CaseDTypes dtypes, Device device) {
  release_idle_memory(device);
  reset_flop_count(device);
  return run(op_case, dtypes, device);
}

TEST_CASE(
    "every op has on the meta device the shapes, FLOPs, and live and peak bytes by category that it has on the one it "
    "stands for") {
  REQUIRE(planned_device() == default_device());
  release_idle_memory(Device::meta);
  const MemoryReport empty_meta = memory_report(Device::meta);
  REQUIRE(empty_meta.live.total() == 0);
  with_threads(1, [] {
    for (const auto* list : {&op_cases(), &large_op_cases()})
      for (const CaseDTypes dtypes : {CaseDTypes{DType::f32, DType::f32}, CaseDTypes{DType::bf16, DType::f32}})
        for (const OpCase& op_case : *list) {
          CAPTURE(op_case.variant);
          release_idle_memory(default_device());
          const MemoryReport base = memory_report(default_device());
          const Account cpu = run_afresh(op_case, dtypes, default_device()),
                        meta = run_afresh(op_case, dtypes, Device::meta);
          CHECK(flop_count(Device::meta) == flop_count(default_device()));
          CHECK(meta.shapes == cpu.shapes);
          compare(meta.forward, cpu.forward, base);
          compare(meta.backward, cpu.backward, base);
          compare(meta.after, cpu.after, base);
        }
  });
  release_idle_memory(Device::meta);
  CHECK(memory_report(Device::meta).live.total() == 0);
}

TEST_CASE("a scalar on the meta device is 0 and its elements are zeros") {
  const Tensor x = zeros({2, 3}, DType::f32, Device::meta);
  CHECK(sum(x).item() == 0.0);
  CHECK(x.to_doubles() == std::vector<double>(6, 0.0));
}

}  // namespace
}  // namespace osteon::test
