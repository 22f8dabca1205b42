#include "experiments/tasks/toy_sine.hpp"

#include <doctest/doctest.h>
#include <filesystem>

#include "backends/error.hpp"
#include "experiments/config/adapter_options.hpp"
#include "experiments/data/data_hash.hpp"
#include "experiments/sweep/suite.hpp"
#include "experiments/training/metrics.hpp"
#include "experiments/training/run.hpp"
#include "peft/methods.hpp"
#include "test/experiments/small_run.hpp"
#include "test/nn/io_messages.hpp"

using namespace osteon;
using namespace osteon::experiments;

namespace {

RunConfig toy(const std::string& method, std::int64_t rank) {
  RunConfig config;
  config.model = kToyModel;
  config.data = kSine;
  config.method = method;
  if (rank > 0)
    config.rank = rank;
  config.steps = 30;
  config.lr = 1e-3;
  config.schedule = "constant";
  config.clip_norm = 0;
  config.seed = 43;
  return config;
}

}  // namespace

TEST_CASE("toy sine: every method of the list learns on the MLP, from one base with one batch") {
  const test::TemporaryFolder folder;
  std::string batch;
  double before = 0;
  for (const std::string& method : peft::method_names()) {
    if (method == "state")
      continue;  // a recurrence's
    CAPTURE(method);
    RunConfig config = toy(method, 4);
    config.out = (folder / method).string();
    const RunSummary summary = run(config, test::silent());
    CHECK(summary.completed);
    CHECK(summary.task == "sine");
    CHECK(summary.loss_unit == "MSE");
    CHECK(summary.trainable_parameters > 0);
    CHECK(summary.peak_bytes->total > 4 * summary.total_parameters);
    CHECK(*summary.init_seconds >= 0);
    if (batch.empty()) {
      batch = summary.batch_hash;
      before = *summary.evaluation.before->loss;
      CHECK(before > 0.545);  // what a prediction of 0 is off by: 50 points of 64 numbers teach nothing of others
    }
    CHECK(summary.batch_hash == batch);
    CHECK(*summary.evaluation.before->loss == before);
    const Metrics metrics = read_metrics((folder / method) / "metrics.jsonl");
    CHECK(metrics.steps.front().loss < 0.2);  // the base has learned its points: the shift alone is 0.09 / 2
    CHECK(metrics.steps.back().loss < metrics.steps.front().loss);
  }
}

TEST_CASE("toy sine: parameters, score and metrics are what the methods' formulas and the paper say") {
  const test::TemporaryFolder folder;
  RunConfig config = toy("bone", 4);
  config.out = (folder / "bone").string();
  const RunSummary summary = run(config, test::silent());
  CHECK(summary.trainable_parameters == 2 * 4 * 64);
  CHECK(summary.total_parameters == 2 * (64 * 64 + 64) + 2 * 4 * 64);
  CHECK(run(toy("lora", 2), test::silent()).trainable_parameters == 2 * 2 * 128);
  CHECK(run(toy("dora", 1), test::silent()).trainable_parameters == 2 * (128 + 64));
  CHECK(run(toy("full", 0), test::silent()).trainable_parameters == 2 * (64 * 64 + 64));
  const Metrics metrics = read_metrics(folder / "bone/metrics.jsonl");
  REQUIRE(metrics.steps.size() == 30);
  CHECK(metrics.steps.back().loss < metrics.steps.front().loss);
  REQUIRE(metrics.evaluations.size() == 3);  // every 10 steps
  double lowest = 1;
  for (const EvaluationMetrics& line : metrics.evaluations)
    lowest = std::min(lowest, *line.eval_loss);
  CHECK(*summary.evaluation.after->loss == lowest);
  CHECK(summary.data_hash == data_hash(config));
  // the same again: the same bits; another seed: other points
  CHECK(*run(toy("bone", 4), test::silent()).evaluation.after->loss == lowest);
  RunConfig other = toy("bone", 4);
  other.seed = 44;
  CHECK(run(other, test::silent()).batch_hash != summary.batch_hash);
  // what chooses a rate is scored on other points than what is reported
  RunOptions validation = test::silent();
  validation.split = Split::validation;
  CHECK(*run(toy("bone", 4), validation).evaluation.after->loss != lowest);
}

TEST_CASE("toy sine: it plans what it trains, and enters suites as other runs do") {
  const Plan planned = plan(toy("lora", 2));
  CHECK(planned.trainable_parameters == 512);
  CHECK(planned.peak.total() == run(toy("lora", 2), test::silent()).peak_bytes->total);
  CHECK(planned.flops.total(Pass::forward) > 2 * 2 * 50 * 64 * 64);
  const Suite suite = embedded_suite("toy_sine");
  CHECK(suite.cells.size() == 6);
  for (const SuiteRun& one : final_runs(suite, {}))
    CHECK(is_toy_sine(one.config));
}

TEST_CASE("toy sine: settings that it has no use for are refused") {
  RunConfig config = toy("bone", 4);
  config.data = "down";
  CHECK(test::message_of([&] { run(config, test::silent()); }) ==
        "model: expected synthetic:mlp with the data sine and with no other, got synthetic:mlp with down");
  config = toy("bone", 4);
  config.model = "synthetic:tiny";
  CHECK(test::contains(test::message_of([&] { run(config, test::silent()); }), "got synthetic:tiny with sine"));
  config = toy("bone", 4);
  config.steps = 0;
  CHECK(test::contains(test::message_of([&] { run(config, test::silent()); }), "steps: expected a number above 0"));
  config = toy("bat", 5);
  CHECK(test::contains(test::message_of([&] { run(config, test::silent()); }), "expected multiples of rank"));
}
