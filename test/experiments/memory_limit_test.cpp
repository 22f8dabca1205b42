#include "experiments/measure/memory_limit.hpp"

#include <doctest/doctest.h>

#include "backends/error.hpp"
#include "experiments/config/byte_size.hpp"
#include "experiments/training/run.hpp"
#include "nn/io/atomic_file.hpp"
#include "nn/io/pretrained.hpp"
#include "nn/memory_policy.hpp"
#include "test/nn/io_messages.hpp"
#include "test/nn/temporary_folder.hpp"

using namespace osteon;
using namespace osteon::experiments;
using osteon::test::contains;
using osteon::test::message_of;
using osteon::test::TemporaryFolder;

namespace {

nn::LlamaConfig llama(std::int64_t hidden, std::int64_t intermediate, std::int64_t layers, std::int64_t heads) {
  nn::LlamaConfig config;
  config.vocab_size = hidden < 1000 ? 256 : 32000;
  config.hidden_size = hidden;
  config.intermediate_size = intermediate;
  config.num_hidden_layers = layers;
  config.num_attention_heads = heads;
  config.num_key_value_heads = heads;
  config.head_dim = hidden / heads;
  config.max_position_embeddings = 4096;
  return config;
}

/// A folder with nothing but config.json: no plan may look for weights.
RunConfig planned_run(const TemporaryFolder& folder, const nn::LlamaConfig& shape) {
  nn::write_llama_config(folder.path(), shape);
  RunConfig config;
  config.model = folder.path().string();
  config.method = "lora";
  config.rank = 4;
  config.batch_size = 2;
  config.seq_len = 64;
  config.threads = 1;
  return config;
}

std::int64_t needed(RunConfig config, nn::MemoryPolicy policy, std::int64_t checkpoint_layers = 0) {
  config.memory_policy = name_of(policy);
  config.checkpoint_layers = checkpoint_layers;
  return plan(config).needed_bytes();
}

}  // namespace

TEST_CASE("sizes have units of 1000 and of 1024") {
  CHECK(parse_bytes("4096", "x") == 4096);
  CHECK(parse_bytes("16GiB", "x") == std::int64_t{16} << 30);
  CHECK(parse_bytes("1.5 GB", "x") == 1'500'000'000);
  CHECK(parse_bytes("900KiB", "x") == 900 * 1024);
  CHECK(parse_bytes("2TiB", "x") == std::int64_t{2} << 40);
  for (const char* text : {"", "GiB", "16 gigabytes", "0", "-1GiB", "1e30TiB", "nan", "0.5B", "16GiBs"}) {
    CAPTURE(text);
    CHECK(message_of([&] { parse_bytes(text, "memory_limit"); }) ==
          join("memory_limit: expected a size such as 16GiB or 900MB, got \"", text, '"'));
  }
  CHECK(bytes_text(std::int64_t{24} << 30) == "24.00 GiB");
  CHECK(bytes_text(3 << 19) == "1.50 MiB");
  CHECK(bytes_text(640) == "640 B");
}

TEST_CASE("auto is the fastest policy that fits, and as few checkpointed layers as do") {
  const TemporaryFolder folder;
  RunConfig config = planned_run(folder, llama(32, 96, 6, 4));
  const auto with_layers = [&](std::int64_t n) { return needed(config, nn::MemoryPolicy::recompute_cheap, n); };
  const std::int64_t save = needed(config, nn::MemoryPolicy::save), cheap = with_layers(0), least = with_layers(5);
  REQUIRE(save > cheap);
  for (std::int64_t layers = 1; layers <= 5; ++layers)
    REQUIRE(with_layers(layers - 1) > with_layers(layers));
  CHECK(with_layers(6) > least);  // the last layer's input as well, for nothing
  CHECK(needed(config, nn::MemoryPolicy::checkpoint) > least);
  config.memory_policy = "auto";
  const auto chosen = [&](std::int64_t limit) {
    config.memory_limit = std::to_string(limit);
    RunConfig settled = config;
    settle_memory_policy(settled);
    return memory_policy_text(settled.memory_policy, settled.checkpoint_layers);
  };
  CHECK(chosen(save) == "save");
  CHECK(chosen(save - 1) == "recompute_cheap");
  CHECK(chosen(cheap) == "recompute_cheap");
  CHECK(chosen(cheap - 1) == "recompute_cheap, 1 layer checkpointed");
  for (const std::int64_t layers : {2, 4, 5})
    CHECK(chosen(with_layers(layers)) == join("recompute_cheap, ", layers, " layers checkpointed"));
  CHECK(chosen(with_layers(4) - 1) == "recompute_cheap, 5 layers checkpointed");
  const std::string message = message_of([&] { chosen(least - 100); });
  CAPTURE(message);
  CHECK(contains(message, join("memory_limit: ", least - 100, ": the smallest predicted peak, with memory_policy = ",
                               "recompute_cheap, 5 layers checkpointed, is ", bytes_text(least),
                               ", 100 B too much; the largest part: ")));
  CHECK(contains(message, "; less by "));
  CHECK(contains(message, "batch_size = 1, accumulate = 16 ("));
  CHECK(contains(message, "dtype = bf16 ("));
}

TEST_CASE("a limit holds for a policy that is given, too, and auto needs one") {
  const TemporaryFolder folder;
  RunConfig config = planned_run(folder, llama(32, 96, 6, 4));
  config.memory_limit = std::to_string(needed(config, nn::MemoryPolicy::save));
  settle_memory_policy(config);
  CHECK(config.memory_policy == "save");
  config.memory_limit = std::to_string(needed(config, nn::MemoryPolicy::save) - 1);
  const std::string message = message_of([&] { settle_memory_policy(config); });
  CHECK(contains(message, "with memory_policy = save, is "));
  CHECK(contains(message, "memory_policy = checkpoint ("));
  config.memory_limit.clear();
  config.memory_policy = "auto";
  CHECK(message_of([&] { settle_memory_policy(config); }) ==
        "memory_policy: auto: expected memory_limit beside it, such as 16GiB, got none");
}

TEST_CASE("savings are what a plan with the changed setting says, the largest first") {
  const TemporaryFolder folder;
  const RunConfig config = planned_run(folder, llama(32, 96, 6, 4));
  const Plan planned = plan(config);
  const std::vector<Saving> found = savings(config, planned);
  const auto saved = [&](const std::string& setting) {
    for (const Saving& saving : found)
      if (saving.setting == setting)
        return saving.bytes;
    return std::int64_t{0};
  };
  RunConfig changed = config;
  changed.batch_size = 1;
  changed.accumulate = 16;
  CHECK(saved("batch_size = 1, accumulate = 16") == planned.needed_bytes() - plan(changed).needed_bytes());
  CHECK(saved("memory_policy = checkpoint") == planned.needed_bytes() - needed(config, nn::MemoryPolicy::checkpoint));
  CHECK(saved("dtype = bf16") > 0);
  CHECK(saved("seq_len = 32") > 0);
  CHECK(saved("memory_policy = save") == 0);
  for (std::size_t i = 1; i < found.size(); ++i)
    CHECK(found[i].bytes <= found[i - 1].bytes);
}

TEST_CASE("shapes of 13 and 70 billion parameters are planned from config.json alone") {
  const TemporaryFolder folder;
  RunConfig config = planned_run(folder, llama(5120, 13824, 40, 40));
  config.method = "bone";
  config.rank = 64;
  config.dtype = "bf16";
  config.batch_size = 1;
  config.seq_len = 512;
  config.memory_policy = "auto";
  config.memory_limit = "24GiB";
  const PolicyChoice choice = choose_policy(config);
  CHECK_FALSE(choice.fits);
  CHECK(choice.plan.peak[Category::weights] >= std::int64_t{13'015'864'320} * 2);
  CHECK(contains(too_much(config, choice), "the largest part: weights, 24.2"));

  const TemporaryFolder other;
  RunConfig large = planned_run(other, llama(8192, 28672, 80, 64));
  large.dtype = "bf16";
  const Plan planned = plan(large);
  const std::int64_t weights = planned.total_parameters - planned.trainable_parameters;
  CHECK(weights == std::int64_t{80} * (4 * 8192 * 8192 + 3 * 8192 * 28672 + 2 * 8192) + 2 * 32000 * 8192 + 8192);
  CHECK(planned.peak[Category::weights] >= 2 * weights);
  CHECK(planned.peak[Category::weights] < 2 * weights + (64 << 20));  // and the rotary table
}

TEST_CASE("a run settles auto, records what it was, and goes on with it") {
  const TemporaryFolder folder;
  nn::LlamaConfig shape = llama(16, 24, 3, 2);
  nn::Llama model(shape, DType::f32);
  model.initialize(1);
  nn::save_llama(model, folder / "model");
  RunConfig config;
  config.model = (folder / "model").string();
  config.tokenizer = "byte";
  config.data = "down";
  config.eval_size = 4;
  config.method = "lora";
  config.rank = 4;
  config.steps = 2;
  config.batch_size = 8;
  config.accumulate = 1;
  config.threads = 1;
  config.memory_policy = "auto";
  config.memory_limit = std::to_string(needed(config, nn::MemoryPolicy::recompute_cheap));
  config.out = (folder / "out").string();
  RunOptions quiet;
  quiet.quiet = true;
  const RunSummary summary = run(config, quiet);
  CHECK(summary.completed);
  CHECK(summary.memory_policy == "recompute_cheap");
  CHECK(summary.peak_bytes->total <= parse_bytes(config.memory_limit, "x"));
  RunConfig recorded;
  read_config(folder / "out/config.toml", recorded);
  CHECK(recorded.memory_policy == "recompute_cheap");
  CHECK(recorded.memory_limit == config.memory_limit);
  // The same command finds the run finished, and so does the recorded config.
  config.resume = recorded.resume = true;
  CHECK(run(config, quiet).config_hash == summary.config_hash);
  CHECK(config_hash(recorded) == summary.config_hash);

  config.resume = false;
  config.out = (folder / "none").string();
  config.memory_limit = "1KiB";
  CHECK(contains(message_of([&] { run(config, quiet); }), "memory_limit: 1KiB: the smallest predicted peak"));
}
