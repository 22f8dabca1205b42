#include "experiments/training/run.hpp"

#include <doctest/doctest.h>
#include <fmt/format.h>
#include <set>

#include "experiments/data/data_hash.hpp"
#include "experiments/measure/planner.hpp"
#include "experiments/sweep/ablation.hpp"
#include "experiments/sweep/folder_lock.hpp"
#include "experiments/training/environment.hpp"
#include "experiments/training/evaluation.hpp"
#include "experiments/training/metrics.hpp"
#include "experiments/training/model_loading.hpp"
#include "nn/io/atomic_file.hpp"
#include "nn/io/safetensors.hpp"
#include "peft/hf_format.hpp"
#include "test/experiments/small_run.hpp"
#include "test/nn/io_messages.hpp"

using namespace osteon;
using namespace osteon::experiments;
using test::make_model;
using test::silent;
using test::small_run;
namespace fs = std::filesystem;

namespace {

/// The bytes of the weights that a run made.
std::string weights(const fs::path& run) {
  const fs::path adapter = run / "adapter/adapter_model.safetensors";
  return io::read_file(fs::exists(adapter) ? adapter : run / "model/model.safetensors");
}

}  // namespace

TEST_CASE("run: a folder with config, environment, metrics, summary and adapter") {
  const test::TemporaryFolder folder;
  make_model(folder / "model");
  RunConfig config = small_run(folder / "model", folder / "bone", "bone");
  config.eval_every = 3;
  const RunSummary summary = run(config, silent());
  CHECK(summary.completed);
  CHECK(summary.steps == 6);
  CHECK_FALSE(summary.alpha.has_value());  // Bone has none
  CHECK(summary.trainable_parameters > 0);
  CHECK(summary.peak_bytes->adapter == 4 * summary.trainable_parameters);
  CHECK(summary.items.size() == 8);
  CHECK(summary.evaluation.after->loss.value() < summary.evaluation.before->loss.value());
  CHECK_FALSE(summary.saved_tensors.empty());
  CHECK(summary.total_parameters == load_model(config).model->parameter_count() + summary.trainable_parameters);
  CHECK(summary.data_hash == data_hash(config));
  CHECK_FALSE(read_environment(folder / "bone").gemm_implementations.empty());
  for (const char* name : {"config.toml", "environment.json", "metrics.jsonl", "summary.json", "adapter", "best"})
    CHECK_MESSAGE(fs::exists(folder / "bone" / name), name);
  const Metrics metrics = read_metrics(folder / "bone" / "metrics.jsonl");
  CHECK(metrics.steps.size() == 6);
  CHECK(metrics.evaluations.size() == 2);

  // What was saved scores what the run scored.
  RunConfig again = config;
  LoadedModel loaded = load_model(again);
  peft::load_adapter(*loaded.adapted, folder / "bone" / "adapter");
  const auto sets = open_evaluation_data("down", Split::test, again, *loaded.tokenizer, 256);
  CHECK(evaluate(*loaded.model, sets).scores.loss.value() == summary.evaluation.after->loss.value());
}

TEST_CASE("run: a PiSSA run leaves an adapter that is right on the original base") {
  const test::TemporaryFolder folder;
  make_model(folder / "model");
  const RunConfig config = small_run(folder / "model", folder / "pissa", "pissa");
  const RunSummary summary = run(config, silent());
  CHECK_FALSE(fs::exists(folder / "pissa/start.safetensors"));
  LoadedModel loaded = load_model(config);
  const peft::ModelAdapter& adapter = peft::load_adapter(*loaded.adapted, folder / "pissa" / "adapter");
  CHECK(adapter.config.method == "lora");
  CHECK(adapter.config.rank == 8);
  const auto sets = open_evaluation_data("down", Split::test, config, *loaded.tokenizer, 256);
  CHECK(evaluate(*loaded.model, sets).scores.loss.value() ==
        doctest::Approx(summary.evaluation.after->loss.value()).epsilon(1e-5));
}

TEST_CASE("run: a folder that another run is writing is refused and left alone") {
  const test::TemporaryFolder folder;
  make_model(folder / "model");
  const RunConfig config = small_run(folder / "model", folder / "lora", "lora");
  const RunSummary before = run(config, silent());
  {
    const FolderLock other(folder / "lora");
    CHECK(test::contains(test::message_of([&] { run(config, silent()); }), "another run is writing there"));
    CHECK(read_summary(folder / "lora").completed);
    Suite suite;
    suite.name = "one";
    AblationOptions options;
    options.folder = folder / "lora";
    CHECK(test::contains(test::message_of([&] { run_ablation(suite, options); }), "another run is writing there"));
  }
  CHECK(run(config, silent()).final_train_loss == before.final_train_loss);
}

TEST_CASE("data_hash follows what the data hold") {
  const test::TemporaryFolder folder;
  RunConfig config;
  const auto hash = [&](const std::string& data, const std::string& eval_data) {
    config.data = data;
    config.eval_data = eval_data;
    return data_hash(config);
  };
  io::write_file_atomically(folder / "a.jsonl", "{\"text\": \"one\"}\n");
  io::write_file_atomically(folder / "same.jsonl", "{\"text\": \"one\"}\n");
  io::write_file_atomically(folder / "b.jsonl", "{\"text\": \"two\"}\n");
  const std::string a = (folder / "a.jsonl").string(), b = (folder / "b.jsonl").string();
  CHECK(hash(a, "") == hash((folder / "same.jsonl").string(), ""));
  const std::set<std::string> different = {hash(a, ""),      hash(b, ""),    hash(a, b),
                                           hash(b, a),       hash("", a),    hash("", ""),
                                           hash("down", ""), hash("op", ""), hash("mixture", "")};
  CHECK(different.size() == 9);
  CHECK(hash("down", "") == hash("synthetic:down", ""));
  CHECK(test::contains(test::message_of([&] { hash((folder / "none").string(), ""); }), "none: expected a file"));
}

TEST_CASE("run: its peak is the plan's to the byte, and its audit one forward pass") {
  const test::TemporaryFolder folder;
  make_model(folder / "model");
  // All batches alike, as in a plan; evaluated in between on larger ones, which are not the training's memory.
  const std::int64_t rows = 2, length = 12;
  std::vector<io::TensorToWrite> batches;
  const std::vector<std::int32_t> ids(static_cast<std::size_t>(rows * length), 7);
  for (int i = 0; i < 3; ++i)
    batches.push_back(io::tensor_to_write(fmt::format("input_ids.{}", i), DType::i32, {rows, length}, ids.data()));
  io::write_safetensors(folder / "train.safetensors", batches);
  const std::vector<std::int32_t> more(static_cast<std::size_t>(40 * length), 9);
  io::write_safetensors(folder / "eval.safetensors",
                        std::vector{io::tensor_to_write("input_ids", DType::i32, {40, length}, more.data())});
  for (const std::string method : {"full", "lora", "dora", "pissa", "bone", "bat"})
    for (const nn::MemoryPolicy policy : nn::kMemoryPolicies) {
      CAPTURE(method);
      CAPTURE(name_of(policy));
      const std::string name = join(method, '-', name_of(policy));
      RunConfig config = small_run(folder / "model", folder / name, method);
      config.memory_policy = name_of(policy);
      config.data = (folder / "train.safetensors").string();
      config.eval_data = (folder / "eval.safetensors").string();
      config.eval_every = 3;
      config.accumulate = 1;
      const RunSummary once = run(config, silent());
      config.out = (folder / (name + "-3")).string();
      config.accumulate = 3;
      const RunSummary window = run(config, silent());
      CHECK(window.saved_tensors == once.saved_tensors);
      CHECK(window.memory_policy == name_of(policy));

      config.batch_size = rows;
      config.seq_len = length;
      const MemoryUse planned = plan(config).peak;
      const PeakBytes& peak = *window.peak_bytes;
      CHECK(peak.weights == planned[Category::weights]);
      CHECK(peak.adapter == planned[Category::adapter]);
      CHECK(peak.gradient == planned[Category::gradient]);
      CHECK(peak.optimizer == planned[Category::optimizer]);
      CHECK(peak.activation == planned[Category::activation]);
      CHECK(peak.workspace == planned[Category::workspace]);
    }
}

TEST_CASE("run: stopped and resumed ends bit-equal to never stopped") {
  const test::TemporaryFolder folder;
  make_model(folder / "model");
  for (const std::string method : {"full", "lora", "dora", "pissa", "bone", "bat", "lora_fa", "lora_plus"}) {
    CAPTURE(method);
    RunConfig whole = small_run(folder / "model", folder / (method + "-whole"), method);
    if (method == "lora" || method == "bone")
      whole.dropout = 0.2;  // masks must be drawn again as they were
    run(whole, silent());

    RunConfig halves = whole;
    halves.out = (folder / (method + "-halves")).string();
    RunOptions stop = silent();
    int steps = 0;
    stop.should_stop = [&] { return ++steps == 3; };
    CHECK_FALSE(run(halves, stop).completed);
    halves.resume = true;
    const RunSummary resumed = run(halves, silent());
    CHECK(resumed.completed);
    CHECK(resumed.steps == 6);
    CHECK(weights(whole.out) == weights(halves.out));
    CHECK(read_metrics(fs::path(halves.out) / "metrics.jsonl").steps.size() == 6);
  }
}

TEST_CASE("run: the same bits for 1, 2 and 4 threads and for a batch cut in two") {
  const test::TemporaryFolder folder;
  make_model(folder / "model");
  for (const std::string method : {"full", "lora", "bone", "bat"}) {
    CAPTURE(method);
    std::string first;
    for (const std::int64_t threads : {1, 2, 4}) {
      RunConfig config = small_run(folder / "model", folder / join(method, threads), method);
      config.threads = threads;
      run(config, silent());
      if (first.empty())
        first = weights(config.out);
      CHECK(weights(config.out) == first);
    }
    RunConfig whole = small_run(folder / "model", folder / (method + "-whole"), method);
    whole.batch_invariant = true;
    run(whole, silent());
    CHECK((weights(whole.out) == first) == (method != "bat"));  // the others are so without
    RunConfig cut = whole;
    cut.out = folder / (method + "-cut");
    cut.batch_size = 2;
    cut.accumulate = 2;
    run(cut, silent());
    CHECK(weights(cut.out) == weights(whole.out));
  }
}

TEST_CASE("run: a loss that is not finite stops, names the op and keeps the last good checkpoint") {
  const test::TemporaryFolder folder;
  make_model(folder / "model");
  RunConfig config = small_run(folder / "model", folder / "wild", "full");
  config.lr = 1e30;
  config.clip_norm = 0;
  config.save_every = 1;
  config.schedule = "constant";
  std::string message;
  try {
    run(config, silent());
  } catch (const NumericError& error) {
    message = error.what();
  }
  CHECK(message.find("step ") != std::string::npos);
  CHECK(message.find("(forward)") != std::string::npos);
  CHECK(message.find("checkpoint") != std::string::npos);
  CHECK(fs::exists(folder / "wild" / "checkpoint" / "state.json"));
  const RunSummary summary = read_summary(folder / "wild");
  CHECK_FALSE(summary.completed);
  CHECK(summary.error == message);
}

TEST_CASE("run: resuming with another config is refused") {
  const test::TemporaryFolder folder;
  make_model(folder / "model");
  RunConfig config = small_run(folder / "model", folder / "one", "bone");
  config.save_every = 2;
  run(config, silent());
  config.lr = 5e-3;
  config.resume = true;
  CHECK_THROWS_WITH_AS(run(config, silent()), doctest::Contains("resume"), ConfigError);
}
