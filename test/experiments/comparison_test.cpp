#include "experiments/report/comparison.hpp"

#include <cmath>
#include <doctest/doctest.h>
#include <filesystem>
#include <set>
#include <string>

#include "experiments/report/findings.hpp"
#include "experiments/report/palette.hpp"
#include "experiments/report/report.hpp"
#include "experiments/report/tables.hpp"
#include "nn/io/atomic_file.hpp"
#include "test/experiments/report_checks.hpp"
#include "test/experiments/synthetic_runs.hpp"
#include "test/nn/io_messages.hpp"
#include "test/nn/temporary_folder.hpp"

using namespace osteon;
using namespace osteon::report;
using doctest::Approx;
using osteon::test::contains;
using osteon::test::count_of;
using osteon::test::kNoGnuplot;
using osteon::test::small_task;
using osteon::test::SyntheticTask;
using osteon::test::TemporaryFolder;
namespace fs = std::filesystem;

namespace {

RunCollection write_and_collect(const TemporaryFolder& folder, const SyntheticTask& task) {
  test::write_ablation(folder.path(), {task});
  return collect_runs({folder.path()});
}

const Pair& pair_of(const Comparison& comparison, const Task& task, const std::string& a, const std::string& b) {
  for (const Pair& pair : task.pairs)
    if (comparison.contestants[task.entries[pair.a].contestant].method == a &&
        comparison.contestants[task.entries[pair.b].contestant].method == b)
      return pair;
  FAIL("no pair " << a << ", " << b);
  return task.pairs.front();
}

}  // namespace

TEST_CASE("the reference ablation: the comparison says what its statistics say") {
  const TemporaryFolder folder;
  test::write_ablation(folder.path(), test::reference_tasks());
  const RunCollection collection = collect_runs({folder.path()});
  const Comparison comparison = compare(collection, {"op", "story2"});
  CHECK(comparison.final_runs == 45);
  CHECK(comparison.sweep_runs == 60);
  CHECK(comparison.absent.empty());
  CHECK(comparison.cautions.empty());
  CHECK(comparison.environments.size() == 1);
  REQUIRE(comparison.tasks.size() == 3);
  REQUIRE(comparison.contestants.size() == 5);
  CHECK(comparison.contestants[2].label == "PiSSA");
  CHECK(comparison.tasks[0].name == "op");
  CHECK(comparison.tasks[2].name == "down");

  const Task& op = comparison.tasks[0];
  const Task& down = comparison.tasks[2];
  CHECK(op.entries[0].score.mean == Approx(0.88833333));
  CHECK(op.f->statistic == Approx(6.66639611));
  CHECK(op.f->pooled_sd == Approx(0.03204164));
  CHECK(op.threshold.value() == Approx(0.06468925));
  CHECK(down.threshold.value() == Approx(0.04685093));
  CHECK(op.items == 200);
  CHECK(op.same_batches);
  // Holm over ten pairs, as statsmodels has it (test/golden/statistics); the items agree with these verdicts.
  CHECK(pair_of(comparison, op, "full", "lora").seeds_holm.value() == Approx(0.01678921));
  CHECK(pair_of(comparison, op, "full", "lora").told_apart);
  CHECK_FALSE(pair_of(comparison, op, "full", "bat").told_apart);
  CHECK(pair_of(comparison, down, "lora", "bone").seeds_holm.value() == Approx(0.01471574));
  CHECK(pair_of(comparison, down, "lora", "bone").told_apart);
  CHECK(pair_of(comparison, down, "pissa", "bat").told_apart);
  CHECK_FALSE(pair_of(comparison, down, "bone", "bat").told_apart);
  for (const Pair& pair : comparison.tasks[1].pairs)
    CHECK_FALSE(pair.told_apart);
  CHECK(op.sweep.at(4).size() == 4);
  CHECK(op.sweep.at(4)[2].lr == 0.01);
  CHECK(op.sweep.at(4)[2].score == Approx(0.79));
  // Full is best, Bone cheapest: both on the front of every cost, LoRA never on that of memory.
  for (const Task& task : comparison.tasks) {
    CHECK(task.entries[0].front_memory);
    CHECK(task.entries[3].front_memory);
    CHECK_FALSE(task.entries[1].front_memory);
  }

  const Findings findings = findings_of(comparison);
  CHECK(findings.headline ==
        "Full is ahead of LoRA on op and down and of PiSSA on down. Bone and Bat are ahead of LoRA and PiSSA on down. "
        "The other 23 of 30 comparisons are within noise.");
  CHECK(findings.tasks[0].text ==
        "Full has the highest mean accuracy, 88.8%. It is ahead of LoRA (p = 0.017); it is not told apart from Bat "
        "(p = 0.62), Bone (p = 0.19) or PiSSA (p = 0.15). Differences below 6.5 points are within noise.");
  CHECK(contains(
      findings.tasks[1].text,
      "It is not told apart from Bat, LoRA, Bone or PiSSA (p \u2265 0.0505)"));  // never rounded to the threshold
  REQUIRE_FALSE(findings.costs.empty());
  CHECK(contains(findings.costs[0], "Bone has the lowest peak memory on every task"));
}

TEST_CASE("one seed: no interval over seeds, and the report says so; McNemar's test is the one left") {
  const TemporaryFolder folder;
  const RunCollection collection = write_and_collect(folder, small_task({{82}, {60}, {81}}));
  const Comparison comparison = compare(collection);
  const Task& task = comparison.tasks.at(0);
  CHECK_FALSE(task.entries[0].score.interval.has_value());
  CHECK(task.entries[0].item_interval.has_value());
  CHECK_FALSE(task.threshold.has_value());
  REQUIRE(comparison.cautions.size() == 1);
  CHECK(contains(comparison.cautions[0], "one seed, so no interval over seeds"));
  const Pair& clear = pair_of(comparison, task, "full", "lora");
  CHECK_FALSE(clear.seeds_p.has_value());
  CHECK(clear.items_p.value() == Approx(clear.mcnemar.value().p_value).epsilon(1e-9));
  CHECK(clear.mcnemar->only_a - clear.mcnemar->only_b == 44);
  CHECK(clear.told_apart);
  CHECK_FALSE(pair_of(comparison, task, "full", "pissa").told_apart);
  CHECK(contains(findings_of(comparison).headline, "training again may undo it"));
  const WrittenReport written = write_report({folder.path()}, folder / "out", {.gnuplot = kNoGnuplot});
  CHECK(contains(io::read_file(written.html), "one seed"));
  CHECK_FALSE(contains(io::read_file(written.html), "nan"));
}

TEST_CASE("no spread over seeds: nothing is divided by zero and no winner comes of it alone") {
  const TemporaryFolder folder;
  const RunCollection collection =
      write_and_collect(folder, small_task({{80, 80, 80}, {79.5, 79.5, 79.5}, {80, 80, 80}}));
  const Comparison comparison = compare(collection);
  const Task& task = comparison.tasks.at(0);
  CHECK_FALSE(task.f.has_value());
  CHECK_FALSE(task.threshold.has_value());
  const Pair& pair = pair_of(comparison, task, "full", "lora");
  CHECK_FALSE(pair.seeds_p.has_value());  // no noise was seen to measure against
  CHECK_FALSE(pair.told_apart);           // and the items do not tell them apart
  CHECK(pair_of(comparison, task, "full", "pissa").seeds_p.value() == 1);
  CHECK(contains(findings_of(comparison).headline, "No two methods are told apart"));
  const WrittenReport written = write_report({folder.path()}, folder / "out", {.gnuplot = kNoGnuplot});
  for (const char* part : {"nan", "inf%", ">inf"})
    CHECK_FALSE(contains(io::read_file(written.html), part));
}

TEST_CASE("labels tell what runs of a method differ in, and nothing that follows from it") {
  const auto labels = [](const std::vector<std::pair<std::int64_t, double>>& rank_and_alpha) {
    const TemporaryFolder folder;
    experiments::RunSummary run = test::synthetic_summary(small_task({{80, 82}, {70, 71}}), 1, 0);
    for (std::size_t i = 0; i < rank_and_alpha.size(); ++i) {
      std::tie(run.rank, run.alpha) = rank_and_alpha[i];
      test::write_synthetic_run(folder / std::to_string(i), run);
    }
    std::vector<std::string> found;
    for (const Contestant& contestant : compare(collect_runs({folder.path()})).contestants)
      found.push_back(contestant.label);
    return found;
  };
  using Labels = std::vector<std::string>;
  CHECK(labels({{2, 4}, {8, 16}}) == Labels{"LoRA rank 2", "LoRA rank 8"});
  CHECK(labels({{2, 4}, {2, 8}}) == Labels{"LoRA alpha 4", "LoRA alpha 8"});
  CHECK(labels({{2, 4}, {8, 4}, {8, 16}}) ==
        Labels{"LoRA rank 2 alpha 4", "LoRA rank 8 alpha 16", "LoRA rank 8 alpha 4"});
}

TEST_CASE("cases of a suite are called by their names, and nothing that follows from them is told beside") {
  const TemporaryFolder folder;
  experiments::RunSummary run = test::synthetic_summary(small_task({{80, 82}, {70, 71}}), 1, 0);
  std::int64_t rank = 18;
  for (const char* name : {"qv", "mlp", "all"}) {
    run.case_name = name;
    run.rank = rank;
    run.target_modules = {name};
    rank /= 2;
    test::write_synthetic_run(folder / name, run);
  }
  run.method = "bone";  // in one case only: there is nothing to tell apart
  test::write_synthetic_run(folder / "bone", run);
  std::vector<std::string> labels;
  for (const Contestant& contestant : compare(collect_runs({folder.path()})).contestants)
    labels.push_back(contestant.label);
  CHECK(labels == std::vector<std::string>{"LoRA all", "LoRA mlp", "LoRA qv", "Bone"});  // by rank
}

TEST_CASE("runs under another memory policy are contestants of their own; those from before there was one are `save`") {
  const TemporaryFolder folder;
  experiments::RunSummary run = test::synthetic_summary(small_task({{80, 82}, {70, 71}}), 1, 0);
  const auto labels = [&](const std::vector<std::string>& policies) {
    std::set<std::string> found;
    for (const std::string& policy : policies) {
      run.memory_policy = policy;
      test::write_synthetic_run(folder / ("policy-" + policy), run);
    }
    for (const Contestant& contestant : compare(collect_runs({folder.path()})).contestants)
      found.insert(contestant.label);
    return found;
  };
  using Labels = std::set<std::string>;
  CHECK(labels({""}) == Labels{"LoRA"});
  CHECK(labels({"recompute_cheap"}) == Labels{"LoRA memory save", "LoRA memory recompute_cheap"});
}

TEST_CASE("runs with and without L2Wrap are contestants of their own") {
  const TemporaryFolder folder;
  experiments::RunSummary run = test::synthetic_summary(small_task({{80, 82}, {70, 71}}), 1, 0);
  for (const bool on : {true, false}) {
    run.l2_wrap = on;
    test::write_synthetic_run(folder / (on ? "on" : "off"), run);
  }
  std::set<std::string> found;
  for (const Contestant& contestant : compare(collect_runs({folder.path()})).contestants)
    found.insert(contestant.label);
  CHECK(found == std::set<std::string>{"LoRA l2_wrap on", "LoRA l2_wrap off"});
}

TEST_CASE("a rate at the edge of those that were tried is named") {
  const auto note = [](double rate_of_bone) {
    const TemporaryFolder folder;
    auto tasks = test::reference_tasks();
    tasks[2].lr[3] = rate_of_bone;
    test::write_ablation(folder / "runs", tasks);
    const std::string html =
        io::read_file(write_report({folder / "runs"}, folder / "out", {.gnuplot = kNoGnuplot}).html);
    const std::size_t at = html.find("At the edge of the rates that were tried");
    return at == std::string::npos ? "" : html.substr(at, html.find("</p>", at) - at);
  };
  CHECK(note(1e-2).empty());
  CHECK(contains(note(3e-2), "others may do better: Bone on down."));
  CHECK(contains(note(1e-3), "others may do better: Bone on down."));
}

TEST_CASE("methods that all score the same have no best one") {
  const TemporaryFolder folder;
  const RunCollection collection = write_and_collect(folder, small_task({{0, 0}, {0, 0}, {0, 0}}));
  CHECK(findings_of(compare(collection)).tasks.at(0).text == "All 3 methods have the same mean accuracy, 0.0%.");
  const TemporaryFolder two;
  const RunCollection pair = write_and_collect(two, small_task({{0, 0}, {0, 0}}));
  CHECK(findings_of(compare(pair)).tasks.at(0).text == "Both methods have the same mean accuracy, 0.0%.");
}

TEST_CASE("spreads that differ too much are not pooled") {
  const TemporaryFolder folder;
  const RunCollection collection = write_and_collect(
      folder, small_task({{80, 80.5, 80}, {75, 75.5, 75.5}, {95, 40, 10}, {76, 76.5, 76}, {76, 76.5, 75.5}}));
  const Comparison comparison = compare(collection);
  const Task& task = comparison.tasks.at(0);
  CHECK(task.plain_t);
  CHECK_FALSE(task.threshold.has_value());
  const Pair& pair = pair_of(comparison, task, "full", "lora");
  CHECK(pair.seeds_p.value() == Approx(pair.plain->p_value));
  REQUIRE(comparison.cautions.size() == 1);
  CHECK(contains(comparison.cautions[0], "Bartlett"));
}

TEST_CASE("failed, unreadable, doubled and missing runs are listed, the others compared") {
  const TemporaryFolder folder;
  const SyntheticTask task = small_task({{80, 82, 81}, {70, 71, 72}});
  test::write_ablation(folder / "runs", {task});
  experiments::RunSummary failed = test::synthetic_summary(task, 1, 2);
  failed.completed = false;
  failed.error = "NaN loss at step 7";
  experiments::write_summary(folder / "runs" / failed.name, failed);
  experiments::RunSummary twin = test::synthetic_summary(task, 0, 0);
  twin.name = "z-twin";
  test::write_synthetic_run(folder / "runs" / "z-twin", twin);
  fs::create_directories(folder / "runs" / "broken");
  io::write_file_atomically(folder / "runs" / "broken" / "summary.json", "{\"name\": 3, \"method\": \"lora\"}");
  test::write_synthetic_run(folder / "runs" / "killed", twin);
  fs::remove(folder / "runs" / "killed" / "summary.json");
  experiments::RunSummary unscored = test::synthetic_summary(task, 0, 0);
  unscored.name = "unscored";
  unscored.evaluation.after.reset();
  experiments::RunSummary base = twin;
  base.purpose = "base";
  test::write_synthetic_run(folder / "runs" / "base", base);
  test::write_synthetic_run(folder / "runs" / "unscored", unscored);

  const RunCollection collection = collect_runs({folder / "runs", folder / "runs"});
  const Comparison comparison = compare(collection);
  CHECK(comparison.final_runs == 5);
  std::string all;
  for (const AbsentRun& run : comparison.absent)
    all += run.name + ": " + run.reason + "\n";
  CHECK(comparison.absent.size() == 6);
  CHECK(contains(all, "stopped: NaN loss at step 7"));
  CHECK(contains(all, "name: expected a string, got 3"));
  CHECK(contains(all, "killed: no summary.json; its last step was 120"));
  CHECK(contains(all, "z-twin: left out: another run of Full on down has seed 1 too"));
  CHECK(contains(all, "unscored: left out: no evaluation.after"));
  CHECK(contains(all, "LoRA on down: no run for seed 3"));
  const Pair& pair = comparison.tasks[0].pairs.at(0);
  CHECK(pair.difference == Approx((0.80 + 0.82 - 0.70 - 0.71) / 2));  // over the seeds that both have
  const WrittenReport written = write_report({folder / "runs"}, folder / "out", {.gnuplot = kNoGnuplot});
  CHECK(contains(io::read_file(written.html), "NaN loss at step 7"));
  CHECK(contains(io::read_file(written.markdown), "NaN loss at step 7"));
  CHECK(contains(written.terminal, "6 failed, missing or left out"));
}

TEST_CASE("a task without accuracy is compared by loss, where lower is better") {
  const TemporaryFolder folder;
  for (std::size_t method = 0; method < 2; ++method)
    for (std::size_t seed = 0; seed < 3; ++seed) {
      experiments::RunSummary s = test::synthetic_summary(small_task({{0, 0, 0}, {0, 0, 0}}), method, seed);
      const double noise[] = {0, 0.004, 0.001};
      s.evaluation.after =
          experiments::Scores{.loss = 2.0 + 0.5 * static_cast<double>(method) + noise[(seed + method) % 3],
                              .accuracy = std::nullopt,
                              .perplexity = std::nullopt};
      s.items.clear();
      test::write_synthetic_run(folder / s.name, s);
    }
  const RunCollection collection = collect_runs({folder.path()});
  const Comparison comparison = compare(collection);
  const Task& task = comparison.tasks.at(0);
  CHECK_FALSE(task.by_accuracy);
  CHECK(task.pairs[0].told_apart);
  CHECK(task.entries[0].front_memory);  // Full has the lower loss, LoRA needs less
  CHECK(task.entries[1].front_memory);
  CHECK(contains(findings_of(comparison).tasks[0].text, "Full has the lowest mean loss, 2.00"));
  CHECK(count_of(terminal_table(comparison), " loss ") == 1);  // the score is not shown twice
}

TEST_CASE("texts are compared by the scores of their items too, metric by metric") {
  const TemporaryFolder folder;
  for (std::size_t method = 0; method < 3; ++method)
    for (std::size_t seed = 0; seed < 3; ++seed) {
      experiments::RunSummary s = test::synthetic_summary(small_task({{0, 0, 0}, {0, 0, 0}, {0, 0, 0}}), method, seed);
      s.evaluation.after = experiments::Scores{.loss = 2.0 + 0.001 * static_cast<double>((seed + method) % 3),
                                               .accuracy = std::nullopt,
                                               .perplexity = std::nullopt};
      s.items.clear();
      for (int i = 0; i < 60; ++i) {  // the first writes better texts, of which bleu tells nothing
        const double item = 0.3 + 0.2 * std::sin(0.7 * i), noise = 0.05 * std::sin(i * (3.1 + double(method + seed)));
        s.item_scores["rouge_l"].push_back(item + noise + (method == 0 ? 0.05 : 0));
        s.item_scores["bleu"].push_back(100 * (item + noise));
      }
      if (method == 0 && seed == 0)
        s.item_scores["nist"] = {1.0};  // not of every run
      test::write_synthetic_run(folder / "runs" / s.name, s);
    }
  const Comparison comparison = compare(collect_runs({folder / "runs"}));
  const Task& task = comparison.tasks.at(0);
  REQUIRE(task.metric_pairs.size() == 6);
  for (const MetricPair& pair : task.metric_pairs) {
    const bool better = pair.metric == "rouge_l" && pair.a == 0;
    CAPTURE(pair.metric);
    CAPTURE(pair.b);
    CHECK(pair.told_apart == better);
    if (better)
      CHECK(std::abs(pair.difference - 0.05) < 0.01);
    REQUIRE((pair.seeds_holm && pair.items_holm));
    CHECK((*pair.items_holm < 1e-4) == better);
    CHECK(*pair.items_holm >= *pair.items_p);
  }
  const WrittenReport written = write_report({folder / "runs"}, folder / "out", {.gnuplot = kNoGnuplot});
  CHECK(count_of(io::read_file(written.markdown), "| rouge\\_l | ") == 3);
  CHECK(count_of(io::read_file(written.html), "<td class=\"text\">rouge_l</td>") == 3);
  const std::string csv = io::read_file(folder / "out/metric_tests.csv");
  CHECK(csv.starts_with("task,metric,a,b,difference,"));
  CHECK(count_of(csv, ",rouge_l,") == 3);
}

TEST_CASE("settings that differ within a method make contestants of their own, with a style each") {
  const TemporaryFolder folder;
  for (const std::int64_t rank : {16, 4})
    for (std::size_t seed = 0; seed < 2; ++seed) {
      experiments::RunSummary s = test::synthetic_summary(small_task({{80, 81}, {70, 72}}), 1, seed);
      s.rank = rank;
      s.name += "-r" + std::to_string(rank);
      test::write_synthetic_run(folder / s.name, s);
    }
  const RunCollection collection = collect_runs({folder.path()});
  const Comparison comparison = compare(collection);
  REQUIRE(comparison.contestants.size() == 2);
  CHECK(comparison.contestants[0].label == "LoRA rank 4");
  CHECK(comparison.contestants[1].label == "LoRA rank 16");
  CHECK(comparison.contestants[0].style != comparison.contestants[1].style);
  CHECK(display_name("lora+") == "LoRA+");
  CHECK(display_name("lora-fa") == "LoRA-FA");
  CHECK(display_name("mine") == "mine");
}

TEST_CASE("cautions: different data, different test sets, different machines") {
  const TemporaryFolder folder;
  const SyntheticTask task = small_task({{80, 82, 81}, {70, 71, 72}});
  test::write_ablation(folder.path(), {task});
  experiments::RunSummary other = test::synthetic_summary(task, 1, 0);
  other.data_hash = "other data";
  other.items.resize(100);
  other.batch_hash = "other batches";
  experiments::write_summary(folder / other.name, other);
  experiments::Environment machine;
  machine.cpu = "another";
  experiments::write_environment(folder / other.name, machine);
  const RunCollection collection = collect_runs({folder.path()});
  const Comparison comparison = compare(collection);
  std::string all;
  for (const std::string& caution : comparison.cautions)
    all += caution + "\n";
  CHECK(contains(all, "2 different data sets"));
  CHECK(contains(all, "test sets of different sizes"));
  CHECK(contains(all, "2 machines, builds or settings"));
  CHECK_FALSE(comparison.tasks[0].same_batches);
  CHECK_FALSE(comparison.tasks[0].pairs[0].items_p.has_value());
}
