#include "peft/hf_config.hpp"

#include <doctest/doctest.h>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "nn/io/atomic_file.hpp"
#include "peft/methods.hpp"
#include "test/nn/io_messages.hpp"
#include "test/nn/temporary_folder.hpp"

using namespace osteon;
using nlohmann::json;
using osteon::test::contains;
using osteon::test::message_of;
using osteon::test::TemporaryFolder;

namespace {

/// What peft writes for a LoRA with every key at its default.
json lora_config() {
  peft::AdapterConfig config;
  config.target_modules = {"q_proj"};
  return peft::adapter_config_json(config);
}

struct Outcome {
  peft::AdapterConfig config;
  std::string message;  ///< behind the file's name; "no error" where it was read
  std::vector<std::string> warnings;
};

/// Reads adapter_config.json with this text.
Outcome reading(const std::string& text) {
  const TemporaryFolder folder;
  const std::string path = (folder / "adapter_config.json").string();
  io::write_file_atomically(path, text);
  Outcome outcome;
  outcome.message = message_of([&] { outcome.config = peft::read_adapter_config(folder.path(), &outcome.warnings); });
  if (outcome.message != "no error") {
    REQUIRE(outcome.message.starts_with(path + ": "));
    outcome.message.erase(0, path.size() + 2);
  }
  for (std::string& warning : outcome.warnings) {
    REQUIRE(warning.starts_with(path + ": "));
    warning.erase(0, path.size() + 2);
  }
  return outcome;
}

Outcome reading_with(const char* key, const json& value, json config = lora_config()) {
  config[key] = value;
  return reading(config.dump());
}

std::string refusal(const char* key, const json& value) { return reading_with(key, value).message; }

}  // namespace

TEST_CASE("adapter_config.json: values of another type are refused with file and key") {
  CHECK(refusal("r", 2) == "no error");
  CHECK(refusal("r", 8.5) == "r: expected a whole number, found 8.5");
  CHECK(refusal("r", true) == "r: expected a whole number, found true");
  CHECK(refusal("r", nullptr) == "r: expected a whole number, found null");
  CHECK(refusal("r", ~std::uint64_t{0}) == "r: expected a whole number, found 18446744073709551615");
  CHECK(refusal("lora_alpha", "8") == "lora_alpha: expected a number, found \"8\"");
  CHECK(refusal("use_dora", 1) == "use_dora: expected true or false, found 1");
  CHECK(contains(refusal("init_lora_weights", 3), "init_lora_weights: expected true, false or the name"));
  CHECK(contains(refusal("init_lora_weights", nullptr), "init_lora_weights: expected true, false or the name"));
  CHECK(refusal("rank_pattern", {{"q_proj", 1.5}}) == "rank_pattern: q_proj: expected a whole number, found 1.5");
  CHECK(refusal("alpha_pattern", {{"q_proj", "1"}}) == "alpha_pattern: q_proj: expected a number, found \"1\"");
  CHECK(refusal("rank_pattern", {1}) == "rank_pattern: expected an object, found [1]");
  CHECK(refusal("target_modules", 3) == "target_modules: expected a list of names or a string, found 3");
  CHECK(refusal("exclude_modules", {1}) == "exclude_modules: expected a list of names or a string, found [1]");
  CHECK(refusal("modules_to_save", "head") == "modules_to_save: expected a list of names, found \"head\"");
  CHECK(refusal("train_parts", "ln") == "train_parts: expected a list of names, found \"ln\"");
  CHECK(refusal("layers_to_transform", "all") ==
        "layers_to_transform: expected a layer's number or a list of them, found \"all\"");
  CHECK(refusal("layers_pattern", {1}) == "layers_pattern: expected a list of names or a string, found [1]");
  CHECK(refusal("bias", true) == "bias: expected text, found true");
  CHECK(refusal("task_type", 1) == "task_type: expected text, found 1");
  CHECK(refusal("auto_mapping", "Llama") == "auto_mapping: expected an object, found \"Llama\"");
  CHECK(refusal("peft_type", 3) == "peft_type: expected text, found 3");
  CHECK(refusal("peft_type", nullptr) == "peft_type: expected text, found null");
}

TEST_CASE("adapter_config.json: text that is no JSON object") {
  CHECK(contains(reading("").message, "not valid JSON"));
  CHECK(contains(reading("{\"r\": 8,}").message,
                 "not valid JSON: [json.exception.parse_error.101] parse error at line 1"));
  CHECK(contains(reading(R"({"r": )").message, "not valid JSON"));
  CHECK(reading("[1]").message == "expected a JSON object, found array");
  CHECK(contains(reading("{}").message, "peft_type: expected the name of a method"));
}

TEST_CASE("adapter_config.json: an unknown method is refused with the nearest") {
  const std::string near = refusal("peft_type", "LORAX"), far = refusal("peft_type", "PREFIX_TUNING");
  CHECK(contains(near, "peft_type: expected one of full, bitfit, state, LORA, BONE, MISS"));
  CHECK(near.ends_with(", found \"LORAX\"; did you mean 'LORA'?"));
  CHECK(contains(refusal("peft_type", "bones"), "did you mean 'BONE'?"));
  CHECK(far.ends_with(", found \"PREFIX_TUNING\""));
  const std::string other_start = refusal("init_lora_weights", "eva");
  CHECK(contains(other_start, "peft_type \"LORA\": expected the other keys of one of lora, rslora, "));
  CHECK(contains(other_start, ", found init_lora_weights \"eva\", use_dora false, use_rslora false"));
  json both = lora_config();
  both["use_dora"] = true;
  CHECK(contains(reading_with("use_rslora", true, both).message, "use_dora true, use_rslora true"));
  CHECK(reading(R"({"peft_type": "BONE", "init_weights": "bad"})").message ==
        "peft_type \"BONE\": expected the other keys of one of bone, bat, found init_weights \"bad\"");
}

TEST_CASE("adapter_config.json: features that are not there are refused where they are on, unknown keys are named") {
  CHECK(refusal("lora_bias", true) == "lora_bias: expected false: nothing else is supported, found true");
  CHECK(contains(refusal("layer_replication", {{0, 1}}), "layer_replication: expected null: nothing else"));
  CHECK(contains(refusal("trainable_token_indices", {1, 2}), "trainable_token_indices: expected null"));
  CHECK(contains(refusal("target_parameters", {"x"}), "target_parameters: expected null"));
  CHECK(contains(refusal("fan_in_fan_out", true), "fan_in_fan_out: expected false"));
  CHECK(refusal("loftq_config", nullptr) == "no error");
  const Outcome newer = reading_with("colour", "blue");
  CHECK(newer.message == "no error");
  CHECK(newer.warnings == std::vector<std::string>{"colour: not known here, ignored"});
  CHECK(reading_with("peft_version", "0.18.0").warnings.empty());
}

TEST_CASE("adapter_config.json: what is read is written again") {
  json config = lora_config();
  config["task_type"] = nullptr;
  config["auto_mapping"] = {{"base_model_class", "MistralForCausalLM"},
                            {"parent_library", "transformers.models.mistral.modeling_mistral"}};
  config["revision"] = "v0.3";
  config["base_model_name_or_path"] = "some/base";
  config["layers_to_transform"] = {0, 2};
  config["layers_pattern"] = "layers";
  config["exclude_modules"] = ".*head";
  config["modules_to_save"] = {"lm_head"};
  config["train_parts"] = {"time", "ln"};
  config["bias"] = "lora_only";
  config["lora_alpha"] = 12.5;
  config["lora_dropout"] = 0.25;
  config["rank_pattern"] = {{"q_proj", 2}};
  config["alpha_pattern"] = {{"q_proj", 2.5}, {"v_proj", 3}};
  const Outcome outcome = reading(config.dump());
  CHECK(outcome.message == "no error");
  CHECK(outcome.warnings.empty());
  CHECK(peft::adapter_config_json(outcome.config) == config);
  const Outcome several = reading_with("layers_pattern", {"layers", "h"});
  CHECK(several.config.layers_pattern == std::vector<std::string>{"layers", "h"});
  CHECK(peft::adapter_config_json(several.config)["layers_pattern"] == json{"layers", "h"});
  CHECK(reading_with("layers_pattern", "").config.layers_pattern.empty());
  CHECK(reading_with("layers_to_transform", 3).config.layers_to_transform == std::vector<std::int64_t>{3});
  for (const auto& method : peft::methods()) {
    CAPTURE(method->name());
    peft::AdapterConfig own;
    own.method = method->name();
    own.target_modules = {"q_proj"};
    const json written = peft::adapter_config_json(own);
    CHECK(peft::adapter_config_json(reading(written.dump()).config) == written);
  }
}

TEST_CASE("adapter_config.json: whole numbers are written as integers") {
  CHECK(peft::json_number(8).dump() == "8");
  CHECK(peft::json_number(-3).dump() == "-3");
  CHECK(peft::json_number(12.5).dump() == "12.5");
  CHECK(peft::json_number(1e300).dump() == "1e+300");
}

TEST_CASE("adapter_config.json: absent keys take peft's defaults") {
  const auto read = [](const char* text) { return reading(text).config; };
  const peft::AdapterConfig lora = read(R"({"peft_type": "LORA"})");
  CHECK(lora.method == "lora");
  CHECK(lora.rank == 8);
  CHECK(lora.alpha == 8);
  CHECK(lora.target_modules == std::vector<std::string>{"q_proj", "v_proj"});
  CHECK(lora.task_type.empty());
  CHECK(read(R"({"peft_type": "BONE"})").rank == 64);
  CHECK(read(R"({"peft_type": "MISS", "init_weights": "bat"})").method == "bat");
  CHECK(read(R"({"peft_type": "LORA", "init_lora_weights": "pissa_niter_4"})").method == "pissa");
}
