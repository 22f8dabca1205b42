#include "experiments/sweep/suite.hpp"

#include <doctest/doctest.h>
#include <fstream>
#include <set>

#include "backends/error.hpp"
#include "experiments/config/adapter_options.hpp"
#include "experiments/embedded.hpp"
#include "experiments/tasks/task.hpp"
#include "test/experiments/suite_text.hpp"

using namespace osteon;
using namespace osteon::experiments;
using osteon::test::error_of;
using osteon::test::ids;
using osteon::test::kBase;
using Strings = std::vector<std::string>;

TEST_CASE("memory policies are an axis, and checkpoint says one of them") {
  const Suite axis = parse_suite(kBase + "[axes]\nmemory_policy = [\"save\", \"recompute_cheap\"]\n", "s.toml");
  REQUIRE(axis.cells.size() == 2);
  CHECK(axis.cells[0].config.memory_policy == "save");
  CHECK(axis.cells[1].config.memory_policy == "recompute_cheap");
  const Suite base = parse_suite(kBase + "checkpoint = true\n", "s.toml");
  REQUIRE(base.cells.size() == 1);
  CHECK(base.cells[0].config.memory_policy == "checkpoint");
}

TEST_CASE("axes make every combination, the first one slowest; [for] fills in what depends on a value") {
  const Suite suite = parse_suite(kBase + R"(
[axes]
method = ["lora", "bone"]
rank = [4, 8]
[for.method.lora]
lr = 0.5
rank = 99
[for.rank.8]
steps = 7
)",
                                  "folder/s.toml");
  CHECK(suite.name == "s");
  CHECK(suite.seeds == std::vector<std::int64_t>{RunConfig{}.seed});
  REQUIRE(ids(suite.cells) == Strings{"lora-4", "lora-8", "bone-4", "bone-8"});
  CHECK(suite.cells[1].labels == std::vector<std::pair<std::string, std::string>>{{"method", "lora"}, {"rank", "8"}});
  const RunConfig& lora8 = suite.cells[1].config;
  CHECK(lora8.model == "m");
  CHECK(lora8.lr == 0.5);
  CHECK(lora8.rank == 8);  // the axis goes before [for]
  CHECK(lora8.steps == 7);
  CHECK(filled(lora8).alpha == 16);
  CHECK(suite.cells[2].config.lr == RunConfig{}.lr);
  CHECK(suite.cells[2].config.steps == 0);
}

TEST_CASE("cases set several keys at once and combine with axes; their own keys go before [for]") {
  const Suite suite = parse_suite(kBase + R"(
[[cases]]
name = "small one"
method = "lora"
rank = 2
[[cases]]
method = "bone"
rank = 4
[axes]
lr = [0.1, 0.2]
[for.method.lora]
rank = 7
steps = 3
)",
                                  "s.toml");
  CHECK(ids(suite.cells) == Strings{"small_one-0.1", "small_one-0.2", "bone-4-0.1", "bone-4-0.2"});
  CHECK(suite.cells[0].config.rank == 2);
  CHECK(suite.cells[0].config.steps == 3);
  CHECK(suite.cells[2].labels ==
        std::vector<std::pair<std::string, std::string>>{{"method", "bone"}, {"rank", "4"}, {"lr", "0.1"}});
}

TEST_CASE("a suite without axes is one run for each seed") {
  const Suite suite = parse_suite("seeds = [5, 6]\n" + kBase, "s.toml");
  CHECK(ids(final_runs(suite, {})) == Strings{"run-seed5", "run-seed6"});
  CHECK(sweep_runs(suite).empty());
}

TEST_CASE("sweep: its own seed and values; the picks go into the reported runs") {
  const Suite suite = parse_suite("seeds = [1, 2]\n" + kBase + R"(
[axes]
method = ["lora", "bone"]
[sweep]
lr = [1e-3, 3e-2]
seed = 100
)",
                                  "s.toml");
  const auto sweep = sweep_runs(suite);
  CHECK(ids(sweep) ==
        Strings{"lora-lr0.001-seed100", "lora-lr0.03-seed100", "bone-lr0.001-seed100", "bone-lr0.03-seed100"});
  CHECK(sweep[1].config.lr == 0.03);
  CHECK(sweep[1].config.seed == 100);
  CHECK(sweep[3].cell == 1);
  CHECK(suite.sweep->by == Strings{"accuracy", "loss"});
  const auto runs = final_runs(suite, {{"lora", "0.03"}, {"bone", "0.001"}});
  CHECK(ids(runs) == Strings{"lora-seed1", "lora-seed2", "bone-seed1", "bone-seed2"});
  CHECK(runs[1].config.lr == 0.03);
  CHECK(runs[1].config.seed == 2);
  CHECK(runs[2].config.lr == 0.001);
  CHECK_THROWS_WITH_AS(final_runs(suite, {{"lora", "0.03"}}), "s: cell bone: expected a chosen lr, got none",
                       ConfigError);
}

TEST_CASE("sweep: what is chosen on is not what is reported") {
  const auto with = [](const std::string& base, const std::string& sweep) {
    return parse_suite("[base]\nmodel = \"m\"\ndata = \"t.txt\"\n" + base +
                           "[axes]\nmethod = [\"lora\"]\n[sweep]\nlr = [1]\n" + "seed = 9\n" + sweep,
                       "s.toml");
  };
  CHECK_THROWS_WITH_AS(sweep_runs(with("eval_data = \"e.txt\"\n", "")),
                       "s: sweep.eval_data: expected other data than e.txt, which the reported runs are scored on, got "
                       "nothing",
                       ConfigError);
  CHECK_THROWS_AS(sweep_runs(with("eval_data = \"e.txt\"\n", "eval_data = \"e.txt\"\n")), ConfigError);
  const Suite apart = with("eval_data = \"e.txt\"\n", "eval_data = \"v.txt\"\n");
  CHECK(sweep_runs(apart)[0].config.eval_data == "v.txt");
  CHECK(final_runs(apart, {{"lora", "1"}})[0].config.eval_data == "e.txt");
  CHECK(sweep_runs(with("eval_data = \"down\"\n", ""))[0].config.eval_data == "down");  // its validation items
}

TEST_CASE("[quick] replaces what it names and nothing else") {
  const std::string text = "seeds = [1, 2]\n" + kBase + R"(
[axes]
method = ["lora", "bone"]
rank = [4, 8]
[sweep]
lr = [1, 2, 3]
seed = 9
[for.method.bone]
steps = 5
[quick]
seeds = [1]
[quick.axes]
method = ["lora"]
[quick.sweep]
lr = [2]
[quick.base]
epochs = 4
)";
  const Suite full = parse_suite(text, "s.toml"), quick = parse_suite(text, "s.toml", true);
  CHECK(full.cells.size() == 4);
  CHECK(full.cells[0].config.epochs == 1);
  CHECK(quick.quick);
  CHECK(ids(quick.cells) == Strings{"lora-4", "lora-8"});
  CHECK(quick.seeds == std::vector<std::int64_t>{1});
  CHECK(quick.sweep->values == Strings{"2"});
  CHECK(quick.sweep->seed == 9);
  CHECK(quick.cells[0].config.epochs == 4);
  CHECK(quick.text == text);
}

TEST_CASE("errors of suites name file, line and what was meant") {
  CHECK(error_of("[axis]\nrank = [1]") == "s.toml:4: unknown key 'axis'; did you mean 'axes'?");
  CHECK(error_of("[axes]\nrnak = [1]") == "s.toml:5: unknown key 'rnak'; did you mean 'rank'?");
  CHECK(error_of("[axes]\nthreads = [1, 2]") == "s.toml:5: threads: `osteon ablate` sets it for each run");
  CHECK(error_of("[axes]\nrank = []") == "s.toml:5: axes.rank: expected a list that is not empty, got an empty one");
  CHECK(error_of("[axes]\nrank = [1,\n0]") == "s.toml:6: rank: expected an integer of at least 1, got 0");
  CHECK(error_of("[axes]\nrank = [1, 1]") == "s.toml: two cells are called '1'");
  CHECK(error_of("[axes]\nseed = [1]") == "s.toml:5: seed: expected the suite's seeds = [...] instead");
  CHECK(error_of("axes = 3") == "s.toml:4: unknown key 'axes'");  // a key of [base] here
  CHECK(error_of("[axes]\nmethod = [\"bone\"]\n[for.method.bnoe]\nrank = 1") ==
        "s.toml:6: for.method.bnoe: expected a value that a cell has; did you mean 'bone'?");
  CHECK(error_of("[for.method.bone]\nrank = \"x\"") == "s.toml:5: rank: expected an integer of at least 1, got \"x\"");
  CHECK(error_of("[for.method]\nbone = 1").find("expected a table") != std::string::npos);
  CHECK(error_of("[[cases]]\nrank = 1\n[axes]\nrank = [1]") == "s.toml:7: axes.rank: a case or [zip] sets it too");
  CHECK(error_of("[[cases]]\nname = 3") == "s.toml:5: cases.name: expected a string, got 3");
  CHECK(error_of("[sweep]\nlr = [1]") == "s.toml:5: sweep: expected a seed that is not reported, such as seed = 100");
  CHECK(error_of("[sweep]\nseed = 7").find("expected a key with its values") != std::string::npos);
  CHECK(error_of("[sweep]\nseed = 42\nlr = [1]") ==
        "s.toml:5: sweep.seed: expected a seed that is not reported, got 42");
  CHECK(error_of("[sweep]\nseed = 7\nlr = [1]\nrank = [2]") == "s.toml:7: sweep: expected one key, got lr and rank");
  CHECK(error_of("[sweep]\nseed = 7\nlr = [1]\nby = [\"acuracy\"]") ==
        "s.toml:7: sweep.by: unknown 'acuracy'; did you mean 'accuracy'?");
  CHECK(error_of("[axes]\nlr = [1]\n[sweep]\nseed = 7\nlr = [1]") == "s.toml: sweep.lr: it is an axis too");
  CHECK(error_of("[report]\ntasks = [\"e\"]") == "s.toml:5: report.tasks: unknown 'e'");
  CHECK(error_of("[report]\nplots = [\"rank\"]") == "s.toml:5: report.plots: unknown 'rank'; did you mean 'ranks'?");
  CHECK(error_of("[report]\nplots = [\"ranks\", \"memory\",\n  \"ranks\"]") ==
        "s.toml:6: report.plots: expected each name once, got 'ranks' twice");
  CHECK(error_of("[report]\ntasks = [\"d\", \"d\"]") ==
        "s.toml:5: report.tasks: expected each name once, got 'd' twice");
  CHECK(error_of("[report]\ntitel = \"x\"") == "s.toml:5: unknown key 'titel'; did you mean 'title'?");
  CHECK(error_of("[fairness]\nequal = \"tims\"") ==
        "s.toml:5: fairness.equal: expected parameters, memory, time or flops, got \"tims\"");
  CHECK(error_of("[fairness]\ntolerance = 2").find("expected a number in [0, 1)") != std::string::npos);
  CHECK(error_of("[fairness]\ntolerence = 0").find("did you mean 'tolerance'?") != std::string::npos);
  CHECK(error_of("[quick.axes]\nrnak = [1]") == "s.toml:5: unknown key 'rnak'; did you mean 'rank'?");
  CHECK(error_of("[axes]\nrank = [1").find("s.toml:5:") == 0);
  CHECK_THROWS_WITH_AS(parse_suite("seeds = [1, 1]", "s.toml"), "s.toml:1: seeds: 1 comes twice", ConfigError);
  CHECK_THROWS_WITH_AS(parse_suite("seeds = 1", "s.toml"), "s.toml:1: seeds: expected a list that is not empty, got 1",
                       ConfigError);
  CHECK_THROWS_WITH_AS(parse_suite("seeds = [-1]", "s.toml"), doctest::Contains("expected an integer of at least 0"),
                       ConfigError);
  CHECK_THROWS_WITH_AS(parse_suite("question = 1", "s.toml"), "s.toml:1: question: expected a string, got 1",
                       ConfigError);
  CHECK_THROWS_WITH_AS(parse_suite("[axes]\nrank = [1]", "s.toml"), doctest::Contains("model: expected"), ConfigError);
  CHECK_THROWS_AS(load_suite("no/such.toml"), FileError);
}

TEST_CASE("the report's title, order of tasks and figures") {
  const std::string text =
      "[base]\nmodel = \"m\"\n[axes]\ndata = [\"x/b.jsonl\", \"a\"]\nmethod = [\"lora\", \"bone\"]\n";
  CHECK(parse_suite(text, "s.toml").title == "s");
  CHECK(parse_suite(text, "s.toml").tasks == Strings{"b", "a"});
  CHECK(parse_suite(text, "s.toml").plots.empty());
  CHECK(parse_suite(text + "[report]\nplots = [\"memory\", \"ranks\"]", "s.toml").plots == Strings{"memory", "ranks"});
  const Suite suite = parse_suite(
      text + "[report]\ntitle = \"T\"\ntasks = [\"a\", \"b\"]\n[quick.axes]\ndata = [\"x/b.jsonl\"]", "s.toml");
  CHECK(suite.title == "T");
  CHECK(suite.tasks == Strings{"a", "b"});
  CHECK(parse_suite(suite.text, "s.toml", true).tasks == Strings{"b"});
}

TEST_CASE("a suite is read from a file") {
  const auto file = std::filesystem::temp_directory_path() / "osteon_suite_test.toml";
  std::ofstream(file) << kBase;
  CHECK(load_suite(file).name == "osteon_suite_test");
  std::filesystem::remove(file);
}

TEST_CASE("a sweep chooses on its own data, also where eval_data is the real task's file") {
  const Suite suite = parse_suite(kBase + R"(eval_data = "test.txt"
task = "e2e"
[sweep]
lr = [0.1]
seed = 9
eval_data = "valid.txt"
)",
                                  "s.toml");
  const std::vector<SuiteRun> runs = sweep_runs(suite);
  REQUIRE(runs.size() == 1);
  CHECK(runs[0].config.eval_data == "valid.txt");
  CHECK_NOTHROW(check_config(runs[0].config));
  CHECK(final_runs(suite, {{suite.cells[0].id, "0.1"}})[0].config.task_data.empty());
}

TEST_CASE("the embedded suites") {
  std::set<std::string> files;
  for (const auto& entry : std::filesystem::directory_iterator("experiments/suites"))
    files.insert(entry.path().stem().string());
  const Strings names = embedded_suite_names();
  CHECK(std::set<std::string>(names.begin(), names.end()) == files);
  CHECK_THROWS_WITH_AS(embedded_suite("quikstart"), "unknown suite 'quikstart'; did you mean 'quickstart'?",
                       ConfigError);
  const Suite suite = embedded_suite("quickstart"), quick = embedded_suite("quickstart", true);
  CHECK(suite.cells.size() == 15);
  CHECK(sweep_runs(suite).size() == 60);
  CHECK(quick.cells.size() == 5);
  CHECK(sweep_runs(quick).size() == 10);
  std::map<std::string, std::string> chosen;
  for (const Cell& cell : suite.cells) {
    CAPTURE(cell.id);
    chosen[cell.id] = "0.001";
    const RunConfig& config = cell.config;
    CHECK(config.steps == make_task(config.data)->steps());
    CHECK(config.batch_size == 32);
    CHECK(config.accumulate == 1);
    if (config.method == "lora" || config.method == "pissa") {
      CHECK(config.rank == 4);
      CHECK(config.alpha == (config.method == "lora" ? 8 : 4));
    }
    if (config.method == "bone" || config.method == "bat")
      CHECK(config.rank == 8);
  }
  CHECK(final_runs(suite, chosen).size() == 45);
  CHECK(suite.fairness.equal == Equal::parameters);
}

TEST_CASE("the embedded recipe of the tiny base is a configuration of the mixture") {
  for (const EmbeddedFile& file : embedded_files()) {
    if (!file.name.starts_with("runs/"))
      continue;
    CAPTURE(file.name);
    RunConfig config;
    read_config_text(file.text, file.name, config);
    CHECK_NOTHROW(check_config(config));
    CHECK(is_task(config.data));
    CHECK(config.method == "full");
  }
}
