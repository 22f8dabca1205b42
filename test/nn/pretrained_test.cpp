#include "nn/io/pretrained.hpp"

#include <doctest/doctest.h>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "backends/error.hpp"
#include "nn/io/atomic_file.hpp"
#include "nn/io/checkpoint.hpp"
#include "test/golden_case.hpp"
#include "test/nn/io_messages.hpp"
#include "test/nn/temporary_folder.hpp"
#include "test/nn/tiny_llama.hpp"

using namespace osteon;
using nlohmann::json;
using osteon::test::contains;
using osteon::test::message_of;
using osteon::test::TemporaryFolder;
using osteon::test::tiny_llama_config;
namespace fs = std::filesystem;

namespace {

void check_equal(const nn::Llama& a, const nn::Llama& b) {
  const NamedTensors left = a.parameters(), right = b.parameters();
  REQUIRE(left.size() == right.size());
  for (std::size_t i = 0; i < left.size(); ++i) {
    CHECK(left[i].first == right[i].first);
    CHECK(left[i].second.to_doubles() == right[i].second.to_doubles());
  }
}

void change_config(const fs::path& folder, const std::string& key, const json& value) {
  json config = json::parse(io::read_file(folder / "config.json"));
  config[key] = value;
  io::write_file_atomically(folder / "config.json", config.dump());
}

std::string loading(const fs::path& folder) {
  return message_of([&] { nn::load_llama(folder, DType::f32); });
}

}  // namespace

TEST_CASE("pretrained: where the weights do not fit, a key of config.json that nothing reads is named as a cause") {
  const TemporaryFolder folder;
  nn::Llama model(tiny_llama_config(), DType::f32);
  model.initialize(3);
  nn::save_llama(model, folder.path());
  json config = json::parse(io::read_file(folder / "config.json"));
  config["num_hiden_layers"] = config["num_hidden_layers"];
  config.erase("num_hidden_layers");
  io::write_file_atomically(folder / "config.json", config.dump());
  CHECK(contains(loading(folder.path()), "tensors are missing"));
  CHECK(contains(loading(folder.path()),
                 "config.json: unknown key num_hiden_layers is ignored; did you mean 'num_hidden_layers'?"));
}

TEST_CASE("pretrained: a model comes back from its folder, and says in which dtype it is stored") {
  for (const DType dtype : {DType::f32, DType::bf16}) {
    const TemporaryFolder folder;
    nn::Llama model(tiny_llama_config(), dtype);
    model.initialize(3);
    nn::save_llama(model, folder / "model");
    std::vector<std::string> warnings;
    check_equal(model, *nn::load_llama(folder / "model", dtype, default_device(), &warnings));
    CHECK(warnings.empty());
    CHECK(nn::read_llama_config(folder / "model").torch_dtype == (dtype == DType::f32 ? "float32" : "bfloat16"));
    CHECK(nn::load_llama(folder / "model", dtype, Device::meta)->parameter_count() == model.parameter_count());
  }
}

TEST_CASE("pretrained: a config of another model is refused before its size is allocated") {
  const TemporaryFolder folder;
  nn::Llama model(tiny_llama_config(), DType::f32);
  model.initialize(3);
  nn::save_llama(model, folder.path());
  change_config(folder.path(), "vocab_size", 1 << 28);
  change_config(folder.path(), "intermediate_size", 1 << 28);
  CHECK(contains(loading(folder.path()), "model.embed_tokens.weight: expected shape [268435456, 16], found [24, 16]"));
  change_config(folder.path(), "vocab_size", 24);
  change_config(folder.path(), "intermediate_size", 28);
  change_config(folder.path(), "num_hidden_layers", 3);
  CHECK(contains(loading(folder.path()), "9 of 30 tensors are missing:\n  model.layers.2."));
  change_config(folder.path(), "num_hidden_layers", 1);
  std::vector<std::string> warnings;
  nn::load_llama(folder.path(), DType::f32, default_device(), &warnings);
  CHECK(warnings.size() == 9);
  CHECK(contains(warnings.at(0), "model.layers.1.input_layernorm.weight: no such parameter, ignored"));
}

TEST_CASE("pretrained: computed tensors and copies of a tied head in older files are no surprise") {
  const TemporaryFolder folder;
  nn::LlamaConfig config = tiny_llama_config();
  config.tie_word_embeddings = true;
  nn::Llama model(config, DType::f32);
  model.initialize(3);
  NamedTensors tensors = model.parameters();
  tensors.emplace_back("lm_head.weight", zeros({24, 16}, DType::f32));
  tensors.emplace_back("model.layers.0.self_attn.rotary_emb.inv_freq", zeros({2}, DType::f32));
  nn::save_tensors(folder.path(), tensors);
  nn::write_llama_config(folder.path(), config);
  std::vector<std::string> warnings;
  check_equal(model, *nn::load_llama(folder.path(), DType::f32, default_device(), &warnings));
  CHECK(warnings.empty());
}

TEST_CASE("pretrained: a model that is saved over another keeps its other files and the keys of its config") {
  const TemporaryFolder folder;
  nn::Llama model(tiny_llama_config(), DType::f32);
  model.initialize(3);
  nn::save_llama(model, folder.path());
  change_config(folder.path(), "dtype", "bfloat16");
  change_config(folder.path(), "colour", "blue");
  io::write_file_atomically(folder / "tokenizer.json", "{}");
  nn::save_llama(*nn::load_llama(folder.path(), DType::f32), folder.path());
  const json config = json::parse(io::read_file(folder / "config.json"));
  CHECK(config["colour"] == "blue");
  CHECK(nn::read_llama_config(folder.path()).torch_dtype == "float32");
  CHECK(fs::exists(folder / "tokenizer.json"));
}

TEST_CASE("pretrained: the golden models and a real one load without a warning and save to the same bytes") {
  std::vector<fs::path> originals;
  for (const auto& golden : osteon::test::golden_models())
    originals.push_back(golden.model / "model");
  if (const auto shared = osteon::test::shared())
    originals.push_back(*shared / "data/stories260k/hf");
  for (const fs::path& original : originals) {
    CAPTURE(original.string());
    const TemporaryFolder folder;
    std::vector<std::string> warnings;
    nn::save_llama(*nn::load_llama(original, DType::f32, default_device(), &warnings), folder.path());
    CHECK(warnings.empty());
    CHECK((io::read_file(folder / "model.safetensors") == io::read_file(original / "model.safetensors")));
    CHECK(json::parse(io::read_file(folder / "config.json")) == json::parse(io::read_file(original / "config.json")));
  }
}
