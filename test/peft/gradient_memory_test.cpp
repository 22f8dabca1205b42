#include <doctest/doctest.h>

#include "backends/memory.hpp"
#include "nn/optim/adamw.hpp"
#include "test/peft/tiny_model.hpp"

namespace osteon::test {
namespace {

TEST_CASE("only trained parameters have gradients, and a step reuses the memory of the one before") {
  std::vector<std::int32_t> targets;
  for (std::int32_t i = 0; i < 12; ++i)
    targets.push_back((i * 5 + 1) % 24);
  for (const std::string& method : adapting_methods())
    for (const nn::MemoryPolicy policy : nn::kMemoryPolicies) {
      CAPTURE(method);
      CAPTURE(name_of(policy));
      const auto model = tiny_model();
      model->set_memory_policy(policy);
      peft::PeftModel adapted(*model);
      adapted.add(tiny_adapter(method));
      NamedTensors parameters;
      std::int64_t bytes = 0;
      for (const auto& parameter : adapted.trainable_parameters()) {
        parameters.emplace_back(parameter.name, parameter.tensor);
        bytes += parameter.tensor.numel() * 4;
      }
      nn::AdamW optimizer({{parameters, 1.0, 0.0}});
      const std::int64_t before = memory_report(default_device()).live[Category::gradient];
      for (int step = 0; step < 4; ++step) {
        reset_memory_peak(default_device());
        model->loss(tiny_input(), from_ids(targets, {2, 6}), 12.0).backward();
        for (const auto& [name, parameter] : model->parameters())
          CHECK_FALSE(parameter.grad().defined());
        for (const auto& [name, parameter] : parameters)
          CHECK(parameter.grad().defined());
        optimizer.step(1e-3);
        optimizer.clear_gradients();
        const MemoryReport report = memory_report(default_device());
        CHECK(report.peak_each[Category::gradient] - before == bytes);
        CHECK(report.live[Category::gradient] == before);
        CHECK((step < 2 || report.system_allocations == 0));
      }
    }
}

}  // namespace
}  // namespace osteon::test
