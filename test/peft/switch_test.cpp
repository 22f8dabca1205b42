#include <doctest/doctest.h>

#include "nn/optim/adamw.hpp"
#include "test/nn/io_messages.hpp"
#include "test/peft/tiny_model.hpp"

namespace osteon::test {
namespace {

Tensor loss_of(const nn::Llama& model) {
  std::vector<std::int32_t> targets;
  for (std::int32_t i = 0; i < 12; ++i)
    targets.push_back((i * 5 + 1) % 24);
  return model.loss(tiny_input(), from_ids(targets, {2, 6}), 12.0);
}

/// A few steps on what the active adapter trains.
void train(const nn::Llama& model, peft::PeftModel& adapted) {
  NamedTensors parameters;
  for (const auto& parameter : adapted.trainable_parameters())
    parameters.emplace_back(parameter.name, parameter.tensor);
  nn::AdamW optimizer({{parameters, 1.0, 0.0}});
  for (int step = 0; step < 3; ++step) {
    loss_of(model).backward();
    model.finish_gradients();
    optimizer.step(0.02);
    optimizer.clear_gradients();
  }
}

TEST_CASE("several adapters on one model are switched by name, each as if it were alone") {
  const std::vector<std::string> several = {"lora", "dora", "bone", "bat", "miss_mini"};
  const auto model = tiny_model();
  const Values plain = logits_of(*model);
  peft::PeftModel adapted(*model);
  std::vector<Values> expected;
  for (const std::string& method : several) {
    const auto alone = tiny_model();
    peft::PeftModel one(*alone);
    disturb(one.add(tiny_adapter(method)), 3);
    expected.push_back(logits_of(*alone));
    disturb(adapted.add(tiny_adapter(method), method), 3);
    CHECK(adapted.active() == method);
  }
  for (const std::size_t i : {2UL, 0UL, 4UL, 1UL, 3UL, 0UL}) {
    adapted.activate(several[i]);
    CHECK(logits_of(*model) == expected[i]);
    for (const auto& parameter : adapted.trainable_parameters())
      CHECK(parameter.tensor.requires_grad());
    adapted.activate("");
    CHECK(logits_of(*model) == plain);
    CHECK(adapted.trainable_parameters().empty());
  }
  CHECK(adapted.adapter_names().size() == several.size());
  adapted.activate("bone");
  adapted.merge(true);
  CHECK(contains(message_of([&] { adapted.activate("lora"); }), "\"bone\" is merged; unmerge it"));
  adapted.unmerge();
  adapted.activate("lora");
  CHECK(logits_of(*model) == expected[0]);
  CHECK(contains(message_of([&] { adapted.activate("lara"); }), "there is none named \"lara\""));
  CHECK(contains(message_of([&] { adapted.activate("lara"); }), "lora"));
  CHECK(
      contains(message_of([&] { adapted.add(tiny_adapter("bone"), "lora"); }), "there already is one named \"lora\""));
}

TEST_CASE("training one adapter leaves the base and the others as they were") {
  const auto model = tiny_model();
  peft::PeftModel adapted(*model);
  const auto base = state_of(*model);
  adapted.add(tiny_adapter("bone"), "first");
  const Values first = logits_of(*model);
  adapted.add(tiny_adapter("lora"), "second");
  const double before = loss_of(*model).item();
  train(*model, adapted);
  CHECK(loss_of(*model).item() < before);
  CHECK(state_of(*model) == base);
  adapted.activate("first");
  CHECK(logits_of(*model) == first);
}

TEST_CASE("removing an adapter leaves the base and the others as they were") {
  const auto model = tiny_model();
  const auto base = state_of(*model);
  const Values plain = logits_of(*model);
  peft::PeftModel adapted(*model);
  disturb(adapted.add(tiny_adapter("lora"), "first"), 3);
  const Values first = logits_of(*model);
  peft::AdapterConfig config = tiny_adapter("bone");
  config.modules_to_save = {"lm_head"};
  disturb(adapted.add(config, "second"), 4);
  SUBCASE("the active one") {
    adapted.remove("second");
    CHECK(adapted.active().empty());
    CHECK(logits_of(*model) == plain);
    CHECK(adapted.trainable_parameters().empty());
    adapted.activate("first");
    CHECK(logits_of(*model) == first);
  }
  SUBCASE("another") {
    const Values second = logits_of(*model);
    adapted.remove("first");
    CHECK(adapted.active() == "second");
    CHECK(logits_of(*model) == second);
  }
  SUBCASE("not while it is merged, nor one that is not there") {
    adapted.merge(true);
    CHECK(contains(message_of([&] { adapted.remove("second"); }), "\"second\" is merged; unmerge it"));
    CHECK(contains(message_of([&] { adapted.remove("secnd"); }), "there is none named \"secnd\""));
    adapted.unmerge();
    adapted.remove("second");
    adapted.remove("first");
  }
  CHECK(adapted.adapter_names().size() <= 1);
  adapted.activate("");
  CHECK(state_of(*model) == base);
}

TEST_CASE("methods that change the base serve one adapter only") {
  for (const char* method : {"pissa", "olora"}) {
    const auto model = tiny_model();
    peft::PeftModel adapted(*model);
    adapted.add(tiny_adapter(method), "one");
    CHECK(contains(message_of([&] { adapted.add(tiny_adapter("lora"), "two"); }), "one adapter only"));
    const auto other = tiny_model();
    peft::PeftModel after(*other);
    after.add(tiny_adapter("lora"), "one");
    const auto base = state_of(*other);
    CHECK(contains(message_of([&] { after.add(tiny_adapter(method), "two"); }), "one adapter only"));
    CHECK(state_of(*other) == base);
  }
}

TEST_CASE("a module trained whole belongs to its adapter") {
  const auto model = tiny_model();
  const auto base = state_of(*model);
  const Values plain = logits_of(*model);
  peft::PeftModel adapted(*model);
  peft::AdapterConfig config = tiny_adapter("bone");
  config.modules_to_save = {"lm_head", "embed_tokens"};
  peft::ModelAdapter& adapter = adapted.add(config, "with_head");
  CHECK(adapter.saved_modules.size() == 2);
  CHECK(logits_of(*model) == plain);
  train(*model, adapted);
  const Values trained = logits_of(*model);
  CHECK(largest_error(trained, plain) > 1e-3);
  adapted.activate("");
  CHECK(state_of(*model) == base);
  CHECK(logits_of(*model) == plain);
  adapted.add(tiny_adapter("lora"), "without");
  CHECK(logits_of(*model) == plain);
  adapted.activate("with_head");
  CHECK(logits_of(*model) == trained);
  SUBCASE("unloading drops it") {
    adapted.unload();
    CHECK(state_of(*model) == base);
  }
  SUBCASE("merging keeps it") {
    adapted.merge();
    adapted.unload();
    CHECK(largest_error(logits_of(*model), trained) <= 1e-5);
  }
}

TEST_CASE("modules_to_save that match nothing are refused, with the nearest name") {
  const auto model = tiny_model();
  peft::PeftModel adapted(*model);
  peft::AdapterConfig config = tiny_adapter("lora");
  config.modules_to_save = {"lm_haed"};
  const std::string message = message_of([&] { adapted.add(config); });
  CHECK(contains(message, "modules_to_save: no module of the model matches \"lm_haed\""));
  CHECK(contains(message, "lm_head"));
  CHECK(adapted.adapter_names().empty());
}

TEST_CASE("full trains everything, bitfit the biases, bias: all and lora_only theirs besides the adapter") {
  const auto model = tiny_model();
  const auto trained = [&](peft::AdapterConfig config) {
    peft::PeftModel adapted(*model);
    adapted.add(config);
    std::vector<std::string> of_base;
    for (const auto& parameter : adapted.trainable_parameters())
      if (parameter.name.ends_with(".bias") || parameter.name.ends_with("_proj.weight") ||
          parameter.name.ends_with("norm.weight"))
        of_base.push_back(parameter.name);
    return of_base.size();
  };
  peft::AdapterConfig config = tiny_adapter("full");
  CHECK(trained(config) == 2 * (3 + 7 + 2) + 1);
  config.method = "bitfit";
  CHECK(trained(config) == 6);
  config.method = "lora";
  CHECK(trained(config) == 0);
  config.bias = "all";
  CHECK(trained(config) == 6);
  config.bias = "lora_only";
  config.target_modules = {"q_proj", "o_proj"};
  CHECK(trained(config) == 2);
}

TEST_CASE("the summary counts as peft's print_trainable_parameters") {
  const auto model = tiny_model();
  peft::PeftModel adapted(*model);
  peft::AdapterConfig config = tiny_adapter("bone");
  config.target_modules = {"q_proj"};
  adapted.add(config);
  CHECK(adapted.trainable_count() == 2 * 4 * 16);
  const std::int64_t total = model->parameter_count() + 128;
  CHECK(contains(adapted.trainable_summary(), "trainable params: 128 || all params: "));
  CHECK(total == 24 * 16 * 2 + 16 + 2 * (16 * 16 * 2 + 16 * 8 * 2 + 32 + 3 * 16 * 28 + 32) + 128);
  CHECK(adapted.trainable_summary() == "trainable params: 128 || all params: 5,264 || trainable%: 2.4316");
  config.modules_to_save = {"lm_head"};  // the copy counts, and so do adapters that are not active
  adapted.add(config, "other");
  CHECK(adapted.trainable_count() == 128 + 24 * 16);
  CHECK(adapted.total_count() == total + 128 + 24 * 16);
}

}  // namespace
}  // namespace osteon::test
