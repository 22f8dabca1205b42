#include <algorithm>
#include <doctest/doctest.h>

#include "nn/io/atomic_file.hpp"
#include "peft/convert.hpp"
#include "test/nn/temporary_folder.hpp"
#include "test/peft/golden_adapter.hpp"

using namespace osteon;
using nlohmann::json;
using osteon::test::GoldenCase;
using osteon::test::TemporaryFolder;
namespace fs = std::filesystem;

// Adapter folders as peft writes them.

namespace {

/// "name dtype shape" of every tensor of a file.
std::vector<std::string> layout_of(const fs::path& file) {
  const io::ModelFiles files(file);
  std::vector<std::string> lines;
  for (const std::string& name : files.names())
    lines.push_back(join(test::name_in_file(name), " ", files.info(name).dtype, " ", files.info(name).shape));
  return lines;
}

/// An adapter_config.json; target_modules is a set in peft, which writes it in an order that changes from run to run.
json config_in(const fs::path& folder) {
  json config = test::read_json(folder / "adapter_config.json");
  if (json& targets = config["target_modules"]; targets.is_array())
    std::sort(targets.begin(), targets.end());
  return config;
}

/// peft's config of a case of the same set whose method is `method`.
json peft_config(const std::string& method, bool whole) {
  for (const GoldenCase& golden : test::golden_cases())
    if (golden.method == method && golden.whole == whole)
      return config_in(golden.folder / "adapter_before");
  FAIL("no golden case of ", method);
  return {};
}

void check_same_bytes(const fs::path& got, const fs::path& expected) {
  CHECK_MESSAGE((io::read_file(got) == io::read_file(expected)), expected.string());
}

}  // namespace

TEST_CASE("golden: an adapter made here is written with peft's keys, shapes, dtypes and config") {
  for (const GoldenCase& golden : test::golden_cases()) {
    if (golden.is_full())
      continue;
    CAPTURE(golden.title());
    const auto model = test::load_golden(golden);
    peft::PeftModel adapted(*model);
    adapted.add(test::golden_config(golden.method));
    const TemporaryFolder folder;
    peft::save_adapter(adapted, folder.path());
    const fs::path weights = folder / "adapter_model.safetensors";
    if (test::is_residual(golden)) {
      // peft's folder is LoRA's with another start: the set holds the tensors alone.
      CHECK(layout_of(weights) == layout_of(golden.folder / "trainable_before.safetensors"));
      json expected = peft_config("lora", golden.whole);
      expected["lora_alpha"] = 4;
      expected["init_lora_weights"] = golden.method;
      CHECK(config_in(folder.path()) == expected);
      continue;
    }
    const fs::path peft = golden.folder / "adapter_before";
    CHECK(layout_of(weights) == layout_of(peft / "adapter_model.safetensors"));
    CHECK(io::SafetensorsFile(weights).metadata() ==
          io::SafetensorsFile(peft / "adapter_model.safetensors").metadata());
    // Every key of peft's, none beyond them. Two hold what is not the adapter's: base_model_name_or_path and, where
    // no task type is set, auto_mapping with the classes of the base; the golden configs have "" and Llama's.
    CHECK(config_in(folder.path()) == config_in(peft));
  }
}

TEST_CASE("golden: peft's adapter folder, loaded and saved, is the same bytes") {
  for (const GoldenCase& golden : test::golden_cases())
    for (const char* when : {"adapter_before", "adapter_after"}) {
      const fs::path peft = golden.folder / when;
      if (golden.is_full() || test::is_residual(golden) || (!golden.whole && !fs::exists(peft)))
        continue;
      CAPTURE(golden.title());
      const auto model = test::load_golden(golden);
      peft::PeftModel adapted(*model);
      std::vector<std::string> warnings;
      peft::load_adapter(adapted, peft, "default", &warnings);
      CHECK(warnings.empty());
      const TemporaryFolder folder;
      peft::save_adapter(adapted, folder.path());
      check_same_bytes(folder / "adapter_model.safetensors", peft / "adapter_model.safetensors");
      check_same_bytes(folder / "adapter_config.json", peft / "adapter_config.json");
    }
}

TEST_CASE("golden: Bone's folder and MiSS' are one another's under the other name") {
  for (const GoldenCase& golden : test::golden_cases()) {
    if (golden.method != "miss")
      continue;
    CAPTURE(golden.title());
    const fs::path miss = golden.folder / "adapter_before";
    const auto model = test::load_golden(golden);
    peft::PeftModel adapted(*model);
    peft::load_adapter(adapted, miss, "miss");
    peft::convert_adapter(adapted, "bone", "bone");
    const TemporaryFolder folder;
    peft::save_adapter(adapted, folder / "bone", "bone");

    json expected = peft_config("bone_ragged", golden.whole);
    expected["r"] = 16;
    CHECK(config_in(folder / "bone") == expected);
    const io::ModelFiles ours(folder / "bone", "adapter_model"), theirs(miss, "adapter_model");
    REQUIRE(ours.names().size() == theirs.names().size());
    for (const std::string& name : theirs.names()) {
      REQUIRE(name.ends_with(".miss_block"));
      const std::string as_bone = name.substr(0, name.size() - 10) + "bone_block";
      CAPTURE(as_bone);
      REQUIRE(ours.contains(as_bone));
      CHECK(test::read_tensor(ours, as_bone, DType::f32).to_doubles() ==
            test::read_tensor(theirs, name, DType::f32).to_doubles());
    }

    // And back, through the file.
    peft::load_adapter(adapted, folder / "bone", "again");
    peft::convert_adapter(adapted, "miss", "back");
    peft::save_adapter(adapted, folder / "miss", "back");
    check_same_bytes(folder / "miss/adapter_model.safetensors", miss / "adapter_model.safetensors");
    check_same_bytes(folder / "miss/adapter_config.json", miss / "adapter_config.json");
  }
}
