#include <doctest/doctest.h>

#include "backends/memory.hpp"
#include "test/nn/tiny_rwkv.hpp"
#include "test/peft/tiny_model.hpp"

namespace osteon::test {
namespace {

constexpr std::int64_t kBatch = 2, kLength = 20, kVocab = 24, kLayers = 3;

Tensor row_ids(std::int32_t factor) {
  std::vector<std::int32_t> ids;
  for (std::int32_t i = 0; i < kBatch * kLength; ++i)
    ids.push_back((i * factor + 1) % static_cast<std::int32_t>(kVocab));
  return from_ids(ids, {kBatch, kLength});
}

/// Losses and every gradient of a step over `pieces` that carry the state, and how much its forward passes kept.
struct Step {
  Values losses, states;
  std::vector<std::pair<std::string, Values>> gradients;
  std::int64_t kept = 0;
};

std::vector<std::string> rwkv_methods() {
  std::vector<std::string> names = training_methods();
  names.emplace_back("state");
  return names;
}

struct Setting {
  nn::MemoryPolicy policy = nn::MemoryPolicy::save;
  std::int64_t checkpoint_layers = 0;
};

Step step_of(int version, const std::string& method, DType dtype, int pieces, const Setting& setting) {
  const auto model = tiny_rwkv(version, kVocab, kLayers, dtype);
  peft::PeftModel adapted(*model);
  peft::AdapterConfig config = tiny_adapter(method);
  config.target_modules = {"all-linear"};
  config.target_is_pattern = true;
  config.dropout = method.starts_with("bat") ? 0.0 : 0.3;  // the masks are drawn again
  disturb(adapted.add(config), 3);
  model->set_memory_policy(setting.policy, setting.checkpoint_layers);
  model->set_l2_wrap(true);
  random_state() = {RandomKey{7, 1}, 0};
  const auto live = [] { return memory_report(default_device()).live[Category::activation]; };
  const Tensor ids = row_ids(7), targets = row_ids(5);
  nn::RwkvState state;
  Step step;
  for (int piece = 0; piece < pieces; ++piece) {
    const std::int64_t before = live();
    const Tensor loss = model->loss(ids, targets, static_cast<double>(kBatch * kLength), pieces > 1 ? &state : nullptr);
    step.losses.push_back(loss.item());
    step.kept += live() - before;
    loss.backward();
  }
  for (const nn::RwkvLayerState& layer : state)
    for (const Tensor& part : {layer.time_mix_row, layer.channel_mix_row, layer.wkv}) {
      const Values values = part.to_doubles();
      step.states.insert(step.states.end(), values.begin(), values.end());
    }
  for (const auto& parameter : adapted.trainable_parameters())
    step.gradients.emplace_back(parameter.name, parameter.tensor.grad().to_doubles());
  return step;
}

TEST_CASE("no memory policy changes a bit of a step of RWKV, whatever the method, and checkpointed layers keep less") {
  for (const int version : {6, 7})
    for (const std::string& method : rwkv_methods())
      for (const DType dtype : {DType::f32, DType::bf16}) {
        CAPTURE(version);
        CAPTURE(method);
        CAPTURE(dtype);
        const auto step = [&](const Setting& setting) { return step_of(version, method, dtype, 1, setting); };
        const Step save = step({});
        CHECK_FALSE(save.gradients.empty());
        std::int64_t kept = save.kept;
        for (const Setting& setting :
             {Setting{nn::MemoryPolicy::recompute_cheap, 0}, Setting{nn::MemoryPolicy::recompute_cheap, 1},
              Setting{nn::MemoryPolicy::recompute_cheap, 2}, Setting{nn::MemoryPolicy::checkpoint, 0}}) {
          CAPTURE(name_of(setting.policy));
          CAPTURE(setting.checkpoint_layers);
          const Step other = step(setting);
          CHECK(other.losses == save.losses);
          CHECK(other.gradients == save.gradients);
          CHECK(other.kept < kept);
          kept = other.kept;
        }
        CHECK(kept < save.kept / 2);
      }
}

TEST_CASE("checkpointed layers of RWKV carry the state from piece to piece as layers that keep all do") {
  for (const int version : {6, 7})
    for (const char* method : {"lora", "full"}) {
      CAPTURE(version);
      CAPTURE(method);
      const Step save = step_of(version, method, DType::bf16, 3, {});
      CHECK(save.losses[0] != save.losses[1]);  // the state says something
      for (const std::int64_t layers : {1, 2, 3}) {
        CAPTURE(layers);
        const Step other = step_of(version, method, DType::bf16, 3, {nn::MemoryPolicy::save, layers});
        CHECK(other.losses == save.losses);
        CHECK(other.states == save.states);
        CHECK(other.gradients == save.gradients);
        CHECK(other.kept < save.kept);
      }
    }
}

}  // namespace
}  // namespace osteon::test
