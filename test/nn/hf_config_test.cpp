#include "nn/io/hf_config.hpp"

#include <doctest/doctest.h>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "nn/io/atomic_file.hpp"
#include "test/golden_case.hpp"
#include "test/nn/io_messages.hpp"
#include "test/nn/temporary_folder.hpp"

using namespace osteon;
using nlohmann::json;
using nn::LlamaConfig;
using nn::parse_llama_config;
using nn::RopeType;
using osteon::test::contains;
using osteon::test::message_of;
using osteon::test::TemporaryFolder;
namespace fs = std::filesystem;

namespace {

LlamaConfig parse(const char* text, std::vector<std::string>* warnings = nullptr) {
  return parse_llama_config(json::parse(text), "config.json", warnings);
}

/// What a small valid config with one key changed is refused with.
std::string refusal(const std::string& key, const json& value, json config = {{"model_type", "llama"}}) {
  config[key] = value;
  return message_of([&] { parse_llama_config(config, "config.json"); });
}

json rope(const json& scaling) { return {{"model_type", "llama"}, {"rope_scaling", scaling}}; }

const json kLlama3 = {{"rope_type", "llama3"},
                      {"factor", 8.0},
                      {"low_freq_factor", 1.0},
                      {"high_freq_factor", 4.0},
                      {"original_max_position_embeddings", 8192}};

}  // namespace

TEST_CASE("config: missing keys take transformers' defaults") {
  std::vector<std::string> warnings;
  const LlamaConfig llama = parse(R"({"model_type": "llama"})", &warnings);
  CHECK(warnings.empty());
  CHECK(llama.vocab_size == 32000);
  CHECK(llama.hidden_size == 4096);
  CHECK(llama.intermediate_size == 11008);
  CHECK(llama.num_hidden_layers == 32);
  CHECK(llama.num_attention_heads == 32);
  CHECK(llama.num_key_value_heads == 32);
  CHECK(llama.head_dim == 128);
  CHECK(llama.max_position_embeddings == 2048);
  CHECK(llama.rms_norm_eps == 1e-6);
  CHECK(llama.initializer_range == 0.02);
  CHECK_FALSE(llama.attention_bias);
  CHECK_FALSE(llama.attention_output_bias);
  CHECK_FALSE(llama.mlp_bias);
  CHECK_FALSE(llama.tie_word_embeddings);
  CHECK(llama.rope.type == RopeType::standard);
  CHECK(llama.rope.theta == 10000);
  CHECK(llama.bos_token_id == 1);
  CHECK(llama.eos_token_ids == std::vector<std::int32_t>{2});
  CHECK_FALSE(llama.pad_token_id);
  CHECK(llama.torch_dtype == "float32");

  const LlamaConfig heads = parse(R"({"model_type": "llama", "num_attention_heads": 16})");
  CHECK(heads.num_key_value_heads == 16);
  CHECK(heads.head_dim == 256);

  const LlamaConfig mistral = parse(R"({"model_type": "mistral", "sliding_window": null})");
  CHECK(mistral.intermediate_size == 14336);
  CHECK(mistral.num_key_value_heads == 8);
  CHECK(mistral.max_position_embeddings == 131072);
  CHECK_FALSE(mistral.attention_bias);
  CHECK(
      parse(R"({"model_type": "mistral", "sliding_window": null, "num_key_value_heads": null})").num_key_value_heads ==
      32);

  const LlamaConfig qwen = parse(R"({"model_type": "qwen2"})");
  CHECK(qwen.vocab_size == 151936);
  CHECK(qwen.intermediate_size == 22016);
  CHECK(qwen.max_position_embeddings == 32768);
  CHECK(qwen.attention_bias);
  CHECK_FALSE(qwen.attention_output_bias);
  CHECK_FALSE(qwen.bos_token_id);
  CHECK(qwen.eos_token_ids.empty());
}

TEST_CASE("config: every key is read") {
  std::vector<std::string> warnings;
  const LlamaConfig config = parse(R"({
    "model_type": "llama", "vocab_size": 128256, "hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 3,
    "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 24, "max_position_embeddings": 512,
    "rms_norm_eps": 1e-05, "initializer_range": 0, "attention_bias": true, "mlp_bias": true,
    "tie_word_embeddings": true, "rope_theta": 500000, "bos_token_id": 128000, "eos_token_id": [128001, 128009],
    "pad_token_id": -1, "torch_dtype": "bfloat16", "hidden_act": "silu", "attention_dropout": 0.1, "pretraining_tp": 1,
    "colour": "blue"})",
                                   &warnings);
  CHECK(config.vocab_size == 128256);
  CHECK(config.head_dim == 24);
  CHECK(config.num_key_value_heads == 2);
  CHECK(config.rms_norm_eps == 1e-5);
  CHECK(config.initializer_range == 0);
  CHECK(config.attention_bias);
  CHECK(config.attention_output_bias);
  CHECK(config.mlp_bias);
  CHECK(config.tie_word_embeddings);
  CHECK(config.rope.theta == 500000);
  CHECK(config.bos_token_id == 128000);
  CHECK(config.eos_token_ids == std::vector<std::int32_t>{128001, 128009});
  CHECK_FALSE(config.pad_token_id);
  CHECK(config.torch_dtype == "bfloat16");
  CHECK(warnings == std::vector<std::string>{"config.json: attention_dropout: 0.1 is not applied",
                                             "config.json: unknown key colour is ignored"});
}

TEST_CASE("config: rope scaling in the keys of transformers 4 and 5") {
  const auto read = [](const json& config) { return parse_llama_config(config, "config.json").rope; };
  CHECK(read(rope(nullptr)).type == RopeType::standard);
  CHECK(read(rope({{"rope_type", "default"}})).type == RopeType::standard);
  CHECK(read(rope({{"type", "linear"}, {"factor", 2}})).factor == 2);
  CHECK(read(rope({{"type", "su"}, {"rope_type", "linear"}, {"factor", 2}})).type == RopeType::linear);
  const auto dynamic = read(rope({{"type", "dynamic"}, {"factor", 4.0}}));
  CHECK(dynamic.type == RopeType::dynamic);
  CHECK(dynamic.original_max_position_embeddings == 2048);
  const auto llama3 = read(rope(kLlama3));
  CHECK(llama3.type == RopeType::llama3);
  CHECK(llama3.factor == 8);
  CHECK(llama3.low_freq_factor == 1);
  CHECK(llama3.high_freq_factor == 4);
  CHECK(llama3.original_max_position_embeddings == 8192);

  json five = kLlama3;
  five["rope_theta"] = 500000.0;
  const auto parameters = read({{"model_type", "llama"}, {"rope_parameters", five}});
  CHECK(parameters.type == RopeType::llama3);
  CHECK(parameters.theta == 500000);
  CHECK(read({{"model_type", "llama"}, {"rope_parameters", {{"rope_theta", 7.0}}}}).theta == 7);

  std::vector<std::string> warnings;
  parse_llama_config(rope({{"type", "linear"}, {"factor", 2}, {"finetuned", true}}), "config.json", &warnings);
  CHECK(warnings ==
        std::vector<std::string>{"config.json: rope_scaling: key finetuned is not used by rope type linear"});
}

TEST_CASE("config: rope scalings that are not supported or not complete are refused") {
  const auto message = [](const json& scaling) { return refusal("rope_scaling", scaling); };
  CHECK(
      contains(message({{"rope_type", "yarn"}, {"factor", 2}}),
               "config.json: rope_scaling: rope_type: expected default, linear, dynamic or llama3: other scalings are "
               "not supported, found \"yarn\""));
  CHECK(contains(message({{"type", "longrope"}}), "rope_scaling: type: expected default, linear"));
  CHECK(contains(message({{"type", 7}}), "type: expected text, found 7"));
  CHECK(contains(message({{"factor", 2}}), "rope_type: expected default, linear, dynamic or llama3, found none"));
  CHECK(contains(message("linear"), "rope_scaling: expected an object or null, found \"linear\""));
  CHECK(contains(message({{"type", "linear"}}), "factor: expected a number, which rope type linear needs, found none"));
  CHECK(contains(message({{"type", "linear"}, {"factor", "2"}}), "factor: expected a number, found \"2\""));
  CHECK(contains(message({{"type", "linear"}, {"factor", 0.5}}), "rope factor: expected a number of at least 1"));
  for (const char* key : {"factor", "low_freq_factor", "high_freq_factor", "original_max_position_embeddings"}) {
    json scaling = kLlama3;
    scaling.erase(key);
    CHECK(contains(message(scaling), std::string("rope_scaling: ") + key + ": expected a number, which rope type"));
  }
  json scaling = kLlama3;
  scaling["high_freq_factor"] = 1.0;
  CHECK(contains(message(scaling), "high_freq_factor: expected a number above low_freq_factor = 1, found 1"));
  scaling = kLlama3;
  scaling["original_max_position_embeddings"] = 0;
  CHECK(contains(message(scaling), "original_max_position_embeddings: expected 1 to"));
  scaling = kLlama3;
  scaling["low_freq_factor"] = 0;
  CHECK(contains(message(scaling), "low_freq_factor: expected a number above 0"));
  CHECK(contains(message({{"rope_type", "default"}, {"partial_rotary_factor", 0.5}}), "rotating a part of each head"));
}

TEST_CASE("config: bad types and values name file and key") {
  CHECK(contains(refusal("hidden_size", "big"), "config.json: hidden_size: expected a whole number, found \"big\""));
  CHECK(contains(refusal("hidden_size", 64.0), "hidden_size: expected a whole number, found 64.0"));
  CHECK(contains(refusal("hidden_size", nullptr), "hidden_size: expected a whole number, found null"));
  CHECK(contains(refusal("vocab_size", ~std::uint64_t{0}), "vocab_size: expected a whole number"));
  CHECK(contains(refusal("hidden_size", 4097), "expected a multiple of num_attention_heads = 32"));
  CHECK(contains(refusal("head_dim", 63), "head_dim: expected an even number, found 63"));
  CHECK(contains(refusal("num_key_value_heads", 5), "expected a divisor of num_attention_heads = 32, found 5"));
  CHECK(contains(refusal("num_key_value_heads", 64), "num_key_value_heads: expected 1 to 32, found 64"));
  CHECK(contains(refusal("num_hidden_layers", 1'000'000'000), "num_hidden_layers: expected 1 to 10000"));
  for (const char* key : {"vocab_size", "intermediate_size", "num_hidden_layers", "max_position_embeddings"}) {
    CHECK(contains(refusal(key, 0), std::string("config.json: ") + key + ": expected 1 to "));
    CHECK(contains(refusal(key, -1), std::string("config.json: ") + key + ": expected 1 to "));
    CHECK(contains(refusal(key, std::int64_t{1} << 40), std::string("config.json: ") + key + ": expected 1 to "));
  }
  CHECK(contains(refusal("num_attention_heads", 0), "expected a multiple of num_attention_heads = 0"));
  CHECK(contains(refusal("rms_norm_eps", 0), "rms_norm_eps: expected a number above 0"));
  CHECK(contains(refusal("rms_norm_eps", true), "rms_norm_eps: expected a number, found true"));
  CHECK(contains(refusal("rope_theta", -1), "rope_theta: expected a number above 0, found -1"));
  CHECK(contains(refusal("initializer_range", -0.1), "initializer_range: expected a number of at least 0"));
  CHECK(contains(refusal("tie_word_embeddings", 1), "tie_word_embeddings: expected true or false, found 1"));
  CHECK(contains(refusal("bos_token_id", "<s>"), "bos_token_id: expected a token id or a list of them"));
  CHECK(contains(refusal("bos_token_id", json::array({1, 2})), "bos_token_id: expected one token id"));
  CHECK(contains(refusal("eos_token_id", json::array({1, "a"})), "eos_token_id: expected a token id or a list"));
  CHECK(contains(refusal("eos_token_id", 1LL << 40), "eos_token_id: expected a token id"));
  CHECK(contains(refusal("torch_dtype", "int8"), "torch_dtype: expected float32, bfloat16, float16 or float64"));
  CHECK(contains(refusal("hidden_act", "gelu"), "hidden_act: expected \"silu\", found \"gelu\""));
  CHECK(contains(refusal("partial_rotary_factor", 0.5), "partial_rotary_factor: expected 1"));
  CHECK(contains(refusal("quantization_config", {{"bits", 4}}), "quantised weights are not supported"));
  CHECK(contains(refusal("model_type", "gemma"), "model_type: expected llama, mistral or qwen2, found \"gemma\""));
  CHECK(contains(refusal("model_type", nullptr), "model_type: expected llama, mistral or qwen2, found null"));
  CHECK(contains(message_of([] { parse_llama_config(json::array(), "config.json"); }), "expected a JSON object"));
  const std::string cut = refusal("hidden_act", std::string(1000, 'x'));
  CHECK(cut.size() < 200);
}

TEST_CASE("config: attention over a sliding window is refused, one that is never left accepted") {
  const json mistral{{"model_type", "mistral"}, {"max_position_embeddings", 4096}};
  CHECK(refusal("sliding_window", nullptr, mistral) == "no error");
  CHECK(refusal("sliding_window", 4096, mistral) == "no error");
  CHECK(contains(refusal("sliding_window", 4095, mistral),
                 "sliding_window: expected null or at least max_position_embeddings = 4096"));
  CHECK(refusal("hidden_act", "silu", mistral) == "no error");  // the default window is 4096
  CHECK(contains(refusal("max_position_embeddings", 4097, mistral), "sliding_window: expected null"));

  json qwen{{"model_type", "qwen2"}, {"sliding_window", 4096}};
  CHECK(refusal("use_sliding_window", false, qwen) == "no error");
  CHECK(contains(refusal("use_sliding_window", true, qwen), "sliding_window: expected null or at least"));
  qwen["max_window_layers"] = 32;  // no layer is beyond it
  CHECK(refusal("use_sliding_window", true, qwen) == "no error");
  CHECK(refusal("layer_types", json::array({"full_attention", "full_attention"}), qwen) == "no error");
  CHECK(contains(refusal("layer_types", json::array({"full_attention", "sliding_attention"}), qwen), "layer_types"));
}

TEST_CASE("config: an unchanged config is written as it was read, a changed one keeps the other keys") {
  const json source = json::parse(R"({"model_type": "llama", "colour": {"b": [1, 2.5]}, "num_attention_heads": 8,
    "hidden_size": 512, "dtype": "bfloat16", "rope_scaling": {"type": "linear", "factor": 2}})");
  LlamaConfig config = parse_llama_config(source, "config.json");
  CHECK(nn::to_json(config) == source);
  config.vocab_size = 64;
  config.tie_word_embeddings = true;
  config.torch_dtype = "float32";
  json expected = source;
  expected["vocab_size"] = 64;
  expected["tie_word_embeddings"] = true;
  expected["dtype"] = "float32";
  CHECK(nn::to_json(config) == expected);
  config.rope = {};
  expected["rope_scaling"] = nullptr;
  CHECK(nn::to_json(config) == expected);

  LlamaConfig five = parse_llama_config({{"model_type", "llama"}, {"rope_parameters", {{"rope_theta", 7.0}}}}, "");
  CHECK(nn::to_json(five) == json::parse(R"({"model_type": "llama", "rope_parameters": {"rope_theta": 7.0}})"));
  five.rope.theta = 8;
  CHECK(nn::to_json(five)["rope_parameters"] == json{{"rope_type", "default"}, {"rope_theta", 8.0}});
  CHECK_FALSE(nn::to_json(five).contains("rope_theta"));
}

TEST_CASE("config: one made by hand comes back from its file") {
  const TemporaryFolder folder;
  for (const char* type : {"llama", "mistral", "qwen2"}) {
    CAPTURE(type);
    LlamaConfig config;
    config.model_type = type;
    config.hidden_size = 64;
    config.num_attention_heads = 4;
    config.num_key_value_heads = 2;
    config.head_dim = 24;
    config.attention_bias = config.model_type != "mistral";
    config.attention_output_bias = config.mlp_bias = config.model_type == "llama";
    config.rope = {RopeType::llama3, 500000, 8, 1, 4, 64};
    config.eos_token_ids = {3, 5};
    config.pad_token_id = 0;
    config.torch_dtype = "bfloat16";
    nn::write_llama_config(folder.path(), config);
    std::vector<std::string> warnings;
    const LlamaConfig read = nn::read_llama_config(folder / "config.json", &warnings);
    CHECK(warnings.empty());
    LlamaConfig again = read;
    again.source.clear();
    CHECK(nn::to_json(again) == nn::to_json(config));
    CHECK(read.head_dim == 24);
    CHECK(read.attention_bias == config.attention_bias);
    CHECK(read.attention_output_bias == config.attention_output_bias);
    CHECK(read.mlp_bias == config.mlp_bias);
    CHECK(read.rope.original_max_position_embeddings == 64);
    CHECK(nn::read_llama_config(folder.path()).eos_token_ids == config.eos_token_ids);
  }
  LlamaConfig bad;
  bad.head_dim = 3;
  CHECK(contains(message_of([&] { nn::write_llama_config(folder.path(), bad); }),
                 (folder / "config.json").string() + ": head_dim: expected an even number"));
  for (const auto& [type, flag] :
       {std::pair("mistral", &LlamaConfig::attention_bias), std::pair("mistral", &LlamaConfig::mlp_bias),
        std::pair("qwen2", &LlamaConfig::mlp_bias), std::pair("llama", &LlamaConfig::attention_output_bias)}) {
    LlamaConfig impossible;
    impossible.model_type = type;
    impossible.attention_bias = impossible.model_type == "qwen2";
    impossible.*flag = true;
    CHECK_THROWS_AS(nn::check_llama_config(impossible, "config"), FileError);
  }
}

TEST_CASE("config: files that cannot be read or parsed") {
  const TemporaryFolder folder;
  CHECK(contains(message_of([&] { nn::read_llama_config(folder.path()); }),
                 folder.path().string() + ": expected a model folder with config.json, found a folder without"));
  CHECK(contains(message_of([&] { nn::read_llama_config(folder / "nowhere"); }), "nowhere: expected a model folder"));
  const auto with = [&](const std::string& text) {
    io::write_file_atomically(folder / "config.json", text);
    return message_of([&] { nn::read_llama_config(folder.path()); });
  };
  CHECK(contains(with(""), "config.json: not valid JSON"));
  CHECK(contains(with("{\"model_type\": \"llama\",}"),
                 "not valid JSON: [json.exception.parse_error.101] parse error at line 1"));
  CHECK(contains(with("[1]"), "config.json: expected a JSON object, found array"));
  CHECK(contains(with(std::string(100'000, '[')), "not valid JSON"));
}

TEST_CASE("config: end of generation is generation_config.json's, then the config's") {
  const TemporaryFolder folder;
  const LlamaConfig config = parse(R"({"model_type": "llama", "eos_token_id": 5})");
  using Ids = std::vector<std::int32_t>;
  CHECK(nn::generation_eos_token_ids(folder.path(), config) == Ids{5});
  const auto with = [&](const std::string& text) {
    io::write_file_atomically(folder / "generation_config.json", text);
    return nn::generation_eos_token_ids(folder.path(), config);
  };
  CHECK(with("{}") == Ids{5});
  CHECK(with(R"({"eos_token_id": 7})") == Ids{7});
  CHECK(with(R"({"eos_token_id": [7, 8]})") == Ids{7, 8});
  CHECK(contains(message_of([&] { with(R"({"eos_token_id": "x"})"); }), "generation_config.json: eos_token_id"));
  CHECK(contains(message_of([&] { with("{"); }), "generation_config.json: not valid JSON"));
}

TEST_CASE("config: the golden models' files are read and written back byte by byte") {
  const TemporaryFolder folder;
  for (const auto& golden : osteon::test::golden_models()) {
    CAPTURE(golden.title());
    const fs::path model = golden.model / "model";
    std::vector<std::string> warnings;
    const LlamaConfig config = nn::read_llama_config(model, &warnings);
    CHECK(warnings.empty());
    CHECK(config.vocab_size == 128);
    CHECK(config.num_key_value_heads == 2);
    CHECK(config.torch_dtype == "float32");
    CHECK(nn::generation_eos_token_ids(model, config) == std::vector<std::int32_t>{2});
    nn::write_llama_config(folder.path(), config);
    CHECK((io::read_file(folder / "config.json") == io::read_file(model / "config.json")));
  }
}
