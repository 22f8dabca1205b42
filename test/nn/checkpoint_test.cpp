#include "nn/io/checkpoint.hpp"

#include <doctest/doctest.h>
#include <string>
#include <vector>

#include "backends/error.hpp"
#include "nn/io/atomic_file.hpp"
#include "test/nn/io_messages.hpp"
#include "test/nn/temporary_folder.hpp"

using namespace osteon;
using osteon::test::contains;
using osteon::test::message_of;
using osteon::test::TemporaryFolder;

namespace {

NamedTensors some_tensors(DType dtype, Device device = default_device()) {
  const std::vector<double> weight{1, -2, 3.5, 4, 5, 6}, norm{0.25, 0.5};
  return {{"model.layers.0.weight", from_values(weight, {3, 2}, dtype, device)},
          {"model.norm.weight", from_values(norm, {2}, dtype, device)},
          {"scalar", from_values(std::vector<double>{7}, {}, dtype, device)}};
}

}  // namespace

TEST_CASE("checkpoint: tensors come back in every floating dtype, single or sharded") {
  for (const DType written : {DType::f32, DType::bf16, DType::f64}) {
    for (const DType read : {DType::f32, DType::bf16, DType::f64}) {
      for (const std::int64_t shard : {io::kDefaultShardBytes, std::int64_t{1}}) {
        CAPTURE(written);
        CAPTURE(read);
        const TemporaryFolder folder;
        const NamedTensors tensors = some_tensors(written);
        nn::save_tensors(folder / "made/on/the/way", tensors, "model", shard);
        NamedTensors back;
        for (const auto& [name, tensor] : tensors)
          back.emplace_back(name, zeros(tensor.shape(), read));
        const io::ModelFiles files(folder / "made/on/the/way");
        CHECK(files.files().size() == (shard == 1 ? 3 : 1));
        CHECK(nn::load_tensors(files, back).empty());
        for (std::size_t i = 0; i < back.size(); ++i)
          CHECK(back[i].second.to_doubles() == tensors[i].second.to_doubles());
      }
    }
  }
}

TEST_CASE("checkpoint: what is missing, unexpected or of another shape is listed in one error, nothing is read") {
  const TemporaryFolder folder;
  const float one = 1;
  const std::int64_t id = 1;
  const std::vector<io::TensorToWrite> tensors{
      io::tensor_to_write("model.layers.0.wieght", DType::f32, {1}, &one),
      io::tensor_to_write("model.norm.weight", DType::f32, {1, 1}, &one),
      io::tensor_to_write("fine", DType::f32, {1}, &one),
      {"ids", io::FileDType::i64, {1}, [&] { return std::as_bytes(std::span(&id, 1)); }}};
  io::write_model_files(folder.path(), tensors);
  const Tensor fine = zeros({1}, DType::f32);
  const NamedTensors wanted{{"fine", fine},
                            {"model.layers.0.weight", zeros({1}, DType::f32)},
                            {"model.norm.weight", zeros({1}, DType::f32)},
                            {"ids", zeros({1}, DType::f32)}};
  const io::ModelFiles files(folder.path());
  const std::string file = (folder / "model.safetensors").string();
  CHECK(message_of([&] { nn::load_tensors(files, wanted); }) ==
        folder.path().string() +
            ": the weights are not those of the model:\n1 of 4 tensors are missing:\n  model.layers.0.weight; did you "
            "mean 'model.layers.0.wieght'?\nnot expected, but found:\n  model.layers.0.wieght\n2 of 4 tensors do not "
            "fit:\n  " +
            file + ": model.norm.weight: expected shape [1], found [1, 1]\n  " + file +
            ": ids: expected elements to read as f32, found I64");
  CHECK(fine.to_doubles() == std::vector<double>{0});
  CHECK(nn::load_tensors(files, {{"fine", fine}}) ==
        std::vector<std::string>{"ids", "model.layers.0.wieght", "model.norm.weight"});
  CHECK(fine.to_doubles() == std::vector<double>{1});
}

TEST_CASE("checkpoint: a long list of missing tensors is cut") {
  const TemporaryFolder folder;
  nn::save_tensors(folder.path(), some_tensors(DType::f32));
  NamedTensors wanted;
  for (int i = 0; i < 25; ++i)
    wanted.emplace_back(join("x", i), zeros({1}, DType::f32));
  const std::string message = message_of([&] { nn::check_tensors(io::ModelFiles(folder.path()), wanted); });
  CHECK(contains(message, "25 of 25 tensors are missing:\n  x0\n"));
  CHECK(contains(message, "  x9\n  and 15 more\nnot expected, but found:\n  model.layers.0.weight"));
}

TEST_CASE("checkpoint: names and shapes are checked on the meta device without memory") {
  const TemporaryFolder folder;
  nn::save_tensors(folder.path(), some_tensors(DType::f32));
  const io::ModelFiles files(folder.path());
  CHECK(nn::check_tensors(files, {{"scalar", empty({}, DType::f32, Device::meta)}}).size() == 2);
  const std::int64_t huge = std::int64_t{1} << 40;
  CHECK(contains(message_of([&] {
                   nn::check_tensors(files, {{"scalar", empty({huge}, DType::f32, Device::meta)}});
                 }),
                 "scalar: expected shape [1099511627776], found []"));
}

TEST_CASE("checkpoint: a file in place of the folder") {
  const TemporaryFolder folder;
  io::write_file_atomically(folder / "taken", "x");
  CHECK(contains(message_of([&] { nn::save_tensors(folder / "taken", some_tensors(DType::f32)); }),
                 "taken: expected a folder to write, found a file"));
  CHECK(contains(message_of([&] { nn::save_tensors(folder / "taken/sub", some_tensors(DType::f32)); }),
                 "sub: expected a folder to write, Not a directory"));
}
