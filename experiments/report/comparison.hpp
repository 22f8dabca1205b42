#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "experiments/report/runs.hpp"
#include "experiments/report/statistics.hpp"

/// The comparison of finished runs: everything a report says, before it is laid out. What "told apart" means, and why,
/// is in docs/decisions/statistics.md.
namespace osteon::report {

/// One method in one setting (rank, alpha, ...). The setting is part of the label only where the runs differ in it.
struct Contestant {
  std::string method;                 ///< as in the summaries: "lora"
  std::string label;                  ///< "LoRA", or "LoRA rank 8" beside another rank
  std::string label_without_lr = {};  ///< "LoRA rank 8" where runs differ in the rate too
  std::size_t style = 0;              ///< its colour and marker in every figure, see palette.hpp
};

/// Values of one quantity over seeds.
struct Sample {
  std::vector<double> values;
  double mean = 0;
  std::optional<double> sd;
  std::optional<Interval> interval;  ///< t interval of the mean over seeds; empty for one seed
};

/// A contestant on a task: its final runs, one a seed, in the order of seeds.
struct Entry {
  std::size_t contestant = 0;
  std::vector<const Run*> runs;
  std::vector<std::int64_t> seeds;
  Sample score;                           ///< the task's measure
  std::optional<Interval> item_interval;  ///< bootstrap over test items, answers averaged over seeds
  std::optional<Sample> accuracy, loss, keep;
  std::optional<Sample> forgotten;             ///< rise of the loss on retain_data
  std::map<std::string, Sample> task_metrics;  ///< of a real task, those that every run has; accuracy is above
  std::optional<double> step_seconds;          ///< median over the runs' medians
  std::optional<double> step_seconds_p10, step_seconds_p90;  ///< medians of the runs' percentiles
  std::optional<double> tokens_per_second;                   ///< median over runs
  std::optional<experiments::PeakBytes> peak_bytes;          ///< of the run with the highest total
  /// On the Pareto front of score against peak bytes, step time, trainable parameters.
  bool front_memory = false, front_time = false, front_parameters = false;
};

/// Two entries of a task against each other; indices into Task::entries.
struct Pair {
  std::size_t a = 0, b = 0;
  double difference = 0;                      ///< mean score of a minus b over common seeds
  std::optional<double> seeds_p;              ///< test over seeds (see Task::plain_t), uncorrected
  std::optional<double> seeds_holm;           ///< the same, Holm-corrected over the task's pairs
  std::optional<TTest> plain;                 ///< plain paired t-test, uncorrected
  std::optional<double> items_p, items_holm;  ///< paired permutation test on items
  std::optional<McNemar> mcnemar;             ///< when there is one seed
  std::optional<double> effect;               ///< Cohen's d over seeds
  /// Seeds with which a test of this pair alone would find the difference seen, four times out of five.
  std::optional<std::int64_t> seeds_needed;
  bool told_apart = false;
  /// The larger of the corrected p values that decide; empty when no test was possible.
  std::optional<double> decisive_p() const;
};

/// Two entries of a task against each other by one score of its texts, such as rouge_l: means over items, then seeds.
struct MetricPair {
  std::string metric;
  std::size_t a = 0, b = 0;
  double difference = 0;                      ///< mean of a minus b over common seeds
  std::optional<double> seeds_p, seeds_holm;  ///< as Pair's, of the seeds' means; Holm over the metric's pairs
  std::optional<double> items_p, items_holm;  ///< paired permutation of the items' scores, summed over the seeds
  bool told_apart = false;                    ///< both are below 5%, or the one that there is
};

/// A contestant's runs at one learning rate; sweep runs only.
struct SweepPoint {
  double lr = 0, score = 0;
};

struct Task {
  std::string name;
  bool by_accuracy = true;  ///< else by held-out loss, where lower is better
  std::string loss_unit = "nats a token";
  std::vector<Entry> entries;
  std::vector<Pair> pairs;
  std::vector<MetricPair> metric_pairs;  ///< metric by metric; empty where the runs kept no items' scores
  std::vector<std::int64_t> seeds;       ///< of any entry
  std::size_t items = 0;                 ///< test items, 0 when they are not recorded
  std::optional<FTest> f;
  std::optional<BlockDesign> blocks;  ///< over the seeds that every entry has
  bool plain_t = false;               ///< spreads differ too much to pool: plain paired t-tests decide
  std::optional<double> threshold;    ///< differences below it are within noise at 5%, in units of the score
  std::map<std::size_t, std::vector<SweepPoint>> sweep;  ///< contestant -> points in the order of learning rates
  bool same_batches = false;  ///< every seed's batch_hash is known and equal over the entries

  /// The real task's metrics that any entry has, in the order of the alphabet.
  std::vector<std::string> metrics() const;
  /// Positive where a higher score of the task's measure is better.
  double better(double difference) const { return by_accuracy ? difference : -difference; }
};

struct Comparison {
  std::vector<std::string> suites;
  std::vector<Contestant> contestants;
  std::vector<Task> tasks;
  std::vector<AbsentRun> absent;  ///< failed runs, cells of the table without a run, runs left out
  std::vector<std::string> cautions;
  std::vector<experiments::Environment> environments;  ///< different machines or builds
  std::size_t final_runs = 0, sweep_runs = 0;
};

/// Whether two runs are of one method and differ in no setting that a report shows, the learning rate left aside.
bool alike_but_lr(const experiments::RunSummary& a, const experiments::RunSummary& b);

/// Tasks come in the order of `tasks`, others behind them by name. `collection` must outlive the result. FileError when
/// it holds no completed final run.
Comparison compare(const RunCollection& collection, const std::vector<std::string>& tasks = {});

}  // namespace osteon::report
