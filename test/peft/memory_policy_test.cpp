#include <doctest/doctest.h>

#include "backends/memory.hpp"
#include "test/peft/tiny_model.hpp"

namespace osteon::test {
namespace {

/// Loss and every gradient of a step, and how much it kept alive for its backward.
struct Step {
  double loss = 0;
  std::vector<std::pair<std::string, Values>> gradients;
  std::int64_t kept = 0;
};

Step step_of(const std::string& method, DType dtype, nn::MemoryPolicy policy, std::int64_t checkpoint_layers = 0) {
  const auto model = tiny_model(dtype);
  peft::PeftModel adapted(*model);
  peft::AdapterConfig config = tiny_adapter(method);
  config.dropout = method.starts_with("bat") ? 0.0 : 0.3;  // the masks are drawn again
  peft::ModelAdapter& adapter = adapted.add(config);
  disturb(adapter, 3);
  model->set_memory_policy(policy, checkpoint_layers);
  random_state() = {RandomKey{7, 1}, 0};
  std::vector<std::int32_t> targets;
  for (std::int32_t i = 0; i < 12; ++i)
    targets.push_back((i * 5 + 1) % 24);
  const auto live = [] { return memory_report(default_device()).live[Category::activation]; };
  const std::int64_t before = live();
  const Tensor loss = model->loss(tiny_input(), from_ids(targets, {2, 6}), 12.0);
  Step step{loss.item(), {}, live() - before};
  loss.backward();
  model->finish_gradients();
  for (const auto& parameter : adapted.trainable_parameters())
    step.gradients.emplace_back(parameter.name, parameter.tensor.grad().to_doubles());
  return step;
}

TEST_CASE("no memory policy changes a bit of a step, whatever the method, and each keeps less than the one before") {
  for (const std::string& method : training_methods())
    for (const DType dtype : {DType::f32, DType::bf16}) {
      CAPTURE(method);
      CAPTURE(dtype);
      const Step save = step_of(method, dtype, nn::MemoryPolicy::save);
      const Step cheap = step_of(method, dtype, nn::MemoryPolicy::recompute_cheap);
      const Step one = step_of(method, dtype, nn::MemoryPolicy::recompute_cheap, 1);
      const Step blocks = step_of(method, dtype, nn::MemoryPolicy::checkpoint);
      CHECK_FALSE(save.gradients.empty());
      CHECK(cheap.loss == save.loss);
      CHECK(cheap.gradients == save.gradients);
      CHECK(one.loss == save.loss);
      CHECK(one.gradients == save.gradients);
      CHECK(blocks.loss == save.loss);
      CHECK(blocks.gradients == save.gradients);
      const bool keeps_inputs = method != "lora_fa" && method != "bitfit";  // else there is nothing cheap to leave out
      CHECK((keeps_inputs ? cheap.kept < save.kept : cheap.kept == save.kept));
      CHECK(one.kept < cheap.kept);
      CHECK(blocks.kept < one.kept);
      CHECK(blocks.kept < save.kept / 2);
    }
}

}  // namespace
}  // namespace osteon::test
