#include "experiments/data/open.hpp"

#include <doctest/doctest.h>

#include "backends/error.hpp"
#include "experiments/tasks/held_out.hpp"
#include "nn/io/safetensors.hpp"
#include "nn/llama.hpp"
#include "test/experiments/byte_text.hpp"
#include "test/experiments/temporary_file.hpp"

using namespace osteon;
using namespace osteon::experiments;

namespace {

RunConfig config_for(std::string data) {
  RunConfig config;
  config.data = std::move(data);
  config.batch_size = 2;
  config.accumulate = 2;
  config.seq_len = 32;
  config.seed = 1;
  return config;
}

}  // namespace

TEST_CASE("tasks, the mixture, files of records and of tokens open as streams") {
  const ByteText tokenizer;
  CHECK(open_training_data(config_for("synthetic:down"), tokenizer, 260)->next().batches[1].seq_len == 24);
  CHECK(open_training_data(config_for("mixture"), tokenizer, 260)->next().batches[1].seq_len == 32);

  const TemporaryFile records("d.jsonl", "{\"text\": \"abc\"}\n{\"text\": \"de\"}\n{\"text\": \"f0\"}\n");
  RunConfig config = config_for(records.path().string());
  config.shuffle = false;
  auto stream = open_training_data(config, tokenizer, 260);
  CHECK(stream->steps_in(2) == 2);
  CHECK(stream->next().batches[0].input_ids == std::vector<std::int32_t>{'a', 'b', 'c', 'd', 'e', 0});
  config.packing = true;
  const StepData packed = open_training_data(config, tokenizer, 260)->next();
  CHECK(packed.batches[0].seq_len == 32);
  CHECK(packed.batches[0].batch_size == 1);
  CHECK(packed.loss_tokens() == 4);

  const TemporaryFile tokens("t.safetensors");
  const std::vector<std::int32_t> ids{1, 2};
  io::write_safetensors(tokens.path(), std::vector{io::tensor_to_write("input_ids.0", DType::i32, {1, 2}, ids.data())});
  CHECK(open_training_data(config_for(tokens.path().string()), tokenizer, 260)->next().batches[0].input_ids == ids);
}

TEST_CASE("a task's rows have its own length, others seq_len") {
  const ByteText tokenizer;
  for (const char* task : {"down", "synthetic:op"}) {
    const RunConfig config = config_for(task);
    CHECK(row_length(config) == open_training_data(config, tokenizer, 260)->next().batches[0].seq_len);
  }
  CHECK(row_length(config_for("down")) == 24);
  CHECK(row_length(config_for("mixture")) == 32);
  CHECK(row_length(config_for("d.jsonl")) == 32);
}

TEST_CASE("a model's positions: as in its config, without end for dynamic rope") {
  nn::LlamaConfig model;
  model.vocab_size = 300;
  model.max_position_embeddings = 23;
  const auto limits = [&] { return ModelLimits(nn::Llama(model, DType::f32, Device::meta)); };
  CHECK(limits().vocab_size == 300);
  CHECK(limits().positions == 23);
  const ByteText tokenizer;
  CHECK_THROWS_WITH_AS(open_training_data(config_for("down"), tokenizer, limits()),
                       "down: expected rows of at most max_position_embeddings = 23 tokens, got 24", ConfigError);
  CHECK_THROWS_AS(open_evaluation_data("down", Split::test, config_for(""), tokenizer, limits()), ConfigError);
  const TemporaryFile text("t.txt", std::string(100, 'a'));
  RunConfig config = config_for(text.path().string());
  CHECK(open_training_data(config, tokenizer, limits())->next().batches[0].seq_len == 23);  // not seq_len 32
  config.packing = true;
  CHECK(open_training_data(config, tokenizer, limits())->next().batches[0].seq_len == 23);
  model.rope.type = nn::RopeType::dynamic;
  CHECK(open_training_data(config, tokenizer, limits())->next().batches[0].seq_len == 32);
}

TEST_CASE("names that are neither a file nor a task") {
  const ByteText tokenizer;
  CHECK_THROWS_WITH_AS(open_training_data(config_for("donw"), tokenizer, 260),
                       "donw: expected a file or the name of an embedded task, found neither; did you mean 'down'?",
                       FileError);
  const std::string folder = std::filesystem::temp_directory_path().string();
  CHECK_THROWS_WITH_AS(open_training_data(config_for(folder), tokenizer, 260),
                       doctest::Contains("expected a file, got a folder"), FileError);
  CHECK_THROWS_AS(open_evaluation_data("donw", Split::test, config_for(""), tokenizer, 260), FileError);
  CHECK_THROWS_WITH_AS(open_training_data(config_for("down"), tokenizer, 256),
                       "data: down: expected a tokenizer of at most 256 ids, as the model has, got 260", ConfigError);
}

TEST_CASE("evaluation data: held-out items of a task or of every skill, or a file") {
  const ByteText tokenizer;
  RunConfig config = config_for("");
  config.batch_size = 64;
  const auto down = open_evaluation_data("down", Split::test, config, tokenizer, 260);
  REQUIRE(down.size() == 1);
  CHECK(down[0].name == "down/test");
  CHECK(down[0].exact_match);
  CHECK(down[0].rows() == kTestItems);
  CHECK(down[0].batches[0].seq_len == 24);
  config.eval_size = 100;
  const auto validation = open_evaluation_data("synthetic:down", Split::validation, config, tokenizer, 260);
  CHECK(validation[0].rows() == 100);
  CHECK(validation[0].batches[0] != down[0].batches[0]);
  CHECK(open_evaluation_data("mixture", Split::test, config, tokenizer, 260).size() == skill_names().size());

  const TemporaryFile records("d.jsonl", "{\"text\": \"abc\"}\n{\"text\": \"de\"}\n{\"text\": \"f0\"}\n");
  config.eval_size = 2;
  const auto file = open_evaluation_data(records.path().string(), Split::test, config, tokenizer, 260);
  CHECK(!file[0].exact_match);
  CHECK(file[0].rows() == 2);
  CHECK(file[0].batches[0].input_ids == std::vector<std::int32_t>{'a', 'b', 'c', 'd', 'e', 0});
}
