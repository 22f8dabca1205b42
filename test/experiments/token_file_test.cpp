#include "experiments/data/token_file.hpp"

#include <doctest/doctest.h>

#include "backends/error.hpp"
#include "nn/io/safetensors.hpp"
#include "test/experiments/temporary_file.hpp"
#include "test/paths.hpp"

using namespace osteon;
using namespace osteon::experiments;

namespace {

using Ints = std::vector<std::int32_t>;
struct Named {
  std::string name;
  Shape shape;
  Ints values;
};

void write(const TemporaryFile& file, const std::vector<Named>& tensors) {
  std::vector<io::TensorToWrite> out;
  for (const Named& tensor : tensors)
    out.push_back(io::tensor_to_write(tensor.name, DType::i32, tensor.shape, tensor.values.data()));
  io::write_safetensors(file.path(), out);
}

std::string error_of(const std::vector<Named>& tensors) {
  const TemporaryFile file("t.safetensors");
  write(file, tensors);
  try {
    read_token_file(file.path(), 10);
  } catch (const Error& error) {
    const std::string text = error.what();
    return text.substr(text.find("t.safetensors"));
  }
  return "no error";
}

}  // namespace

TEST_CASE("batches with labels and masks, in order") {
  const TemporaryFile file("t.safetensors");
  write(file, {{"input_ids.0", {2, 3}, {1, 2, 3, 4, 5, 0}},
               {"labels.0", {2, 3}, {-100, 2, 3, -100, 5, 7}},
               {"attention_mask.0", {2, 3}, {1, 1, 1, 1, 1, 0}},
               {"input_ids.1", {1, 2}, {8, 9}}});
  const auto batches = read_token_file(file.path(), 10);
  REQUIRE(batches.size() == 2);
  CHECK(batches[0].labels == Ints{-100, 2, 3, -100, 5, -100});  // padding is never a label
  CHECK(batches[0].key_range == Ints{0, 1, 0, 2, 0, 3, 0, 1, 0, 2, 0, 2});
  CHECK(batches[1].labels == Ints{8, 9});
  CHECK(batches[1].key_range.empty());

  TokenFileStream stream(batches, 1);
  CHECK(stream.steps_in(1.5) == 3);
  CHECK(stream.next().batches[0] == batches[0]);
  const StreamState state = stream.state();
  CHECK(stream.next().sample_ids == std::vector<std::int64_t>{1});
  CHECK(stream.next().batches[0] == batches[0]);  // the next epoch, in the same order
  CHECK(stream.state().epoch == 1);
  TokenFileStream resumed(batches, 1);
  resumed.restore(state);
  CHECK(resumed.next().batches[0] == batches[1]);
  CHECK_THROWS_AS(resumed.restore({.position = 3}), ConfigError);
  CHECK(TokenFileStream(batches, 3).next().batches.size() == 2);
  CHECK_THROWS_AS(TokenFileStream({}, 1), ConfigError);
  CHECK_THROWS_AS(TokenFileStream(batches, 0), ConfigError);
}

TEST_CASE("one batch without a number") {
  const TemporaryFile file("t.safetensors");
  write(file, {{"input_ids", {1, 2}, {1, 2}}, {"labels", {1, 2}, {-100, 2}}, {"logits", {1}, {0}}});
  const auto batches = read_token_file(file.path(), 10);
  REQUIRE(batches.size() == 1);
  CHECK(batches[0].labels == Ints{-100, 2});
}

TEST_CASE("what is wrong with a token file") {
  CHECK(error_of({{"ids", {1}, {1}}}) == "t.safetensors: expected a tensor input_ids.0 or input_ids, got none");
  CHECK(error_of({{"input_ids.0", {2}, {1, 2}}}) ==
        "t.safetensors: input_ids.0: expected the shape [batch, seq_len], got [2]");
  CHECK(error_of({{"input_ids.0", {1, 2}, {1, 2}}, {"labels.0", {2, 1}, {1, 2}}}) ==
        "t.safetensors: labels.0: expected the shape of input_ids, [1, 2], got [2, 1]");
  CHECK(error_of({{"input_ids.0", {1, 2}, {1, 2}}, {"input_ids.2", {1, 2}, {1, 2}}}) ==
        "t.safetensors: input_ids.2: expected input_ids.1 as the next batch");
  CHECK(error_of({{"input_ids.0", {1, 2}, {1, 2}}, {"labels.1", {1, 2}, {1, 2}}})
            .find("labels.1: expected input_ids.1") != std::string::npos);
  CHECK(error_of({{"input_ids.x", {1, 2}, {1, 2}}}).find("input_ids.x: expected input_ids.0") != std::string::npos);
  CHECK(error_of({{"input_ids.0", {1, 3}, {1, 2, 3}}, {"attention_mask.0", {1, 3}, {0, 1, 1}}}) ==
        "t.safetensors: attention_mask.0: row 0: expected ones and then zeros (padding on the right)");
  CHECK(
      error_of({{"input_ids.0", {1, 2}, {1, 2}}, {"attention_mask.0", {1, 2}, {0, 0}}}).find("row 0: expected ones") !=
      std::string::npos);
  CHECK(error_of({{"input_ids.0", {1, 2}, {1, 10}}}) ==
        "t.safetensors: input_ids.0: token 1: expected an id in [0, 10), got 10");
  CHECK(error_of({{"input_ids.0", {1, 2}, {1, 2}}, {"labels.0", {1, 2}, {1, -5}}}).find("label 1: expected -100 or") !=
        std::string::npos);
  const TemporaryFile bad("t.safetensors", "not a header");
  CHECK_THROWS_AS(read_token_file(bad.path(), 10), FileError);
}

TEST_CASE("the golden batches") {
  const auto shared = test::shared();
  if (!shared) {
    MESSAGE("left out: no shared/golden");
    return;
  }
  const auto batches = read_token_file(*shared / "golden/llama-gqa/train_batches.safetensors", 1 << 20);
  CHECK(batches.size() == 12);
  CHECK(!batches[0].key_range.empty());  // its last row is padded
}
