#include "experiments/training/record.hpp"

#include <doctest/doctest.h>
#include <fstream>
#include <limits>
#include <nlohmann/json.hpp>

#include "backends/error.hpp"
#include "experiments/training/environment.hpp"
#include "nn/io/atomic_file.hpp"
#include "test/nn/temporary_folder.hpp"

using namespace osteon;
using namespace osteon::experiments;
using osteon::test::TemporaryFolder;

namespace {

RunSummary full_summary() {
  RunSummary s;
  s.name = "down-bone-1";
  s.suite = "quickstart";
  s.task = "down";
  s.method = "bone";
  s.purpose = "sweep";
  s.rank = 8;
  s.alpha = 16;
  s.seed = 3;
  s.lr = 0.01;
  s.model = "synthetic:tiny";
  s.target_modules = {"q_proj", "v_proj"};
  s.trainable_parameters = 32768;
  s.total_parameters = 656512;
  s.steps = 120;
  s.batch_size = 32;
  s.seq_len = 24;
  s.tokens = 92160;
  s.tokens_per_second = 20480.5;
  s.train_seconds = 4.5;
  s.step_seconds = StepSeconds{.median = 0.03, .p10 = 0.028, .p90 = 0.035, .min = 0.0271};
  s.peak_bytes = PeakBytes{
      .weights = 1, .adapter = 2, .gradient = 3, .optimizer = 4, .activation = 5, .workspace = 6, .total = 21};
  s.pool_idle_bytes = 1024;
  s.process_peak_bytes = 90'000'000;
  s.final_train_loss = 0.119;
  s.evaluation.before = Scores{.loss = 2.5, .accuracy = 0.0, .perplexity = 12.18};
  s.evaluation.after = Scores{.loss = 0.1, .accuracy = 0.775, .perplexity = std::nullopt};
  s.evaluation.keep = {{"add", 0.25}, {"sub", 0.125}};
  s.items = {1, 0, 1, 1};
  s.saved_tensors = {
      {.op = "bone", .name = "block_sum", .dtype = "f32", .shape = {768, 8}, .bytes = 24576, .count = 28}};
  s.data_hash = "d1";
  s.batch_hash = "b1";
  s.config_hash = "c1";
  s.deterministic = true;
  s.l2_wrap = true;
  s.completed = true;
  s.error = "none";
  return s;
}

std::string error_of(const std::string& text) {
  try {
    summary_from_json(text, "runs/a/summary.json");
  } catch (const FileError& error) {
    return error.what();
  }
  return "no error";
}

}  // namespace

TEST_CASE("a summary survives the way to its file and back, field by field") {
  const TemporaryFolder folder;
  const RunSummary summary = full_summary();
  write_summary(folder.path(), summary);
  CHECK(folder.entries() == 1);  // no temporary file left
  const RunSummary read = read_summary(folder.path());
  CHECK(to_json(read) == to_json(summary));
  CHECK(read.step_seconds->p90 == 0.035);
  CHECK(read.peak_bytes->total == 21);
  CHECK(read.evaluation.keep.at("sub") == 0.125);
  CHECK_FALSE(read.evaluation.after->perplexity.has_value());
  CHECK(read.saved_tensors.at(0).shape == std::vector<std::int64_t>{768, 8});
  CHECK(read.items == std::vector<std::int64_t>{1, 0, 1, 1});
}

TEST_CASE("the file has the documented keys") {
  const auto json = nlohmann::json::parse(to_json(full_summary()));
  for (const char* key : {"name",
                          "suite",
                          "task",
                          "method",
                          "purpose",
                          "rank",
                          "alpha",
                          "seed",
                          "lr",
                          "model",
                          "target_modules",
                          "trainable_parameters",
                          "total_parameters",
                          "steps",
                          "batch_size",
                          "seq_len",
                          "tokens",
                          "tokens_per_second",
                          "train_seconds",
                          "step_seconds",
                          "peak_bytes",
                          "pool_idle_bytes",
                          "process_peak_bytes",
                          "final_train_loss",
                          "evaluation",
                          "items",
                          "saved_tensors",
                          "data_hash",
                          "batch_hash",
                          "config_hash",
                          "deterministic",
                          "completed"})
    CHECK_MESSAGE(json.contains(key), key);
  CHECK(json["peak_bytes"]["activation"] == 5);
  CHECK(json["evaluation"]["before"]["accuracy"] == 0.0);
  CHECK(json["saved_tensors"][0]["count"] == 28);
}

TEST_CASE("optional parts may be missing or null, unknown keys are passed over, nothing else is lost") {
  const RunSummary s = summary_from_json(
      R"({"later": {"x": [1]}, "name": "n", "method": "lora", "rank": null, "evaluation": {"after": {"loss": 1.5, "new": 2}},
          "seed": 7, "completed": true})",
      "summary.json");
  CHECK_FALSE(s.rank.has_value());
  CHECK_FALSE(s.peak_bytes.has_value());
  CHECK(s.purpose == "final");
  CHECK(s.evaluation.after->loss == 1.5);
  CHECK(s.seed == 7);
  CHECK(s.completed);
}

TEST_CASE("a loss that is not finite is written as null and read as not measured") {
  RunSummary s = full_summary();
  s.final_train_loss = std::numeric_limits<double>::quiet_NaN();
  CHECK_FALSE(summary_from_json(to_json(s), "s").final_train_loss.has_value());
}

TEST_CASE("a bad summary names the file, the key, what was expected and what came") {
  CHECK(error_of(R"({"name": "n", "method": "m", "step_seconds": {"median": "fast"}})") ==
        "runs/a/summary.json: step_seconds.median: expected a number, got \"fast\"");
  CHECK(error_of(R"({"name": "n", "method": "m", "rank": 1.5})") ==
        "runs/a/summary.json: rank: expected a whole number, got 1.5");
  CHECK(error_of(R"({"name": "n", "method": "m", "tokens": 18446744073709551615})") ==
        "runs/a/summary.json: tokens: expected a whole number, got 18446744073709551615");
  CHECK(error_of(R"({"name": "n", "method": "m", "completed": 1})") ==
        "runs/a/summary.json: completed: expected true or false, got 1");
  CHECK(error_of(R"({"name": 4, "method": "m"})") == "runs/a/summary.json: name: expected a string, got 4");
  CHECK(error_of(R"({"name": "n", "method": "m", "target_modules": ["q", 3]})") ==
        "runs/a/summary.json: target_modules[1]: expected a string, got 3");
  CHECK(error_of(R"({"name": "n", "method": "m", "target_modules": "q"})") ==
        "runs/a/summary.json: target_modules: expected an array, got \"q\"");
  CHECK(error_of(R"({"name": "n", "method": "m", "saved_tensors": [{"shape": [1, "x"]}]})") ==
        "runs/a/summary.json: saved_tensors[0].shape[1]: expected a whole number, got \"x\"");
  CHECK(error_of(R"({"name": "n", "method": "m", "evaluation": {"keep": {"add": "all"}}})") ==
        "runs/a/summary.json: evaluation.keep.add: expected a number, got \"all\"");
  CHECK(error_of(R"({"name": "n", "method": "m", "evaluation": {"keep": 3}})") ==
        "runs/a/summary.json: evaluation.keep: expected an object, got 3");
  CHECK(error_of(R"({"name": "n", "method": "m", "peak_bytes": []})") ==
        "runs/a/summary.json: peak_bytes: expected an object, got []");
  CHECK(error_of(R"({"name": "n", "method": "m", "items": [0, 2]})") ==
        "runs/a/summary.json: items[1]: expected 0 or 1, got 2");
  CHECK(error_of(R"({"name": "n", "method": "m", "purpose": "fun"})") ==
        "runs/a/summary.json: purpose: expected \"final\", \"sweep\" or \"base\", got \"fun\"");
  CHECK(error_of(R"({"method": "m"})") == "runs/a/summary.json: name: expected a value, got none");
  CHECK(error_of("[1]") == "runs/a/summary.json: the record: expected an object, got [1]");
  CHECK(error_of("{\"name\": ").find("runs/a/summary.json: expected JSON") == 0);
  const TemporaryFolder folder;
  CHECK_THROWS_AS(read_summary(folder.path()), FileError);
}

TEST_CASE("step seconds: percentiles with interpolation") {
  const StepSeconds s = StepSeconds::of({5, 1, 3, 2, 4});
  CHECK(s.median == doctest::Approx(3));
  CHECK(s.p10 == doctest::Approx(1.4));
  CHECK(s.p90 == doctest::Approx(4.6));
  CHECK(s.min == 1);
  CHECK(StepSeconds::of({2}).p90 == 2);
  CHECK_THROWS_AS(StepSeconds::of({}), ConfigError);
}

TEST_CASE("the environment is captured, written and read back") {
  const TemporaryFolder folder;
  const Environment captured = capture_environment({.threads = 2,
                                                    .gemm = "onednn",
                                                    .gemm_implementations = {"brg:avx2"},
                                                    .gpu = "NVIDIA Test",
                                                    .deterministic = true,
                                                    .ranks = 3});
  CHECK_FALSE(captured.host.empty());
  CHECK(captured.cores > 0);
  CHECK(captured.memory_bytes > (std::int64_t{1} << 26));
  CHECK_FALSE(captured.compiler.empty());
  CHECK_FALSE(captured.commit.empty());
  CHECK(captured.version.find('.') != std::string::npos);
  CHECK(captured.date.size() == 20);
  CHECK(captured.date.back() == 'Z');
  write_environment(folder.path(), captured);
  const Environment read = read_environment(folder.path());
  CHECK(to_json(read) == to_json(captured));
  CHECK(read.gpu == "NVIDIA Test");
  CHECK(read.ranks == 3);
  CHECK(environment_from_json("{\"threads\": 2}", "of a version before").ranks == 1);
  CHECK(read.gemm_implementations == std::vector<std::string>{"brg:avx2"});
  CHECK_THROWS_WITH_AS(environment_from_json("{\"cores\": \"two\"}", "e.json"),
                       "e.json: cores: expected a whole number, got \"two\"", FileError);
  CHECK_THROWS_AS(environment_from_json("nonsense", "e.json"), FileError);
  CHECK_FALSE(capture_environment({}).gemm.empty());  // what the program was built with
}
