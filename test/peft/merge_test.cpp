#include <doctest/doctest.h>

#include "test/nn/io_messages.hpp"
#include "test/peft/tiny_model.hpp"

namespace osteon::test {
namespace {

TEST_CASE("a merged model computes what the adapted one does; unmerging and unloading give back the base") {
  for (const auto& [dtype, tolerance] : {std::pair(DType::f32, 1e-5), {DType::bf16, 0.06}})
    for (const std::string& method : adapting_methods()) {
      CAPTURE(method);
      CAPTURE(name_of(dtype));
      const auto model = tiny_model(dtype);
      peft::PeftModel adapted(*model);
      disturb(adapted.add(tiny_adapter(method)), 3);
      const auto base = state_of(*model);
      const Values before = logits_of(*model);
      adapted.merge();
      CHECK(largest_error(logits_of(*model), before) <= tolerance);
      CHECK(state_of(*model) != base);
      const Values merged = logits_of(*model);
      adapted.merge();  // merged already: nothing happens
      CHECK(logits_of(*model) == merged);
      adapted.unmerge();
      CHECK(largest_error(logits_of(*model), before) <= tolerance);
      adapted.activate("");
      CHECK(largest_error(logits_of(*model), before) > 1e-3);
    }
}

TEST_CASE("with a backup, unmerging gives the weights back bit for bit") {
  for (const DType dtype : {DType::f32, DType::bf16})
    for (const std::string& method : adapting_methods()) {
      CAPTURE(method);
      const auto model = tiny_model(dtype);
      peft::PeftModel adapted(*model);
      disturb(adapted.add(tiny_adapter(method)), 3);
      const auto base = state_of(*model);
      const Values before = logits_of(*model);
      for (int round = 0; round < 2; ++round) {
        adapted.merge(/*keep_backup=*/true);
        CHECK(state_of(*model) != base);
        adapted.unmerge();
        CHECK(state_of(*model) == base);
        CHECK(logits_of(*model) == before);
      }
    }
}

TEST_CASE("a merge with NaN or infinity names the module and leaves the model as it was") {
  for (const double bad : {std::nan(""), HUGE_VAL, -HUGE_VAL})
    for (const std::string& method : adapting_methods())
      for (const bool backup : {false, true}) {
        CAPTURE(method);
        const auto model = tiny_model();
        peft::PeftModel adapted(*model);
        peft::ModelAdapter& adapter = adapted.add(tiny_adapter(method));
        disturb(adapter, 3);
        const std::string module = "model.layers.1.mlp.down_proj";  // the last one: others are done before it
        const Tensor last = adapter.modules.at(module)->parameters().back().second;
        Values values = last.to_doubles();
        const Values good = values;
        values[1] = bad;
        set_values(last, values);
        const auto base = state_of(*model);
        const std::string message = message_of([&] { adapted.merge(backup); });
        CHECK(contains(message, "merge: " + module + ": "));
        CHECK(contains(message, "NaN or infinite; nothing was changed"));
        CHECK(state_of(*model) == base);
        CHECK_FALSE(adapter.merged);
        CHECK(adapter.backup.empty());
        set_values(last, good);
        adapted.merge();
        CHECK(state_of(*model) != base);
      }
}

TEST_CASE("a merge that overflows the weight's dtype is refused") {
  const auto model = tiny_model();
  peft::PeftModel adapted(*model);
  peft::ModelAdapter& adapter = adapted.add(tiny_adapter("lora"));
  for (const auto& [suffix, tensor] : adapter.modules.at("model.layers.0.self_attn.q_proj")->parameters())
    set_values(tensor, Values(static_cast<std::size_t>(tensor.numel()), 1e30));
  CHECK(contains(message_of([&] { adapted.merge(); }), "merge: model.layers.0.self_attn.q_proj: 256"));
}

TEST_CASE("Bat refuses to unmerge where I + B is close to singular, and a backup helps") {
  const auto model = tiny_model();
  peft::PeftModel adapted(*model);
  peft::ModelAdapter& adapter = adapted.add(tiny_adapter("bat"));
  disturb(adapter, 3, 0.01);
  const Tensor blocks = adapter.modules.at("model.layers.1.self_attn.o_proj")->parameters()[0].second;
  Values values = blocks.to_doubles();
  for (std::size_t i = 0; i < 4; ++i)
    values[16 + i * 4 + i] = -1;  // the second block: I + B has a diagonal of zeros
  for (std::size_t i = 0; i < 4; ++i)
    values[16 + i] = i == 0 ? -1 : 0;  // and a row of zeros
  set_values(blocks, values);
  const auto base = state_of(*model);
  adapted.merge();
  const auto merged = state_of(*model);
  CHECK(contains(message_of([&] { adapted.unmerge(); }),
                 "bat: unmerge: block 1 of model.layers.1.self_attn.o_proj: expected a reciprocal condition"));
  CHECK(state_of(*model) == merged);
  CHECK(adapter.merged);
  CHECK(contains(message_of([&] { adapted.activate(""); }), "\"default\" is merged"));

  const auto other = tiny_model();
  peft::PeftModel with_backup(*other);
  peft::ModelAdapter& again = with_backup.add(tiny_adapter("bat"));
  set_values(again.modules.at("model.layers.1.self_attn.o_proj")->parameters()[0].second, values);
  with_backup.merge(true);
  CHECK(state_of(*other) != base);
  with_backup.unmerge();
  CHECK(state_of(*other) == base);
}

TEST_CASE("unloading a merged adapter keeps its weights, unloading another gives the base") {
  for (const std::string& method : adapting_methods()) {
    CAPTURE(method);
    const auto model = tiny_model();
    const Values plain = logits_of(*model);
    Values adapted_logits;
    {
      peft::PeftModel adapted(*model);
      disturb(adapted.add(tiny_adapter(method)), 3);
      adapted_logits = logits_of(*model);
      adapted.merge();
      adapted.unload();
      CHECK(adapted.adapter_names().empty());
      CHECK(adapted.active().empty());
    }
    CHECK(largest_error(logits_of(*model), adapted_logits) <= 1e-5);

    const auto other = tiny_model();
    peft::PeftModel unmerged(*other);
    disturb(unmerged.add(tiny_adapter(method)), 3);
    unmerged.unload();
    if (unmerged.trainable_parameters().empty() && method != "pissa" && method != "olora")
      CHECK(logits_of(*other) == plain);  // PiSSA and OLoRA leave their residual
    else
      CHECK(largest_error(logits_of(*other), plain) > 1e-3);
  }
}

TEST_CASE("merging needs an active adapter, unmerging a merged one") {
  const auto model = tiny_model();
  peft::PeftModel adapted(*model);
  CHECK(contains(message_of([&] { adapted.merge(); }), "merge: expected an active adapter"));
  CHECK(contains(message_of([&] { adapted.unmerge(); }), "unmerge: expected a merged adapter"));
  adapted.add(tiny_adapter("bone"));
  CHECK(contains(message_of([&] { adapted.unmerge(); }), "unmerge: expected a merged adapter"));
}

}  // namespace
}  // namespace osteon::test
