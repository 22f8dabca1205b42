#include "peft/rank_solver.hpp"

#include <doctest/doctest.h>

#include "test/nn/io_messages.hpp"
#include "test/peft/tiny_model.hpp"

namespace osteon::test {
namespace {

nn::LlamaConfig config_of(std::int64_t hidden, std::int64_t intermediate, std::int64_t layers, std::int64_t heads,
                          std::int64_t kv_heads, std::int64_t vocab, bool tied = false) {
  nn::LlamaConfig config;
  config.hidden_size = hidden;
  config.intermediate_size = intermediate;
  config.num_hidden_layers = layers;
  config.num_attention_heads = heads;
  config.num_key_value_heads = kv_heads;
  config.head_dim = hidden / heads;
  config.vocab_size = vocab;
  config.tie_word_embeddings = tied;
  return config;
}

/// Counts of the papers and of peft, by model: all parameters, LoRA r36, DoRA r36, Bone r64, LoRA r64, DoRA r64,
/// LoRA-FA r64, over all seven linears.
struct Row {
  nn::LlamaConfig model;
  std::int64_t all, lora36, dora36, bone64, lora64, dora64, lora_fa64;
};

std::vector<Row> table() {
  return {
      {config_of(4096, 11008, 32, 32, 32, 32000), 6738415616, 89948160, 91308032, 87031808, 159907840, 161267712,
       87031808},
      {config_of(5120, 13824, 40, 40, 40, 32000), 13015864320, 140820480, 142950400, 136314880, 250347520, 252477440,
       136314880},
      {config_of(4096, 14336, 32, 32, 8, 32000), 7241732096, 94371840, 95748096, 88080384, 167772160, 169148416,
       88080384},
      {config_of(3072, 8192, 28, 24, 8, 128256, true), 3212749824, 54706176, 55480320, 49545216, 97255424, 98029568,
       49545216},
      {config_of(2048, 8192, 16, 32, 8, 128256, true), 1235814400, 25362432, 25739264, 24117248, 45088768, 45465600,
       24117248},
  };
}

std::int64_t count(const nn::LanguageModel& model, const std::string& method, std::int64_t rank) {
  return peft::adapter_parameters(model, tiny_adapter(method), rank).value();
}

TEST_CASE("trainable parameters are those of the papers and of peft") {
  for (const Row& row : table()) {
    CAPTURE(row.all);
    const nn::Llama model(row.model, DType::bf16, Device::meta);
    CHECK(model.parameter_count() == row.all);
    CHECK(count(model, "lora", 36) == row.lora36);
    CHECK(count(model, "dora", 36) == row.dora36);
    CHECK(count(model, "bone", 64) == row.bone64);
    CHECK(count(model, "bat", 64) == row.bone64);
    CHECK(count(model, "lora", 64) == row.lora64);
    CHECK(count(model, "dora", 64) == row.dora64);
    CHECK(count(model, "lora_fa", 64) == row.lora_fa64);
    for (const char* same : {"pissa", "olora", "rslora", "lora_plus"})
      CHECK(count(model, same, 36) == row.lora36);
  }
  const nn::Llama llama2(table()[0].model, DType::f32, Device::meta);
  CHECK(count(llama2, "bone", 16) == 21757952);
  CHECK(count(llama2, "bone", 128) == 174063616);
  CHECK(count(llama2, "lora", 128) == 319815680);
  peft::AdapterConfig mini = tiny_adapter("miss_mini");
  mini.mini_rank = 64;
  CHECK(peft::adapter_parameters(llama2, mini, 64) == 917504);
}

TEST_CASE("the arena's counts on q and v of Llama-3.2-3B") {
  const nn::Llama model(table()[3].model, DType::f32, Device::meta);
  const auto on_qv = [&](const std::string& method, std::int64_t rank, std::int64_t mini_rank = 1) {
    peft::AdapterConfig config = tiny_adapter(method);
    config.target_modules = {"q_proj", "v_proj"};
    config.mini_rank = mini_rank;
    return peft::adapter_parameters(model, config, rank).value();
  };
  CHECK(on_qv("miss", 64) == 7340032);
  CHECK(on_qv("bat", 64) == 7340032);
  CHECK(on_qv("miss_mini", 64, 64) == 229376);
  CHECK(on_qv("lora", 32) == 9175040);
  CHECK(on_qv("dora", 32) == 9289728);
  CHECK(on_qv("lora_fa", 32) == 3670016);
}

TEST_CASE("the solver finds the rank nearest to a budget") {
  const nn::Llama model(table()[0].model, DType::f32, Device::meta);
  for (const auto& [method, rank] : {std::pair<const char*, std::int64_t>{"lora", 36},
                                     {"dora", 36},
                                     {"pissa", 36},
                                     {"bone", 64},
                                     {"bat", 64},
                                     {"lora_fa", 7}}) {
    CAPTURE(method);
    const std::int64_t budget = count(model, method, rank);
    const peft::SolvedRank solved = peft::solve_rank(model, tiny_adapter(method), budget);
    CHECK(solved.rank == rank);
    CHECK(solved.parameters == budget);
  }
  // r_lora = r_bone sum(d) / sum(k + d) = 64 / 1.8373
  CHECK(peft::solve_rank(model, tiny_adapter("lora"), 87031808).rank == 35);
  CHECK(contains(message_of([&] { peft::solve_rank(model, tiny_adapter("lora"), 0); }),
                 "budget: expected at least 1 parameter, got 0"));
  CHECK(contains(message_of([&] { peft::solve_rank(model, tiny_adapter("full"), 10); }), "full: has no rank"));
  CHECK_FALSE(peft::adapter_parameters(model, tiny_adapter("bat"), 7).has_value());
}

}  // namespace
}  // namespace osteon::test
