#include "experiments/training/metrics.hpp"

#include <cmath>
#include <doctest/doctest.h>
#include <fstream>
#include <limits>

#include "backends/error.hpp"
#include "nn/io/atomic_file.hpp"
#include "test/nn/temporary_folder.hpp"

using namespace osteon;
using namespace osteon::experiments;
using osteon::test::TemporaryFolder;

namespace {

StepMetrics step(std::int64_t number, double loss) {
  return {.step = number, .loss = loss, .lr = 0.01, .grad_norm = 1.25, .tokens = 768, .step_seconds = 0.03};
}

void append(const std::filesystem::path& path, const std::string& text) {
  std::ofstream(path, std::ios::app | std::ios::binary) << text;
}

}  // namespace

TEST_CASE("every line is in the file when write() returns, and is read back") {
  const TemporaryFolder folder;
  const auto path = folder / "metrics.jsonl";
  MetricsWriter writer(path);
  writer.write(step(1, 2.5));
  CHECK(io::read_file(path) ==
        "{\"step\":1,\"loss\":2.5,\"lr\":0.01,\"grad_norm\":1.25,\"tokens\":768,\"step_seconds\":0.03}\n");
  writer.write(EvaluationMetrics{.step = 1, .eval_loss = 2.25, .eval_accuracy = std::nullopt});
  writer.write(step(2, std::numeric_limits<double>::infinity()));
  const Metrics metrics = read_metrics(path);
  REQUIRE(metrics.steps.size() == 2);
  REQUIRE(metrics.evaluations.size() == 1);
  CHECK(metrics.steps[0].grad_norm == 1.25);
  CHECK(metrics.steps[0].tokens == 768);
  CHECK(std::isnan(metrics.steps[1].loss));
  CHECK(metrics.evaluations[0].eval_loss == 2.25);
  CHECK_FALSE(metrics.evaluations[0].eval_accuracy.has_value());
  CHECK_FALSE(metrics.torn);
}

TEST_CASE("a last line cut off by a kill is left out, a bad line elsewhere is an error with its number") {
  const TemporaryFolder folder;
  const auto path = folder / "metrics.jsonl";
  { MetricsWriter(path).write(step(1, 2.5)); }
  append(path, "{\"step\":2,\"lo");
  const Metrics metrics = read_metrics(path);
  CHECK(metrics.torn);
  CHECK(metrics.steps.size() == 1);
  append(path, "\n");
  CHECK_THROWS_WITH_AS(read_metrics(path),
                       (path.string() + ": line 2: expected a JSON object, got \"{\"step\":2,\"lo\"").c_str(),
                       FileError);

  io::write_file_atomically(path, "{\"step\":1,\"loss\":1}\n{\"step\":2,\"loss\":\"low\"}\n");
  CHECK_THROWS_WITH_AS(read_metrics(path), (path.string() + ": line 2: loss: expected a number, got \"low\"").c_str(),
                       FileError);
  io::write_file_atomically(path, "{\"loss\":1}\n");
  CHECK_THROWS_WITH_AS(read_metrics(path), (path.string() + ": line 1: step: expected a value, got none").c_str(),
                       FileError);
  io::write_file_atomically(path, "{\"step\":1}\n");
  CHECK_THROWS_WITH_AS(read_metrics(path), (path.string() + ": line 1: loss: expected a value, got none").c_str(),
                       FileError);
  io::write_file_atomically(path, "17\n");
  CHECK_THROWS_AS(read_metrics(path), FileError);
  CHECK_THROWS_AS(read_metrics(folder / "absent.jsonl"), FileError);
  io::write_file_atomically(path, "");
  CHECK(read_metrics(path).steps.empty());
}

TEST_CASE("resuming at a step removes later lines and a torn one, and appends") {
  const TemporaryFolder folder;
  const auto path = folder / "metrics.jsonl";
  {
    MetricsWriter writer(path);
    for (std::int64_t i = 1; i <= 4; ++i)
      writer.write(step(i, 5.0 - static_cast<double>(i)));
    writer.write(EvaluationMetrics{.step = 4, .eval_loss = 1.0, .eval_accuracy = 0.5});
  }
  append(path, "{\"st");
  {
    MetricsWriter writer = MetricsWriter::resume(path, 2);
    writer.write(step(3, 7));
  }
  const Metrics metrics = read_metrics(path);
  REQUIRE(metrics.steps.size() == 3);
  CHECK(metrics.evaluations.empty());
  CHECK(metrics.steps[1].loss == 3);
  CHECK(metrics.steps[2].loss == 7);
  CHECK_FALSE(metrics.torn);

  MetricsWriter::resume(folder / "new.jsonl", 5).write(step(6, 1));
  CHECK(read_metrics(folder / "new.jsonl").steps.size() == 1);
  CHECK_THROWS_AS(MetricsWriter(folder / "no" / "metrics.jsonl"), FileError);
}
