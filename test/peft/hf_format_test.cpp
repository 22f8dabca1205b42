#include "peft/hf_format.hpp"

#include <doctest/doctest.h>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "backends/error.hpp"
#include "nn/io/atomic_file.hpp"
#include "nn/io/checkpoint.hpp"
#include "peft/hf_config.hpp"
#include "test/nn/io_messages.hpp"
#include "test/nn/temporary_folder.hpp"

using namespace osteon;
using osteon::test::contains;
using osteon::test::message_of;
using osteon::test::TemporaryFolder;

namespace {

nn::Llama tiny_model() {
  nn::LlamaConfig config;
  config.vocab_size = 11;
  config.hidden_size = 8;
  config.intermediate_size = 12;
  config.num_hidden_layers = 2;
  config.num_attention_heads = 2;
  config.num_key_value_heads = 2;
  config.head_dim = 4;
  return nn::Llama(config, DType::f32);
}

peft::AdapterConfig config_of(const std::string& method) {
  peft::AdapterConfig config;
  config.method = method;
  config.rank = 2;
  config.target_modules = {"q_proj", "down_proj"};
  return config;
}

/// Saves an adapter whose tensors hold 0, 1, 2, ... and returns them.
NamedTensors save_numbered(nn::Llama& model, const std::string& method, const std::filesystem::path& folder) {
  peft::PeftModel adapted(model);
  adapted.add(config_of(method));
  NamedTensors tensors = peft::adapter_tensors(adapted);
  NamedTensors values;
  double next = 0;
  for (auto& [name, tensor] : tensors) {
    std::vector<double> numbers(static_cast<std::size_t>(tensor.numel()));
    for (double& number : numbers)
      number = next++;
    values.emplace_back(name, from_values(numbers, tensor.shape(), tensor.dtype()));
  }
  peft::save_adapter(adapted, folder);
  nn::save_tensors(folder, values, "adapter_model");
  return values;
}

std::string loading(nn::Llama& model, const std::filesystem::path& folder) {
  return message_of([&] {
    peft::PeftModel adapted(model);
    peft::load_adapter(adapted, folder);
  });
}

}  // namespace

TEST_CASE("adapter folders: what is saved comes back") {
  nn::Llama model = tiny_model();
  model.initialize(1);
  for (const char* method : {"lora", "bone", "bat", "dora"}) {
    CAPTURE(method);
    const TemporaryFolder folder;
    const NamedTensors written = save_numbered(model, method, folder.path());
    peft::PeftModel adapted(model);
    peft::load_adapter(adapted, folder.path());
    const NamedTensors read = peft::adapter_tensors(adapted);
    REQUIRE(read.size() == written.size());
    for (std::size_t i = 0; i < read.size(); ++i) {
      CHECK(read[i].first == written[i].first);
      CHECK(read[i].second.to_doubles() == written[i].second.to_doubles());
    }
  }
}

TEST_CASE("adapter folders: both names of Bone's block are read") {
  nn::Llama model = tiny_model();
  model.initialize(1);
  const TemporaryFolder folder;
  NamedTensors tensors = save_numbered(model, "bone", folder.path());
  for (auto& [name, tensor] : tensors) {
    const std::size_t at = name.rfind('.') + 1;
    name.replace(at, std::string::npos, name.substr(at) == "bone_block" ? "miss_block" : "bone_block");
  }
  nn::save_tensors(folder.path(), tensors, "adapter_model");
  CHECK(loading(model, folder.path()) == "no error");
}

TEST_CASE("adapter folders: missing, left over and misshapen tensors are refused by name") {
  nn::Llama model = tiny_model();
  model.initialize(1);
  const TemporaryFolder folder;
  const NamedTensors good = save_numbered(model, "lora", folder.path());
  const auto with = [&](const NamedTensors& tensors) {
    nn::save_tensors(folder.path(), tensors, "adapter_model");
    return loading(model, folder.path());
  };
  CHECK(with(good) == "no error");
  NamedTensors less(good.begin() + 1, good.end());
  CHECK(contains(with(less), "1 of 8 tensors are missing:\n  " + good[0].first));
  NamedTensors more = good;
  more.emplace_back("base_model.model.model.layers.7.self_attn.q_proj.lora_A.weight", good[0].second);
  CHECK(contains(with(more), "layers.7.self_attn.q_proj.lora_A.weight\" and 0 more tensors belong to no module"));
  NamedTensors other = good;
  other[0].second = zeros({3, 8}, DType::f32);
  CHECK(contains(with(other), good[0].first + ": expected shape [2, 8], found [3, 8]"));
}

TEST_CASE("adapter folders: a failed load leaves the model without that adapter, and allocates nothing") {
  nn::Llama model = tiny_model();
  model.initialize(1);
  const TemporaryFolder folder;
  const NamedTensors good = save_numbered(model, "lora", folder.path());
  auto config = nlohmann::json::parse(io::read_file(folder / "adapter_config.json"));
  config["r"] = std::int64_t{1} << 40;
  io::write_file_atomically(folder / "adapter_config.json", config.dump());
  peft::PeftModel adapted(model);
  CHECK(contains(message_of([&] { peft::load_adapter(adapted, folder.path()); }),
                 "expected shape [1099511627776, 8], found [2, 8]"));
  CHECK(adapted.adapter_names().empty());
  config["r"] = 2;
  io::write_file_atomically(folder / "adapter_config.json", config.dump());
  peft::load_adapter(adapted, folder.path());
  CHECK(adapted.adapter_names() == std::vector<std::string>{"default"});
}

TEST_CASE("adapter_config.json: values of another type are refused with file and key") {
  nn::Llama model = tiny_model();
  const TemporaryFolder folder;
  save_numbered(model, "lora", folder.path());
  const std::string good = io::read_file(folder / "adapter_config.json");
  const auto with = [&](const char* key, const nlohmann::json& value) {
    auto config = nlohmann::json::parse(good);
    config[key] = value;
    io::write_file_atomically(folder / "adapter_config.json", config.dump());
    return message_of([&] { peft::read_adapter_config(folder.path()); });
  };
  const std::string path = (folder / "adapter_config.json").string();
  CHECK(with("r", 2) == "no error");
  CHECK(with("r", 8.5) == path + ": r: expected a whole number, found 8.5");
  CHECK(contains(with("r", true), "r: expected a whole number, found true"));
  CHECK(contains(with("r", nullptr), "r: expected a whole number, found null"));
  CHECK(contains(with("lora_alpha", "8"), "lora_alpha: expected a number, found \"8\""));
  CHECK(contains(with("use_dora", 1), "use_dora: expected true or false, found 1"));
  CHECK(contains(with("init_lora_weights", 3), "init_lora_weights: expected true, false or the name"));
  CHECK(contains(with("rank_pattern", {{"q_proj", 1.5}}), "rank_pattern: q_proj: expected a whole number, got 1.5"));
  CHECK(contains(with("target_modules", 3), "target_modules: expected a list of names or a string"));
  CHECK(contains(with("peft_type", 3), "peft_type: expected text, found 3"));
  CHECK(contains(with("peft_type", nullptr), "peft_type: expected text, found null"));
  CHECK(contains(with("peft_type", "NOPE"), "peft_type \"NOPE\" with these keys is no method"));
  for (const auto& [text, message] :
       {std::pair("[1]", "expected a JSON object, found array"),
        std::pair("{}", "peft_type: expected the name of a method"), std::pair("{\"r\": ", "not valid JSON")}) {
    io::write_file_atomically(folder / "adapter_config.json", text);
    CHECK(contains(message_of([&] { peft::read_adapter_config(folder.path()); }), message));
  }
}
