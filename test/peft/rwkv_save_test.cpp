#include <doctest/doctest.h>

#include "nn/io/pretrained.hpp"
#include "peft/hf_format.hpp"
#include "peft/rwkv_format.hpp"
#include "test/golden_case.hpp"
#include "test/nn/io_messages.hpp"
#include "test/nn/temporary_folder.hpp"
#include "test/peft/adapter_case.hpp"

using namespace osteon;
using osteon::test::contains;
using osteon::test::message_of;

namespace {

std::unique_ptr<nn::Rwkv> golden_seven() {
  return nn::load_rwkv(test::golden("rwkv") / "rwkv7/model.safetensors", DType::f32);
}

peft::AdapterConfig config_of(const std::string& method) {
  peft::AdapterConfig config;
  config.method = method;
  config.rank = 4;
  config.alpha = method == "pissa" || method == "olora" ? 4 : 6;
  config.target_modules = {"all-linear"};
  config.target_is_pattern = true;
  return config;
}

/// Moves what trains away from its start.
void disturb(peft::PeftModel& model) {
  std::uint64_t seed = 1;
  for (const peft::TrainableParameter& parameter : model.trainable_parameters()) {
    test::Values values = parameter.tensor.to_doubles();
    const test::Values noise = test::grid_values(parameter.tensor.numel(), seed++, -0.1, 0.1);
    for (std::size_t i = 0; i < values.size(); ++i)
      values[i] += noise[i];
    test::set_values(parameter.tensor, values);
  }
}

NamedTensors copies(const NamedTensors& tensors) {
  NamedTensors all;
  for (const auto& [name, tensor] : tensors)
    all.emplace_back(name, converted(tensor, tensor.dtype()));
  return all;
}

std::string refusal(const peft::AdapterConfig& config) {
  return message_of([&] { peft::rwkv_kind_of(config); });
}

}  // namespace

TEST_CASE("rwkv files: what is written of an adapter and of trained parts merges to the model's own merged weights") {
  for (const char* method : {"lora", "lora_plus", "lora_fa", "pissa", "olora", "bone", "miss", "bat_row"})
    for (const bool parts : {false, true}) {
      CAPTURE(method);
      CAPTURE(parts);
      const test::TemporaryFolder folder;
      const auto model = golden_seven();
      nn::save_rwkv(*model, folder / "base.pth");
      peft::PeftModel adapted(*model);
      peft::AdapterConfig config = config_of(method);
      if (parts) {
        config.train_parts = {"ln", "att.x_"};
        config.modules_to_save = {"head"};
      }
      adapted.add(config);
      const NamedTensors start = copies(peft::adapter_tensors(adapted));
      disturb(adapted);
      peft::save_rwkv_adapter(adapted, folder / "adapter.pth");
      const peft::RwkvKind kind = peft::rwkv_kind_of(config);
      const bool starts = kind == peft::RwkvKind::pissa;
      if (starts)
        peft::save_rwkv_start(adapted, start, folder / "init_pissa.pth");
      const io::TensorFile base(folder / "base.pth"), adapter(folder / "adapter.pth");
      const io::TensorFile begun(folder / (starts ? "init_pissa.pth" : "adapter.pth"));
      CHECK(peft::read_rwkv_adapter(adapter).modules.size() == 12);
      CHECK(peft::read_rwkv_adapter(adapter).full_parameters.size() == (parts ? 29 : 0));
      peft::merge_rwkv(base, adapter, starts ? &begun : nullptr, kind, config.alpha, folder / "merged.pth");
      adapted.merge();
      const io::ModelFiles merged(folder / "merged.pth"), before(folder / "base.pth");
      const auto fresh = golden_seven();
      peft::PeftModel back(*fresh);
      const peft::ModelAdapter& read =
          peft::load_rwkv_adapter(back, folder / "adapter.pth", config.alpha, starts ? begun.path() : "");
      CHECK(read.config.rank == (starts ? 8 : 4));
      back.merge();
      for (const auto& [name, parameter] : fresh->parameters()) {
        CAPTURE(name);
        CHECK(test::relative_error(parameter,
                                   test::read_tensor(io::ModelFiles(folder / "merged.pth"), name, DType::f32)) <= 1e-6);
      }
      int changed = 0;
      for (const auto& [name, parameter] : model->parameters()) {
        CAPTURE(name);
        const Tensor written = test::read_tensor(merged, name, DType::f32);
        CHECK(test::relative_error(written, parameter) <= 1e-6);
        changed += written.to_doubles() == test::read_tensor(before, name, DType::f32).to_doubles() ? 0 : 1;
      }
      CHECK(changed == 12 + (parts ? 29 : 0));
    }
}

TEST_CASE("train_parts: parameters with a part in their name train, come back with the adapter and leave with it") {
  const test::TemporaryFolder folder;
  const auto model = golden_seven();
  const double plain = model->parameters()[1].second.to_doubles()[0];
  peft::PeftModel adapted(*model);
  peft::AdapterConfig config = config_of("bone");
  config.train_parts = {"ln", "ffn.key"};
  const peft::ModelAdapter& adapter = adapted.add(config);
  CHECK(adapter.modules.size() == 10);  // what trains whole has no adapter
  CHECK(adapter.saved_modules.size() == 16 + 2);
  disturb(adapted);
  peft::save_adapter(adapted, folder / "adapter");
  const test::Values trained = model->parameters()[1].second.to_doubles();
  CHECK(trained[0] != plain);
  adapted.activate("");
  CHECK(model->parameters()[1].second.to_doubles()[0] == plain);

  const auto other = golden_seven();
  peft::PeftModel loaded(*other);
  CHECK(peft::load_adapter(loaded, folder / "adapter").config.train_parts == config.train_parts);
  CHECK(other->parameters()[1].second.to_doubles() == trained);

  const auto third = golden_seven();
  peft::PeftModel refused(*third);
  for (const char* part : {"time", ""}) {  // RWKV-7 has no such names; everything would hold the other
    config.train_parts = {"ln", part};
    CHECK(contains(message_of([&] { refused.add(config); }),
                   join("train_parts: no parameter of the model has \"", part, "\" in its name")));
  }
}

TEST_CASE("rwkv files: an adapter of another model or kind is refused, and the model left as it was") {
  const test::TemporaryFolder folder;
  const auto six = nn::load_rwkv(test::golden("rwkv") / "rwkv6/model.safetensors", DType::f32), seven = golden_seven();
  peft::PeftModel from(*six), to(*seven);
  peft::AdapterConfig config = config_of("bone");
  config.train_parts = {"time_faaaa"};
  from.add(config);
  peft::save_rwkv_adapter(from, folder / "six.pth");
  const auto refused = [&](const char* file, const std::filesystem::path& start) {
    return message_of([&] { peft::load_rwkv_adapter(to, folder / file, 16, start); });
  };
  CHECK(contains(refused("six.pth", {}),
                 "six.pth: train_parts: no parameter of the model has \"blocks.0.att.time_faaaa"));
  CHECK(contains(refused("six.pth", folder / "six.pth"), "--start: expected none with"));
  from.remove("default");
  config.train_parts.clear();
  from.add(config);
  peft::save_rwkv_adapter(from, folder / "gates.pth");
  CHECK(contains(refused("gates.pth", {}),
                 "gates.pth: expected 16 adapted linears and 0 whole parameters in the model, found 12 and 0"));
  from.remove("default");
  config.target_modules = {"ffn.key"};  // of other outputs there
  config.target_is_pattern = false;
  from.add(config);
  peft::save_rwkv_adapter(from, folder / "wide.pth");
  CHECK(contains(refused("wide.pth", {}), "blocks.0.ffn.key.disha"));
  CHECK(to.adapter_names().empty());
}

TEST_CASE("rwkv files: what they have no place for is refused by name") {
  CHECK(contains(refusal(config_of("dora")), "rwkv-peft: method: its files hold adapters of lora, lora_plus"));
  CHECK(contains(refusal(config_of("bat")), "got bat, whose matrices are those of output blocks"));
  CHECK(contains(refusal(config_of("full")), "got full"));
  peft::AdapterConfig config = config_of("bone");
  config.rank_pattern = {{"key", 2}};
  CHECK(contains(refusal(config), "rwkv-peft: rank_pattern: its files have one rank, got 4 and others"));
  config = config_of("lora");
  config.alpha_pattern = {{"key", 2}};
  CHECK(contains(refusal(config), "rwkv-peft: alpha_pattern: its merge has one alpha, got 6 and others"));
  config = config_of("pissa");
  config.alpha = 8;
  CHECK(contains(refusal(config), "rwkv-peft: alpha: its pissa is not scaled: expected alpha = rank = 4, got 8"));
  CHECK(peft::rwkv_kind_of(config_of("miss")) == peft::RwkvKind::bone);

  const auto model = golden_seven();
  peft::PeftModel adapted(*model);
  CHECK(
      contains(message_of([&] { peft::save_rwkv_adapter(adapted, "no/adapter.pth"); }), "expected an active adapter"));
  adapted.add(config_of("lora"));
  CHECK(contains(message_of([&] { peft::save_rwkv_start(adapted, {}, "no/init_pissa.pth"); }),
                 "expected PiSSA's or OLoRA's start, got that of lora"));
  adapted.remove("default");
  adapted.add(config_of("olora"));
  CHECK(contains(message_of([&] { peft::save_rwkv_start(adapted, {}, "no/init_pissa.pth"); }),
                 "expected the starting factor \"base_model.model.blocks.0.att.receptance.lora_A.weight\""));
}
