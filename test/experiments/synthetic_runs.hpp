#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <filesystem>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "experiments/training/environment.hpp"
#include "experiments/training/metrics.hpp"
#include "experiments/training/record.hpp"

/// Run folders as an ablation leaves them, with made-up curves behind chosen accuracies.
namespace osteon::test {

struct SyntheticTask {
  std::string name;
  std::int64_t steps = 100, seq_len = 24;
  std::vector<std::vector<double>> accuracy;  ///< percent, [method][seed]
  std::vector<double> loss, lr;               ///< [method]
  std::vector<std::vector<double>> sweep;     ///< validation accuracy in percent, [method][rate]
};

inline const std::vector<std::string>& five_methods() {
  static const std::vector<std::string> names = {"full", "lora", "pissa", "bone", "bat"};
  return names;
}

inline const std::vector<double> kSweepRates = {1e-3, 3e-3, 1e-2, 3e-2};

/// The reference results of the default ablation (its curves, times and bytes are invented).
inline std::vector<SyntheticTask> reference_tasks() {
  return {
      {.name = "op",
       .steps = 150,
       .seq_len = 26,
       .accuracy = {{89.5, 89.5, 87.5}, {74.5, 78.5, 74.5}, {83, 73, 85}, {80.5, 81.5, 81}, {85.5, 82, 83.5}},
       .loss = {.024, .048, .040, .038, .037},
       .lr = {3e-3, 1e-2, 1e-2, 1e-2, 1e-2},
       .sweep = {{76, 90, 68.5, 0}, {0, 40.5, 67.5, 0}, {3, 53.5, 87.5, 0}, {17, 53.5, 77, 63}, {13, 55, 79, 57.5}}},
      {.name = "story2",
       .steps = 120,
       .seq_len = 48,
       .accuracy = {{88, 86.5, 79.5}, {79, 77, 74}, {71.5, 82.5, 72.5}, {77.5, 76, 73.5}, {78.5, 80.5, 73.5}},
       .loss = {.027, .045, .051, .048, .045},
       .lr = {3e-3, 1e-2, 1e-2, 1e-2, 1e-2},
       .sweep = {{71, 85.5, 30, 0}, {1, 45, 74.5, 2}, {4, 58, 78, 0}, {12, 60, 75, 55}, {10, 62, 77.5, 50}}},
      {.name = "down",
       .steps = 120,
       .seq_len = 22,
       .accuracy = {{80, 84, 83}, {69.5, 72.5, 65}, {67.5, 71, 70.5}, {80, 76.5, 77}, {82, 80, 82}},
       .loss = {.091, .161, .177, .119, .102},
       .lr = {3e-3, 1e-2, 1e-2, 1e-2, 1e-2},
       .sweep = {{84.5, 86, 32.5, 0},
                 {3, 40.5, 72.5, 6.5},
                 {19, 57.5, 66.5, 2.5},
                 {24.5, 64.5, 81, 29.5},
                 {27, 69.5, 75.5, 32.5}}},
  };
}

/// `right` of `count` items answered: items have a difficulty of their own, every run its noise.
inline std::vector<std::int64_t> synthetic_items(std::int64_t right, std::int64_t count, std::uint64_t run) {
  std::mt19937_64 difficulty(77), own(run);
  std::normal_distribution<double> normal;
  std::vector<std::pair<double, std::size_t>> order;
  for (std::size_t i = 0; i < static_cast<std::size_t>(count); ++i) {
    const double value = normal(difficulty);
    order.emplace_back(value + 0.5 * normal(own), i);
  }
  std::sort(order.begin(), order.end());
  std::vector<std::int64_t> items(order.size(), 0);
  for (std::size_t i = 0; i < static_cast<std::size_t>(right); ++i)
    items[order[i].second] = 1;
  return items;
}

inline experiments::RunSummary synthetic_summary(const SyntheticTask& task, std::size_t method, std::size_t seed) {
  experiments::RunSummary s;
  const std::string& name = five_methods()[method];
  const bool full = name == "full";
  std::mt19937_64 random(1000 * method + 10 * seed + static_cast<std::uint64_t>(task.seq_len));
  std::normal_distribution<double> normal;
  s.name = task.name + "-" + name + "-" + std::to_string(seed + 1);
  s.suite = "quickstart";
  s.task = task.name;
  s.method = name;
  if (!full) {
    s.rank = name == "bone" || name == "bat" ? 8 : 4;
    s.alpha = name == "lora" ? 8 : 4;
  }
  s.seed = static_cast<std::int64_t>(seed) + 1;
  s.lr = task.lr[method];
  s.model = "builtin:tiny";
  s.target_modules = {"all-linear"};
  s.trainable_parameters = full ? 623'744 : 32'768;
  s.total_parameters = full ? 623'744 : 656'512;
  s.steps = task.steps;
  s.batch_size = 32;
  s.seq_len = task.seq_len;
  s.tokens = task.steps * 32 * task.seq_len;
  const double base[] = {31, 26.5, 26.8, 23.4, 29.9};
  const double median = base[method] * 1e-3 * static_cast<double>(task.seq_len) / 24 * (1 + 0.02 * normal(random));
  s.step_seconds =
      experiments::StepSeconds{.median = median, .p10 = 0.94 * median, .p90 = 1.12 * median, .min = 0.91 * median};
  s.tokens_per_second = 32 * static_cast<double>(task.seq_len) / median;
  s.train_seconds = median * static_cast<double>(task.steps);
  const std::int64_t tokens = 32 * task.seq_len, rank = s.rank.value_or(0);
  experiments::PeakBytes bytes;
  bytes.weights = 623'744 * 4;
  bytes.adapter = full ? 0 : 32'768 * 4;
  bytes.gradient = full ? bytes.weights : bytes.adapter;
  bytes.optimizer = 2 * bytes.gradient;
  bytes.activation = 4 * tokens *
                     (4 * (4 * 128 + 2 * 64 + 2 * 256) + (name == "lora" || name == "pissa" ? 2 * 128 + 256 + 28 * rank
                                                          : name == "bone"                  ? 16 * rank
                                                                                            : 2 * 128 + 256)) /
                     2;
  bytes.workspace = 393'216;
  bytes.total = bytes.weights + bytes.adapter + bytes.gradient + bytes.optimizer + bytes.activation + bytes.workspace;
  s.peak_bytes = bytes;
  s.pool_idle_bytes = 262'144;
  s.process_peak_bytes = bytes.total + 31'000'000;
  s.final_train_loss = task.loss[method] * 0.9;
  const double accuracy = task.accuracy[method][seed] / 100;
  s.evaluation.before = experiments::Scores{.loss = 2.9, .accuracy = 0.0, .perplexity = std::exp(2.9)};
  const double loss = task.loss[method] * (1 + 0.05 * normal(random));
  s.evaluation.after = experiments::Scores{.loss = loss, .accuracy = accuracy, .perplexity = std::exp(loss)};
  for (const char* skill : {"add", "sub", "rev", "copy"})
    s.evaluation.keep[skill] =
        std::clamp(0.06 + 0.03 * static_cast<double>(method % 3) + 0.02 * normal(random), 0.0, 1.0);
  s.items = synthetic_items(std::lround(accuracy * 200), 200,
                            31 * method + 7 * seed + static_cast<std::uint64_t>(task.steps));
  const auto saved = [&](const char* op, const char* tensor, std::int64_t width, std::int64_t count) {
    s.saved_tensors.push_back({.op = op,
                               .name = tensor,
                               .dtype = "f32",
                               .shape = {tokens, width},
                               .bytes = tokens * width * 4,
                               .count = count});
  };
  saved("rms_norm", "x", 128, 9);
  saved("attention", "q", 128, 4);
  saved("attention", "k", 64, 4);
  saved("attention", "v", 64, 4);
  saved("attention", "output", 128, 4);
  saved("swiglu", "gate", 256, 4);
  saved("swiglu", "up", 256, 4);
  if (name == "lora" || name == "pissa") {
    saved("linear_plus", "x", 128, 12);
    saved("linear_plus", "left", rank, 28);
  } else if (name == "bone") {
    saved("linear_plus", "left", rank, 16);
  } else {
    saved(full ? "linear" : "bat", "x", 128, 12);
  }
  s.data_hash = "data-" + task.name;
  s.batch_hash = "batches-" + task.name + "-" + std::to_string(seed);
  s.config_hash = "config";
  s.deterministic = true;
  s.completed = true;
  return s;
}

inline void write_synthetic_run(const std::filesystem::path& folder, const experiments::RunSummary& s) {
  std::filesystem::create_directories(folder);
  experiments::write_summary(folder, s);
  experiments::MetricsWriter writer(folder / "metrics.jsonl");
  std::mt19937_64 random(static_cast<std::uint64_t>(s.seed) + 100 * s.name.size());
  std::normal_distribution<double> normal;
  const double lucky = std::exp(0.25 * normal(random));
  const double end = lucky * s.final_train_loss.value_or(0.1), pace = s.method == "full"   ? 9
                                                                      : s.method == "lora" ? 4.2
                                                                                           : 5.5;
  for (std::int64_t step = 1; step <= s.steps; ++step) {
    const double share = static_cast<double>(step) / static_cast<double>(s.steps);
    writer.write(
        experiments::StepMetrics{.step = step,
                                 .loss = (end + 2.9 * std::exp(-pace * share)) * std::exp(0.12 * normal(random)),
                                 .lr = s.lr.value_or(0) * (1 - share),
                                 .grad_norm = 1,
                                 .tokens = s.batch_size * s.seq_len,
                                 .step_seconds = s.step_seconds ? s.step_seconds->median : 0});
  }
}

/// The whole ablation: final runs, the sweep's runs under sweep/, and one environment for all.
inline void write_ablation(const std::filesystem::path& root, const std::vector<SyntheticTask>& tasks) {
  for (const SyntheticTask& task : tasks)
    for (std::size_t method = 0; method < task.accuracy.size(); ++method) {
      for (std::size_t seed = 0; seed < task.accuracy[method].size(); ++seed) {
        const experiments::RunSummary s = synthetic_summary(task, method, seed);
        write_synthetic_run(root / s.name, s);
      }
      for (std::size_t rate = 0; rate < task.sweep[method].size(); ++rate) {
        experiments::RunSummary s = synthetic_summary(task, method, 0);
        s.purpose = "sweep";
        s.seed = 100;
        s.lr = kSweepRates[rate];
        s.evaluation.after->accuracy = task.sweep[method][rate] / 100;
        s.items.clear();
        s.name += "-rate-" + std::to_string(rate);
        std::filesystem::create_directories(root / "sweep" / s.name);
        experiments::write_summary(root / "sweep" / s.name, s);
      }
    }
  experiments::Environment environment =
      experiments::capture_environment({.threads = 2,
                                        .gemm = "onednn",
                                        .gemm_implementations = {"brg:avx512_core", "jit:avx512_core"},
                                        .deterministic = true});
  experiments::write_environment(root, environment);
}

/// One task of methods with the given accuracies in percent, written without a sweep.
inline SyntheticTask small_task(std::vector<std::vector<double>> accuracy) {
  SyntheticTask task = reference_tasks()[2];
  task.accuracy = std::move(accuracy);
  for (auto& rates : task.sweep)
    rates.clear();
  return task;
}

}  // namespace osteon::test
