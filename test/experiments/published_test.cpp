#include "experiments/report/published.hpp"

#include <doctest/doctest.h>
#include <fstream>

#include "backends/error.hpp"
#include "experiments/config/config.hpp"

using namespace osteon;
using namespace osteon::report;

namespace {

const std::string kTable = R"(title = "T"
source = "S"
columns = ["GSM8K"]
[setting]
model = "Big"
batch_size = 8
lr = 2e-05
[[rows]]
label = "LoRA r8"
method = "lora"
rank = 8
values = ["40.7"]
[[rows]]
label = "Bone"
method = "bone"
values = [48.1]
)";

/// A finished run in a folder of its own.
Run run_in(const std::filesystem::path& folder, const std::string& method, std::int64_t rank, std::int64_t seed,
           double accuracy) {
  experiments::RunConfig config;
  config.model = "Big";
  config.data = "down";
  config.method = method;
  config.rank = rank;
  config.seed = seed;
  config.batch_size = 4;
  config.accumulate = 2;
  config.lr = 1e-3;
  std::filesystem::create_directories(folder);
  std::ofstream(folder / "config.toml") << to_toml(config);
  Run run{.folder = folder, .summary = {}, .metrics = {}, .environment = {}};
  run.summary.method = method;
  run.summary.task = "down";
  run.summary.rank = rank;
  run.summary.seed = seed;
  run.summary.trainable_parameters = 5;
  run.summary.evaluation.after = experiments::Scores{.loss = 0.5, .accuracy = accuracy, .perplexity = {}};
  return run;
}

}  // namespace

TEST_CASE("a published table beside runs: matched by method and rank, with what differs") {
  const std::filesystem::path folder = std::filesystem::temp_directory_path() / "osteon_published_test";
  const PublishedTable table = parse_published(kTable, "t.toml");
  RunCollection runs;
  runs.runs = {run_in(folder / "a", "lora", 8, 1, 0.2), run_in(folder / "b", "lora", 8, 2, 0.4),
               run_in(folder / "c", "lora", 16, 1, 0.9)};
  const Reproduction found = reproduce(table, runs);
  REQUIRE(found.rows.size() == 2);
  REQUIRE(found.rows[0].ours.size() == 1);
  const OurRow& ours = found.rows[0].ours[0];
  CHECK(ours.seeds == 2);
  CHECK(ours.label == "down lora r8");
  CHECK(ours.text == "accuracy % 30.0, held-out loss 0.5000, 5 parameters");
  CHECK(ours.differences == std::vector<std::string>{"lr: 2e-05 there, 0.001 here"});
  CHECK(found.rows[1].ours.empty());
  REQUIRE(found.others.size() == 1);
  CHECK(found.others[0].label == "down lora r16");
  const std::string text = reproduction_text(table, found);
  CHECK(text.find("LoRA r8: GSM8K 40.7\n    here: down lora r8, 2 seeds: accuracy % 30.0") != std::string::npos);
  CHECK(text.find("Bone: GSM8K 48.1\n    here: not run\n") != std::string::npos);
  std::filesystem::remove_all(folder);
}

TEST_CASE("the first step's gradient norm stands beside published ones, where a run has it") {
  const std::filesystem::path folder = std::filesystem::temp_directory_path() / "osteon_published_norm_test";
  RunCollection runs;
  runs.runs = {run_in(folder / "a", "bone", 8, 1, 0.2), run_in(folder / "b", "bone", 8, 2, 0.2),
               run_in(folder / "c", "bone", 8, 3, 0.2)};
  runs.runs[0].metrics.steps = {{.step = 1, .grad_norm = 2.5}, {.step = 2, .grad_norm = 9}};
  runs.runs[1].metrics.steps = {{.step = 1, .grad_norm = 3}};
  runs.runs[2].metrics.steps = {{.step = 7, .grad_norm = 100}};  // not the first one
  const Reproduction found = reproduce(parse_published(kTable, "t.toml"), runs);
  REQUIRE(found.rows[1].ours.size() == 1);
  CHECK(found.rows[1].ours[0].text == "accuracy % 20.0, held-out loss 0.5000, first gradient norm 2.75, 5 parameters");
  const PublishedTable norms = published_table("gradient_norm");
  CHECK(norms.rows.size() == 13);
  CHECK(norms.rows.back().values == std::vector<std::string>{"24"});
  std::filesystem::remove_all(folder);
}

TEST_CASE("every embedded table is whole, and a wrong one names its line") {
  for (const std::string& name : published_names()) {
    CAPTURE(name);
    const PublishedTable table = published_table(name);
    CHECK(!table.source.empty());
    CHECK(!table.rows.empty());
  }
  CHECK_THROWS_WITH_AS(published_table("arean"), "unknown table 'arean'; did you mean 'arena'?", ConfigError);
  CHECK_THROWS_WITH_AS(parse_published("columns = [\"a\"]\n[[rows]]\nvalues = [1, 2]\n", "t.toml"),
                       "t.toml:2: expected 1 values, got 2", ConfigError);
}
