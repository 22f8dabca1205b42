#include <cmath>
#include <doctest/doctest.h>

#include "experiments/config/adapter_options.hpp"
#include "experiments/measure/planner.hpp"
#include "experiments/scoring/glue_data.hpp"
#include "experiments/training/evaluation.hpp"
#include "experiments/training/run.hpp"
#include "experiments/training/task_score.hpp"
#include "nn/io/atomic_file.hpp"
#include "nn/io/model_files.hpp"
#include "nn/io/pretrained.hpp"
#include "peft/hf_config.hpp"
#include "peft/hf_format.hpp"
#include "test/experiments/byte_text.hpp"
#include "test/experiments/small_run.hpp"
#include "test/nn/temporary_folder.hpp"

using namespace osteon;
using namespace osteon::experiments;
namespace fs = std::filesystem;

// GLUE by a classification head: data, training, scores, files.

namespace {

/// A random byte-level model, a task that it can learn (which letter the sentence is made of) and one of numbers.
class Classification {
 public:
  Classification() {
    test::make_model(folder_ / "model");
    std::string train, dev, stsb = "index\tsentence1\tsentence2\tscore\n";
    for (int i = 0; i < 48; ++i) {
      const bool one = i % 3 == 0;
      std::string text(static_cast<std::size_t>(4 + i % 7), one ? 'a' : 'z');
      text[static_cast<std::size_t>(i % 4)] = static_cast<char>('f' + i % 5);
      (i < 32 ? train : dev) += join("g", i, '\t', one ? 1 : 0, "\t\t", text, '\n');
      stsb += join(i, '\t', text, '\t', text, '\t', one ? "4.5" : "0.5", '\n');
    }
    io::write_file_atomically(folder_ / "train.tsv", train);
    io::write_file_atomically(folder_ / "dev.tsv", dev);
    io::write_file_atomically(folder_ / "stsb.tsv", stsb);
  }

  fs::path operator/(const std::string& name) const { return folder_ / name; }

  RunConfig run(const std::string& task, const std::string& out) const {
    RunConfig config;
    config.model = (folder_ / "model").string();
    config.tokenizer = "byte";
    config.task = "glue:" + task;
    config.data = (folder_ / (task == "cola" ? "train.tsv" : "stsb.tsv")).string();
    config.eval_data = (folder_ / (task == "cola" ? "dev.tsv" : "stsb.tsv")).string();
    config.method = "lora";
    config.rank = 4;
    config.steps = 30;
    config.batch_size = 8;
    config.accumulate = 2;
    config.lr = 2e-2;
    config.seq_len = 32;
    config.threads = 2;
    config.seed = 3;
    config.out = (folder_ / out).string();
    return config;
  }

 private:
  test::TemporaryFolder folder_;
};

RunOptions silent() {
  RunOptions options;
  options.quiet = true;
  return options;
}

std::string error_of(const RunConfig& config) {
  try {
    run(config, silent());
  } catch (const Error& error) {
    return error.what();
  }
  return "no error";
}

}  // namespace

TEST_CASE("a classification head learns a task of GLUE, and its adapter scores the same again") {
  const Classification files;
  const RunConfig config = files.run("cola", "run");
  const RunSummary summary = run(config, silent());
  CHECK(summary.task == "glue:cola");
  REQUIRE(summary.evaluation.before);
  REQUIRE(summary.evaluation.after);
  CHECK(*summary.evaluation.after->loss < 0.5 * *summary.evaluation.before->loss);
  CHECK(!summary.evaluation.after->perplexity);  // of a language model only
  CHECK(summary.task_metrics.at("accuracy") == 1.0);
  CHECK(summary.task_metrics.at("matthews") == 1.0);
  CHECK(summary.evaluation.after->accuracy == 1.0);
  CHECK(summary.items == std::vector<std::int64_t>(16, 1));
  CHECK(read_summary(files / "run").task_metrics == summary.task_metrics);

  const peft::AdapterConfig saved = peft::read_adapter_config(files / "run/adapter");
  CHECK(saved.task_type == "SEQ_CLS");
  CHECK(saved.modules_to_save == std::vector<std::string>{"classifier", "score"});
  CHECK(io::ModelFiles(files / "run/adapter", "adapter_model").contains("base_model.model.score.weight"));

  RunConfig again = config;
  again.task_type = "SEQ_CLS";
  again.seed = 77;  // another random head, which the adapter's takes the place of
  LoadedModel loaded = load_model(again);
  peft::load_adapter(*loaded.adapted, files / "run/adapter");
  const scoring::RealTask task = scoring::open_real_task("glue:cola", config.eval_data, "auto", 0, /*head=*/true);
  const scoring::TaskResult scored =
      scoring::run_task(*loaded.model, *loaded.tokenizer, task, task_options(again, loaded));
  const auto kept = scoring::read_predictions(files / "run/predictions.jsonl");
  CHECK(kept == scored.predictions);
  CHECK(kept.front().id == "cola:1");
  CHECK(kept.front().prediction == kept.front().references.front());
}

TEST_CASE("STS-B's head learns a number") {
  const Classification files;
  RunConfig config = files.run("stsb", "run");
  config.method = "bone";
  const RunSummary summary = run(config, silent());
  CHECK(*summary.evaluation.after->loss < 0.5 * *summary.evaluation.before->loss);
  CHECK(!summary.evaluation.after->accuracy);
  CHECK(summary.items.empty());
  CHECK(summary.task_metrics.at("pearson") > 0.8);
  CHECK(scoring::read_predictions(files / "run/predictions.jsonl").front().scores.at("target") == 4.5);
}

TEST_CASE("a run with a head that was stopped goes on with the same bits") {
  const Classification files;
  const RunConfig whole = files.run("cola", "whole");
  run(whole, silent());
  RunConfig parts = files.run("cola", "parts");
  RunOptions options = silent();
  int steps = 0;
  options.should_stop = [&] { return ++steps > 11; };
  CHECK(!run(parts, options).completed);
  parts.resume = true;
  CHECK(run(parts, silent()).completed);
  for (const char* file : {"adapter/adapter_model.safetensors", "predictions.jsonl"})
    CHECK_MESSAGE((io::read_file(files / ("parts/" + std::string(file))) ==
                   io::read_file(files / ("whole/" + std::string(file)))),
                  file);
}

TEST_CASE("full fine-tuning and BitFit train the head and write a classifier that scores the same") {
  const Classification files;
  for (const std::string method : {"full", "bitfit"}) {
    CAPTURE(method);
    RunConfig config = files.run("cola", method);
    config.method = method;
    config.lr = method == "full" ? 3e-3 : 2e-2;
    const RunSummary summary = run(config, silent());
    CHECK(*summary.evaluation.after->loss < *summary.evaluation.before->loss);
    CHECK(summary.trainable_parameters ==
          (method == "full" ? summary.total_parameters : 2 * 16));  // this base has no biases
    CHECK(has_classification_head((files / method / "model").string()));
    CHECK(!fs::exists(files / method / "adapter"));

    RunConfig again = config;
    again.model = (files / method / "model").string();
    again.task_type = "SEQ_CLS";
    again.seed = 77;
    const LoadedModel loaded = load_model(again);
    const scoring::RealTask task = scoring::open_real_task("glue:cola", config.eval_data, "auto", 0, /*head=*/true);
    const scoring::TaskResult scored =
        scoring::run_task(*loaded.model, *loaded.tokenizer, task, task_options(again, loaded));
    CHECK(scoring::read_predictions(files / method / "predictions.jsonl") == scored.predictions);
  }
}

TEST_CASE("an adapter with a head is merged into a classifier as transformers names its parts") {
  const Classification files;
  for (const std::string method : {"lora", "pissa"}) {
    CAPTURE(method);
    RunConfig config = files.run("stsb", method);
    config.method = method;
    run(config, silent());
    RunConfig merging;  // as `merge` has it: no task
    merging.model = config.model;
    merging.adapter = (files / method / "adapter").string();
    merging.task_type = peft::read_adapter_config(merging.adapter).task_type;
    LoadedModel loaded = load_weights(merging);
    peft::load_adapter(*loaded.adapted, merging.adapter);
    loaded.adapted->merge();
    const fs::path merged = files / (method + "-merged");
    fs::create_directories(merged);
    save_model(loaded, merged);
    const io::ModelFiles weights(merged);
    CHECK(weights.contains("score.weight"));
    CHECK(!weights.contains("lm_head.weight"));
    const std::string text = io::read_file(merged / "config.json");
    for (const char* part : {"LlamaForSequenceClassification", "\"LABEL_0\": 0", "\"regression\""})
      CHECK_MESSAGE(text.find(part) != std::string::npos, part);
    CHECK(nn::read_llama_config(merged).num_labels == 1);

    RunConfig again = config;
    again.model = merged.string();
    again.task_type = "SEQ_CLS";
    const LoadedModel alone = load_model(again);
    const scoring::RealTask task = scoring::open_real_task("glue:stsb", config.eval_data, "auto", 0, /*head=*/true);
    const auto scored = scoring::run_task(*alone.model, *alone.tokenizer, task, task_options(again, alone)).predictions;
    const auto kept = scoring::read_predictions(files / method / "predictions.jsonl");
    REQUIRE(scored.size() == kept.size());
    for (std::size_t i = 0; i < kept.size(); ++i)
      CHECK(scored[i].scores.at("expected") == doctest::Approx(kept[i].scores.at("expected")).epsilon(1e-4));
    again.task_type = "CAUSAL_LM";
    again.task = {};
    CHECK_THROWS_WITH_AS(load_model(again),
                         join(merged.string(), ": expected a language model, found a classifier of 1 labels").c_str(),
                         FileError);
  }
}

TEST_CASE("with task_type CAUSAL_LM the same files are questions with an answer in words") {
  const Classification files;
  RunConfig config = files.run("cola", "run");
  config.task_type = "CAUSAL_LM";
  config.seq_len = 64;
  config.steps = 4;
  const RunSummary summary = run(config, silent());
  CHECK(summary.task_metrics.contains("matthews"));
  CHECK(summary.evaluation.after->perplexity.has_value());
  CHECK(peft::read_adapter_config(files / "run/adapter").task_type == "CAUSAL_LM");
  CHECK(scoring::read_predictions(files / "run/predictions.jsonl").front().prompt->ends_with("Answer:"));
}

TEST_CASE("a plan of a classification run is what is measured") {
  const Classification files;
  for (const std::string task : {"cola", "stsb"})
    for (const std::string method : {"lora", "bone", "bat", "pissa", "full", "bitfit"})
      for (const std::string policy : {"save", "checkpoint"}) {
        CAPTURE(task);
        CAPTURE(method);
        CAPTURE(policy);
        RunConfig config = files.run(task, "");
        config.method = method;
        config.memory_policy = policy;
        const Plan planned = plan(config);
        const StepCost measured = measure(config);
        for (const Category category : kCategories)
          CHECK(planned.peak[category] == measured.peak[category]);
        CHECK(planned.pool_bytes == measured.pool_bytes);
        CHECK(planned.flops.total(Pass::backward) == measured.flops.total(Pass::backward));
      }
}

TEST_CASE("a classifier's batch knows each row's last token; classes and scores are part of its hash") {
  Example first{.ids = {5, 6, 7}, .labels = {kIgnored, kIgnored, kIgnored}, .row_class = 1};
  Example second{.ids = {8}, .labels = {kIgnored}, .row_class = 0};
  const std::vector<Example> both = {first, second};
  const TokenBatch batch = pad_batch(both, 0, 4);
  CHECK(batch.row_classes == std::vector<std::int32_t>{1, 0});
  CHECK(loss_tokens(batch) == 2);
  CHECK(loss_tokens(first) == 1);
  CHECK(model_input(batch, Device::cpu).last.to_doubles() == std::vector<double>{2, 4});
  CHECK(model_targets(batch, Device::cpu).to_doubles() == std::vector<double>{1, 0});
  const auto hash_of = [](const TokenBatch& one) {
    BatchHash hash;
    hash.add(one);
    return hash.text();
  };
  TokenBatch other = batch;
  other.row_classes = {1, 1};
  CHECK(hash_of(other) != hash_of(batch));
  second.row_class.reset();
  CHECK_THROWS_WITH_AS(pad_batch(std::vector<Example>{first, second}, 0),
                       "pad_batch: expected a class of every example or of none, got 1 of 2", ShapeError);
}

TEST_CASE("GLUE's data for a head: the first token, no end token, cut where that is asked for") {
  const test::TemporaryFolder folder;
  io::write_file_atomically(folder / "cola.tsv", "a\t1\t\tabcdef\nb\t0\t\tgh\n");
  const ByteText tokenizer({.bos = 256, .eos = 257, .pad = {}, .add_bos = true});
  DataOptions options{.seq_len = 5, .truncate = true, .vocab_size = 260};
  const scoring::GlueTask& cola = scoring::glue_task("glue:CoLA");
  const DataSet data = scoring::load_glue(cola, folder / "cola.tsv", tokenizer, options, /*head=*/true);
  REQUIRE(data.examples.size() == 2);
  CHECK(data.truncated == 1);
  CHECK(data.examples[0].ids == std::vector<std::int32_t>{256, 'a', 'b', 'c', 'd'});
  CHECK(data.examples[1].ids == std::vector<std::int32_t>{256, 'g', 'h'});
  CHECK(data.examples[1].row_class == 0);
  options.truncate = false;
  CHECK_THROWS_WITH_AS(scoring::load_glue(cola, folder / "cola.tsv", tokenizer, options, true),
                       doctest::Contains("cola.tsv:1: expected at most seq_len = 5 tokens, got 7"), FileError);
}

TEST_CASE("what a classification run cannot be is said before anything is trained") {
  const Classification files;
  const RunConfig good = files.run("cola", "out");
  const auto with = [&](auto&& change) {
    RunConfig config = good;
    change(config);
    return error_of(config);
  };
  CHECK(with([](RunConfig& c) { c.task.clear(), c.task_type = "SEQ_CLS"; }) ==
        "task_type: SEQ_CLS: expected task = glue:NAME beside it, got none");
  CHECK(with([](RunConfig& c) { c.task = "glue:rt"; }) ==
        "glue: expected one of rte, mrpc, cola, sst2, stsb, wnli, got 'glue:rt'");
  CHECK(with([](RunConfig& c) { c.task = "gsm"; }) ==
        "task: expected gsm8k, math, e2e, webnlg, humaneval or glue:NAME, got 'gsm'");
  CHECK(with([](RunConfig& c) { c.eval_data.clear(); }) ==
        "task: glue:cola: expected task_data, or eval_data that is its file, got neither");
  CHECK(with([](RunConfig& c) { c.task.clear(), c.task_data = "x"; }) ==
        "task_data: expected task beside it, got none");
  CHECK(with([](RunConfig& c) { c.data = "down"; }) ==
        "task_type: SEQ_CLS: expected data and eval_data to be files of glue:cola, got the embedded task down");
  CHECK(with([](RunConfig& c) { c.packing = true; }) ==
        "packing: expected false with task_type SEQ_CLS: a row has one label");
  CHECK(with([](RunConfig& c) { c.retain_data = "mixture"; }) ==
        "retain_data: expected none with task_type SEQ_CLS, which has no language model's head, got mixture");
  CHECK(with([](RunConfig& c) { c.data += ".none"; }).find("train.tsv.none: expected a file") != std::string::npos);
  io::write_file_atomically(files / "wrong.tsv", "a\t2\t\tabc\n");
  CHECK(with([&](RunConfig& c) {
          c.data = (files / "wrong.tsv").string();
        }).ends_with("wrong.tsv:1: label: expected 0 or 1, got \"2\""));
  CHECK(with([&](RunConfig& c) {
          c.task_data = (files / "wrong.tsv").string();
        }).ends_with("wrong.tsv:1: label: expected 0 or 1, got \"2\""));
}

TEST_CASE("a task asks only the head that it is meant for") {
  const Classification files;
  RunConfig config = files.run("cola", "");
  const auto ask = [&](const LoadedModel& loaded, bool head) {
    const scoring::RealTask task = scoring::open_real_task("glue:cola", config.eval_data, "auto", 2, head);
    return scoring::run_task(*loaded.model, *loaded.tokenizer, task, {});
  };
  CHECK_THROWS_WITH_AS(ask(load_model(config), false),
                       "glue:cola: expected a model with a language model's head, got a classification head of 2",
                       ConfigError);
  config.task_type = "CAUSAL_LM";
  CHECK_THROWS_WITH_AS(ask(load_model(config), true), "glue:cola: expected a model with 2 labels, got a language model",
                       ConfigError);
}

TEST_CASE("a text without room for its tokens counts as wrong") {
  const Classification files;
  io::write_file_atomically(files / "long.tsv", join("a\t1\t\t", std::string(65, 'a'), "\nb\t1\t\taaaa\n"));
  const RunConfig config = files.run("cola", "");
  const LoadedModel loaded = load_model(config);
  const scoring::RealTask task = scoring::open_real_task("glue:cola", files / "long.tsv", "auto", 0, true);
  const scoring::TaskResult result = scoring::run_task(*loaded.model, *loaded.tokenizer, task, {});
  CHECK(result.too_long == 1);
  CHECK(result.predictions[0].score == 0.0);
  CHECK(result.predictions[0].log_likelihoods.empty());
  const scoring::TaskResult cut = scoring::run_task(*loaded.model, *loaded.tokenizer, task, {.head_tokens = 64});
  CHECK(cut.too_long == 0);
  CHECK(cut.predictions[1] == result.predictions[1]);
  double sum = 0;
  for (const double share : cut.predictions[0].log_likelihoods)
    sum += std::exp(share);
  CHECK(sum == doctest::Approx(1.0));
}
