#include "nn/io/model_files.hpp"

#include <algorithm>
#include <doctest/doctest.h>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "backends/error.hpp"
#include "nn/io/atomic_file.hpp"
#include "test/nn/io_messages.hpp"
#include "test/nn/temporary_folder.hpp"

using namespace osteon;
using io::ModelFiles;
using osteon::test::contains;
using osteon::test::message_of;
using osteon::test::TemporaryFolder;
namespace fs = std::filesystem;

namespace {

struct FiveTensors {
  std::vector<std::vector<float>> values;
  std::vector<io::TensorToWrite> tensors;

  FiveTensors() {
    for (std::size_t i = 0; i < 5; ++i)
      values.emplace_back(10 * (i + 1), static_cast<float>(i));  // 40, 80, 120, 160, 200 bytes
    for (std::size_t i = 0; i < 5; ++i)
      tensors.push_back(io::tensor_to_write(join("t", i), DType::f32, {static_cast<std::int64_t>(values[i].size())},
                                            values[i].data()));
  }

  void check_in(const ModelFiles& files) const {
    CHECK(files.names() == std::vector<std::string>{"t0", "t1", "t2", "t3", "t4"});
    for (std::size_t i = 0; i < 5; ++i) {
      std::vector<float> read(values[i].size());
      files.read_into(join("t", i), read.data(), DType::f32);
      CHECK(read == values[i]);
    }
  }
};

std::vector<std::string> list(const fs::path& folder) {
  std::vector<std::string> names;
  for (const auto& entry : fs::directory_iterator(folder))
    names.push_back(entry.path().filename().string());
  std::sort(names.begin(), names.end());
  return names;
}

std::string opening(const fs::path& path) {
  return message_of([&] { ModelFiles{path}; });
}

}  // namespace

TEST_CASE("model files: one file, shards, one file again: each replaces the other") {
  const TemporaryFolder folder;
  const FiveTensors five;
  io::write_file_atomically(folder / "config.json", "{}");
  io::write_model_files(folder.path(), five.tensors);
  CHECK(list(folder.path()) == std::vector<std::string>{"config.json", "model.safetensors"});
  five.check_in(ModelFiles(folder.path()));
  five.check_in(ModelFiles(folder / "model.safetensors"));

  io::write_model_files(folder.path(), five.tensors, 160);  // t0 t1 | t2 | t3 | t4: the last is larger than a shard
  CHECK(list(folder.path()) ==
        std::vector<std::string>{"config.json", "model-00001-of-00004.safetensors", "model-00002-of-00004.safetensors",
                                 "model-00003-of-00004.safetensors", "model-00004-of-00004.safetensors",
                                 "model.safetensors.index.json"});
  const auto index = nlohmann::json::parse(io::read_file(folder / "model.safetensors.index.json"));
  CHECK(index["metadata"]["total_size"] == 600);
  CHECK(index["weight_map"].size() == 5);
  CHECK(index["weight_map"]["t1"] == "model-00001-of-00004.safetensors");
  CHECK(index["weight_map"]["t4"] == "model-00004-of-00004.safetensors");
  {
    const ModelFiles files(folder.path());
    five.check_in(files);
    CHECK(files.files().size() == 4);
    CHECK(files.warnings().empty());
    CHECK(files.contains("t3"));
    CHECK_FALSE(files.contains("t5"));
    CHECK(files.info("t3").shape == Shape{40});
    CHECK(files.file_of("t3").path().filename() == "model-00003-of-00004.safetensors");
    CHECK(contains(message_of([&] { files.info("t5"); }), "no tensor t5 among its 5"));
  }

  io::write_model_files(folder.path(), five.tensors, 360);
  CHECK(list(folder.path()).size() == 4);
  five.check_in(ModelFiles(folder.path()));

  io::write_model_files(folder.path(), five.tensors, 600);
  CHECK(list(folder.path()) == std::vector<std::string>{"config.json", "model.safetensors"});
}

TEST_CASE("model files: another stem is another set") {
  const TemporaryFolder folder;
  const FiveTensors five;
  io::write_model_files(folder.path(), five.tensors, 100);
  io::write_model_files(folder.path(), std::span(five.tensors).first(1), io::kDefaultShardBytes, io::default_metadata(),
                        "adapter_model");
  five.check_in(ModelFiles(folder.path()));
  CHECK(ModelFiles(folder.path(), "adapter_model").names() == std::vector<std::string>{"t0"});
}

TEST_CASE("model files: a folder without weights says what it holds instead") {
  const TemporaryFolder folder;
  CHECK(opening(folder.path()) ==
        folder.path().string() + ": expected model.safetensors or model.safetensors.index.json, found no weights");
  io::write_file_atomically(folder / "pytorch_model.bin", "x");
  CHECK(contains(opening(folder.path()), "found pytorch_model.bin"));
  CHECK(contains(opening(folder / "nowhere"), "nowhere: cannot open: No such file or directory"));
}

TEST_CASE("model files: a broken index or shard is refused with the file's name") {
  const TemporaryFolder folder;
  const FiveTensors five;
  io::write_model_files(folder.path(), five.tensors, 160);
  const fs::path index = folder / "model.safetensors.index.json";
  const std::string good = io::read_file(index);
  const auto with = [&](auto&& change) {
    auto json = nlohmann::json::parse(good);
    change(json);
    io::write_file_atomically(index, json.dump());
    return opening(folder.path());
  };
  using nlohmann::json;

  io::write_file_atomically(index, "{\"weight_map\":");
  CHECK(contains(opening(folder.path()), index.string() + ": not valid JSON"));
  for (const char* text : {"[]", "{}", R"({"weight_map":[]})"}) {
    io::write_file_atomically(index, text);
    CHECK(contains(opening(folder.path()), index.string() + ": expected an object \"weight_map\""));
  }
  CHECK(contains(with([](json& j) { j["weight_map"] = json::object(); }), "expected at least one tensor"));
  CHECK(contains(with([](json& j) { j["weight_map"]["t1"] = 7; }), "weight_map: t1: expected a file name, found 7"));
  for (const char* name : {"../model.safetensors", "/etc/passwd", "..", "", "sub/x.safetensors", "pytorch_model.bin"})
    CHECK(contains(with([&](json& j) { j["weight_map"]["t1"] = name; }), "expected the name of a safetensors file"));
  CHECK(contains(with([](json& j) { j["weight_map"]["t1"] = "gone.safetensors"; }), "missing: gone.safetensors"));
  CHECK(contains(with([](json& j) {
                   j["weight_map"]["t1"] = "model-00002-of-00004.safetensors";
                   j["weight_map"]["t9"] = "model-00003-of-00004.safetensors";
                 }),
                 "their shard does not hold:\n  t1 in model-00002-of-00004.safetensors\n  t9 in model-00003-of"));

  with([](json& j) { j["weight_map"].erase("t0"); });
  const ModelFiles files(folder.path());
  REQUIRE(files.warnings().size() == 1);
  CHECK(contains(files.warnings()[0], "model-00001-of-00004.safetensors: tensor t0 is not in the index"));
  CHECK_FALSE(files.contains("t0"));

  io::write_file_atomically(index, good);
  fs::resize_file(folder / "model-00002-of-00004.safetensors", 50);
  CHECK(
      contains(opening(folder.path()), (folder / "model-00002-of-00004.safetensors").string() + ": expected a header"));
}

TEST_CASE("model files: a tensor in two shards is read from the one the index names") {
  const TemporaryFolder folder;
  const float one = 1, two = 2;
  io::write_safetensors(folder / "a.safetensors", std::vector{io::tensor_to_write("x", DType::f32, {1}, &one)});
  io::write_safetensors(folder / "b.safetensors", std::vector{io::tensor_to_write("x", DType::f32, {1}, &two),
                                                              io::tensor_to_write("y", DType::f32, {1}, &two)});
  io::write_file_atomically(folder / "model.safetensors.index.json",
                            R"({"weight_map":{"x":"a.safetensors","y":"b.safetensors"}})");
  const ModelFiles files(folder.path());
  float read = 0;
  files.read_into("x", &read, DType::f32);
  CHECK(read == 1);
  REQUIRE(files.warnings().size() == 1);
  CHECK(contains(files.warnings()[0], "b.safetensors: tensor x is ignored: the index takes it from a.safetensors"));
}

TEST_CASE("model files: what cannot be written is refused") {
  const TemporaryFolder folder;
  const FiveTensors five;
  std::vector<io::TensorToWrite> twice = five.tensors;
  twice.push_back(twice.front());
  CHECK(contains(message_of([&] { io::write_model_files(folder.path(), twice, 160); }), "tensor t0 comes twice"));
  CHECK(contains(message_of([&] { io::write_model_files(folder.path(), five.tensors, 0); }), "expected more than 0"));
  CHECK(contains(message_of([&] { io::write_model_files(folder / "gone", five.tensors); }), "No such file"));
}
