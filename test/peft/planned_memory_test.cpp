#include <doctest/doctest.h>

#include "backends/gpu_workspace.hpp"
#include "nn/io/pretrained.hpp"
#include "nn/optim/adamw.hpp"
#include "test/backends/threads.hpp"
#include "test/golden_case.hpp"
#include "test/peft/tiny_model.hpp"

namespace osteon::test {
namespace {

/// Large enough that kernels split their sums: Bat's over features, attention's among the heads that read a kv head.
nn::LlamaConfig model_config() {
  nn::LlamaConfig config = tiny_llama_config();
  config.hidden_size = 32;
  config.intermediate_size = 320;
  config.num_attention_heads = 8;
  config.num_key_value_heads = 2;
  config.head_dim = 4;
  config.attention_bias = true;
  return config;
}

std::unique_ptr<nn::LanguageModel> llama(DType dtype, Device device) {
  auto model = std::make_unique<nn::Llama>(model_config(), dtype, device);
  model->initialize(5);
  return model;
}
/// A recurrent one, `version` "rwkv6" or "rwkv7".
std::unique_ptr<nn::LanguageModel> rwkv(const char* version, DType dtype, Device device) {
  return nn::load_rwkv(golden("rwkv") / version / "model.safetensors", dtype, device);
}

/// What two steps of make(dtype, device) take there: gradients and moments exist from the first one on.
template <class Make>
MemoryReport steps_on(Device device, const Make& make, const peft::AdapterConfig& config, DType dtype) {
  release_idle_memory(device);
  const MemoryUse before = memory_report(device).live;
  MemoryReport report;
  {
    const std::unique_ptr<nn::LanguageModel> model = make(dtype, device);
    peft::PeftModel adapted(*model);
    adapted.add(config);
    NamedTensors parameters;
    for (const peft::TrainableParameter& parameter : adapted.trainable_parameters())
      parameters.emplace_back(parameter.name, parameter.tensor);
    nn::AdamW optimizer({{parameters, 1.0, 0.0}});
    std::vector<std::int32_t> ids, targets;
    for (std::int32_t i = 0; i < 12; ++i) {
      ids.push_back(i * 7 % 24);
      targets.push_back((i * 5 + 1) % 24);
    }
    release_idle_memory(device);
    reset_memory_peak(device);
    for (int step = 0; step < 2; ++step) {
      model->loss(nn::token_input(ids, 2, 6, device), from_ids(targets, {2, 6}, device), 12.0).backward();
      model->finish_gradients();
      const double norm = nn::global_gradient_norm(parameters);
      adapted.before_optimizer_step();
      optimizer.step(1e-3, nn::clip_factor(norm, 1.0));
      optimizer.clear_gradients();
    }
    report = memory_report(device);
  }
  for (std::size_t i = 0; i < before.bytes.size(); ++i)
    for (MemoryUse* use : {&report.live, &report.peak, &report.peak_each})
      use->bytes[i] -= before.bytes[i];
  return report;
}

/// A plan's bytes are those that the device takes, category by category.
template <class Make>
void check_plan(const Make& make, const peft::AdapterConfig& config, DType dtype) {
  CAPTURE(config.method);
  CAPTURE(dtype);
  const MemoryReport planned = steps_on(Device::meta, make, config, dtype),
                     taken = steps_on(default_device(), make, config, dtype);
  CHECK(taken.peak.total() > 0);
  for (const Category category : kCategories) {
    CAPTURE(name_of(category));
    CHECK(planned.live[category] == taken.live[category]);
    CHECK(planned.peak[category] == taken.peak[category]);
    CHECK(planned.peak_each[category] == taken.peak_each[category]);
  }
}

TEST_CASE("a step planned on meta takes the bytes of the device it stands for, category by category, for each method") {
  const Device before = planned_device();
  const std::int64_t bytes_before = kernels::product_workspace();
  set_planned_device(default_device());
  with_threads(1, [&] {
    // Without room for products the other kernels' working memory is the largest.
    for (const std::int64_t bytes : {bytes_before, std::int64_t{0}})
      for (const std::string& method : training_methods())
        for (const DType dtype : {DType::f32, DType::bf16}) {
          kernels::set_product_workspace(bytes);
          CAPTURE(bytes);
          check_plan(llama, tiny_adapter(method), dtype);
        }
  });
  kernels::set_product_workspace(bytes_before);
  set_planned_device(before);
}

TEST_CASE("so does a step of a recurrent model") {
  const Device before = planned_device();
  const std::int64_t bytes_before = kernels::product_workspace();
  set_planned_device(default_device());
  kernels::set_product_workspace(0);  // without room for products the recurrence's working memory is the largest
  with_threads(1, [&] {
    for (const char* version : {"rwkv6", "rwkv7"})
      for (const char* method : {"lora", "bone", "full", "state"})
        for (const DType dtype : {DType::f32, DType::bf16}) {
          CAPTURE(version);
          peft::AdapterConfig config = tiny_adapter(method);
          config.target_modules = {"all-linear"};
          config.target_is_pattern = true;
          check_plan([&](DType type, Device device) { return rwkv(version, type, device); }, config, dtype);
        }
  });
  kernels::set_product_workspace(bytes_before);
  set_planned_device(before);
}

TEST_CASE("a GPU's working memory is planned where there is none") {
  const Device before = planned_device();
  const auto workspace_on = [](Device device, const char* method) {
    set_planned_device(device);
    return steps_on(Device::meta, llama, tiny_adapter(method), DType::f32).peak_each;
  };
  for (const char* method : {"lora", "bone", "full"}) {
    CAPTURE(method);
    const MemoryUse gpu = workspace_on(Device::cuda, method), cpu = workspace_on(Device::cpu, method);
    CHECK(gpu[Category::workspace] >= kernels::product_workspace());
    for (const Category category : kCategories)
      if (category != Category::workspace) {
        CAPTURE(name_of(category));
        CHECK(gpu[category] == cpu[category]);
      }
  }
  set_planned_device(before);
}

TEST_CASE("the working memory of products is no negative number") {
  CHECK_THROWS_WITH_AS(kernels::set_product_workspace(-1), "product workspace: expected 0 bytes or more, got -1",
                       ConfigError);
}

}  // namespace
}  // namespace osteon::test
