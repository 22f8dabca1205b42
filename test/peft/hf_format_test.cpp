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
#include "test/peft/tiny_model.hpp"

using namespace osteon;
using osteon::test::contains;
using osteon::test::message_of;
using osteon::test::TemporaryFolder;
using osteon::test::tiny_model;

namespace {

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

void check_equal(const NamedTensors& read, const NamedTensors& written) {
  REQUIRE(read.size() == written.size());
  for (std::size_t i = 0; i < read.size(); ++i) {
    CHECK(read[i].first == written[i].first);
    CHECK(read[i].second.to_doubles() == written[i].second.to_doubles());
  }
}

void change_config(const std::filesystem::path& folder, const char* key, const nlohmann::json& value) {
  auto config = nlohmann::json::parse(io::read_file(folder / "adapter_config.json"));
  config[key] = value;
  io::write_file_atomically(folder / "adapter_config.json", config.dump());
}

std::string loading(nn::Llama& model, const std::filesystem::path& folder) {
  return message_of([&] {
    peft::PeftModel adapted(model);
    peft::load_adapter(adapted, folder);
  });
}

}  // namespace

TEST_CASE("adapter folders: what is saved comes back") {
  const auto model = tiny_model();
  for (const char* method : {"lora", "bone", "bat", "dora"}) {
    CAPTURE(method);
    const TemporaryFolder folder;
    const NamedTensors written = save_numbered(*model, method, folder.path());
    peft::PeftModel adapted(*model);
    peft::load_adapter(adapted, folder.path());
    check_equal(peft::adapter_tensors(adapted), written);
  }
}

TEST_CASE("adapter folders: both names of Bone's block are read") {
  const auto model = tiny_model();
  struct Names {
    const char *method, *own, *other;
  };
  for (const Names& names : {Names{"bone", "bone_block", "miss_block"}, Names{"miss", "miss_block", "bone_block"},
                             Names{"bat", "bone_block", "miss_block"}}) {
    CAPTURE(names.method);
    const TemporaryFolder folder;
    const NamedTensors written = save_numbered(*model, names.method, folder.path());
    NamedTensors renamed = written;
    for (auto& [name, tensor] : renamed) {
      REQUIRE(name.ends_with(join(".", names.own)));
      name.replace(name.rfind('.') + 1, std::string::npos, names.other);
    }
    nn::save_tensors(folder.path(), renamed, "adapter_model");
    peft::PeftModel adapted(*model);
    peft::load_adapter(adapted, folder.path());
    check_equal(peft::adapter_tensors(adapted), written);
  }
}

TEST_CASE("adapter folders: missing, left over and misshapen tensors are refused by name") {
  const auto model = tiny_model();
  const TemporaryFolder folder;
  const NamedTensors good = save_numbered(*model, "lora", folder.path());
  const auto with = [&](const NamedTensors& tensors) {
    nn::save_tensors(folder.path(), tensors, "adapter_model");
    return loading(*model, folder.path());
  };
  CHECK(with(good) == "no error");
  NamedTensors less(good.begin() + 1, good.end());
  CHECK(contains(with(less), "1 of 8 tensors are missing:\n  " + good[0].first));
  NamedTensors more = good;
  more.emplace_back("base_model.model.model.layers.7.self_attn.q_proj.lora_A.weight", good[0].second);
  CHECK(contains(with(more), "layers.7.self_attn.q_proj.lora_A.weight\" and 0 more tensors belong to no module"));
  NamedTensors other = good;
  other[0].second = zeros({3, 16}, DType::f32);
  CHECK(contains(with(other), good[0].first + ": expected shape [2, 16], found [3, 16]"));
}

TEST_CASE("adapter folders: a failed load leaves the model without that adapter, and allocates nothing") {
  const auto model = tiny_model();
  const TemporaryFolder folder;
  const NamedTensors good = save_numbered(*model, "lora", folder.path());
  change_config(folder.path(), "r", std::int64_t{1} << 24);
  peft::PeftModel adapted(*model);
  CHECK(contains(message_of([&] { peft::load_adapter(adapted, folder.path()); }),
                 "expected shape [16777216, 16], found [2, 16]"));
  CHECK(adapted.adapter_names().empty());
  change_config(folder.path(), "r", 2);
  peft::load_adapter(adapted, folder.path());
  CHECK(adapted.adapter_names() == std::vector<std::string>{"default"});
}

TEST_CASE("adapter folders: weights that are absent, cut off or of another kind") {
  const auto model = tiny_model();
  const TemporaryFolder folder;
  const NamedTensors good = save_numbered(*model, "lora", folder.path());
  const std::filesystem::path weights = folder / "adapter_model.safetensors";
  const std::string bytes = io::read_file(weights);
  io::write_file_atomically(weights, bytes.substr(0, bytes.size() - 1));
  const std::string cut = loading(*model, folder.path());
  CHECK(cut.starts_with(weights.string() + ": tensor base_model.model.model.layers.1.self_attn.q_proj.lora_B.weight"));
  CHECK(contains(cut, ": expected data_offsets within [0, 1215], the file's data, found [1088, 1216]"));
  io::write_file_atomically(weights, "");
  CHECK(contains(loading(*model, folder.path()), weights.string() + ": expected a safetensors file, which starts"));
  const std::vector<std::int32_t> ids(32);
  NamedTensors whole = good;
  whole[0].second = from_ids(ids, good[0].second.shape());
  nn::save_tensors(folder.path(), whole, "adapter_model");
  CHECK(contains(loading(*model, folder.path()),
                 weights.string() + ": " + good[0].first + ": expected elements to read as f32, found "));
  std::filesystem::rename(weights, folder / "adapter_model.bin");
  CHECK(contains(loading(*model, folder.path()),
                 folder.path().string() + ": expected adapter_model.safetensors or adapter_model.safetensors.index.json"
                                          ", found adapter_model.bin"));
  std::filesystem::remove(folder / "adapter_config.json");
  CHECK(contains(loading(*model, folder.path()), (folder / "adapter_config.json").string() + ": cannot open"));
}

TEST_CASE("adapter folders: a config that the model or the method cannot follow is refused with its file") {
  const auto model = tiny_model();
  const auto with = [&](const char* method, const char* key, const nlohmann::json& value) {
    const TemporaryFolder folder;
    save_numbered(*model, method, folder.path());
    change_config(folder.path(), key, value);
    const std::string message = loading(*model, folder.path()), path = (folder / "adapter_config.json").string() + ": ";
    REQUIRE(message.starts_with(path));
    return message.substr(path.size());
  };
  CHECK(with("lora", "r", 0) == "lora: rank: expected 1 to 16777216, got 0");
  CHECK(with("bone", "r", std::int64_t{1} << 62) == "bone: rank: expected 1 to 16777216, got 4611686018427387904");
  CHECK(contains(with("bat", "r", 3), "expected multiples of rank, got rank 3 (model.layers.0.self_attn.q_proj)"));
  CHECK(contains(with("miss_mini", "mini_r", 5), "mini_r: expected a divisor of out_features 16, got 5"));
  CHECK(contains(with("miss_mini", "mini_r", std::int64_t{1} << 62), "mini_r: expected a divisor of out_features 16"));
  CHECK(with("lora", "bias", "lora_ony") ==
        "lora: bias: expected none, all or lora_only, got \"lora_ony\"; did you mean 'lora_only'?");
  CHECK(contains(with("lora", "lora_dropout", 1.5), "dropout: expected a number in [0, 1), got 1.5"));
  CHECK(with("lora", "target_modules", {"q_prj"}) ==
        "target_modules: no linear matches \"q_prj\"; did you mean 'q_proj'?");
  CHECK(contains(with("lora", "target_modules", nlohmann::json::array()), "target_modules: expected names"));
  CHECK(contains(with("lora", "target_modules", "(q"), "target_modules: expected a regular expression, got \"(q\""));
  CHECK(contains(with("lora", "modules_to_save", {"lm_heads"}), "modules_to_save: no module of the model matches"));
}

TEST_CASE("adapter folders: every method's ranks by module survive") {
  const auto model = tiny_model();
  for (const char* method : {"lora", "dora", "bone", "miss", "miss_mini", "bat"}) {
    CAPTURE(method);
    const TemporaryFolder folder;
    peft::AdapterConfig config = config_of(method);
    config.rank_pattern = {{"layers.1.self_attn.q_proj", 4}};
    peft::PeftModel adapted(*model), loaded(*model);
    adapted.add(config);
    peft::save_adapter(adapted, folder.path());
    CHECK(peft::load_adapter(loaded, folder.path()).config.rank_pattern == config.rank_pattern);
  }
}
