#include "experiments/sweep/forecast.hpp"

#include <algorithm>
#include <chrono>
#include <limits>
#include <map>
#include <optional>

#include "backends/error.hpp"
#include "backends/machine.hpp"
#include "backends/omp_threads.hpp"
#include "experiments/config/adapter_options.hpp"
#include "experiments/data/open.hpp"
#include "experiments/sweep/fairness.hpp"
#include "experiments/training/model_loading.hpp"

namespace osteon::experiments {
namespace {

/// Steps of a run that needs less are tried out: it takes seconds at most.
constexpr std::int64_t kSmall = std::int64_t{1} << 30;

std::int64_t steps_of(const RunConfig& config) {
  if (config.steps > 0)
    return config.steps;
  const LoadedModel loaded = load_model(config, Weights::random, Device::meta);
  return open_training_data(config, *loaded.tokenizer, ModelLimits(*loaded.model))->steps_in(config.epochs);
}

/// Median seconds of a step in a folder's run, where it trained what the config says.
std::optional<double> measured_step(const std::filesystem::path& folder, const RunConfig& config,
                                    std::int64_t trainable) {
  try {
    if (!std::filesystem::exists(folder / "summary.json"))
      return std::nullopt;
    const RunSummary summary = read_summary(folder);
    const bool same = summary.method == config.method && summary.trainable_parameters == trainable &&
                      summary.batch_size == config.batch_size && summary.seq_len == row_length(config);
    return same && summary.step_seconds ? std::optional(summary.step_seconds->median) : std::nullopt;
  } catch (const Error&) {  // it is no run that tells anything
    return std::nullopt;
  }
}

double median_of(const std::vector<double>& values) { return StepSeconds::of(values).median; }

/// FLOP/s that two steps of a small run reach on this machine, loading left out.
double trial_rate(RunConfig config, double step_flops, std::int64_t threads) {
  config.threads = threads;
  double seconds = std::numeric_limits<double>::infinity();
  for (int repeat = 0; repeat < 3; ++repeat) {  // the first one warms up
    const auto start = std::chrono::steady_clock::now();
    measure(config);
    seconds = std::min(seconds, std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count());
  }
  return 2 * step_flops / seconds;
}

/// FLOP/s of the CPU's products on the threads of a run.
double machine_rate(std::int64_t threads) {
  set_threads(threads);
  const MachinePeaks peaks = measure_machine();
  return std::max(peaks.gemm_f32, peaks.gemm_bf16);
}

/// The reported runs of a suite whose sweep chose the same value everywhere.
std::vector<SuiteRun> reported_runs(const Suite& suite, const std::string& swept) {
  std::map<std::string, std::string> chosen;
  for (const Cell& cell : suite.cells)
    chosen[cell.id] = swept;
  return final_runs(suite, chosen);
}

/// All runs of a suite. Before the sweep has chosen, a reported run may turn out with any of its values.
struct AllRuns {
  explicit AllRuns(const Suite& suite) : sweep(sweep_runs(suite)) {
    for (const std::string& value : suite.sweep ? suite.sweep->values : std::vector<std::string>{""})
      reported.push_back(reported_runs(suite, value));
  }

  std::vector<SuiteRun> sweep;
  std::vector<std::vector<SuiteRun>> reported;  // by the chosen value, the same ids in each
};

/// What the planner says, or why it cannot.
void plan_cell(CellForecast& one, const RunConfig& config, std::int64_t threads) {
  try {
    const Plan plan = plan_of(config, threads);
    one.trainable_parameters = plan.trainable_parameters;
    one.needed_bytes = plan.needed_bytes();
    one.step_flops = plan.flops.total(Pass::forward) + plan.flops.total(Pass::backward);
    one.steps = steps_of(config);
  } catch (const Error& error) {
    one.error = error.what();
  }
}

/// What the folder holds of a cell's runs: their ids, how many are finished, the median seconds of their steps.
std::optional<double> look_up(CellForecast& one, std::size_t cell, const RunConfig& config, const AllRuns& runs,
                              const std::filesystem::path& folder) {
  std::vector<double> seconds;
  const auto look = [&](RunKind kind, const SuiteRun& run) {
    if (const auto step = measured_step(run_folder(folder, kind, run), config, one.trainable_parameters))
      seconds.push_back(*step);
  };
  for (const SuiteRun& run : runs.sweep)
    if (run.cell == cell) {
      one.sweep_runs.push_back(run.id);
      look(RunKind::sweep, run);
      one.finished += finished_run_of(run_folder(folder, RunKind::sweep, run), run.config) ? 1 : 0;
    }
  for (std::size_t i = 0; i < runs.reported[0].size(); ++i)
    if (const SuiteRun& run = runs.reported[0][i]; run.cell == cell) {
      one.final_runs.push_back(run.id);
      look(RunKind::final, run);
      one.finished += std::any_of(runs.reported.begin(), runs.reported.end(), [&](const std::vector<SuiteRun>& chosen) {
        return finished_run_of(run_folder(folder, RunKind::final, run), chosen[i].config).has_value();
      });
    }
  return seconds.empty() ? std::nullopt : std::optional(median_of(seconds));
}

}  // namespace

std::string_view name_of(TimeSource source) {
  switch (source) {
    case TimeSource::measured:
      return "measured";
    case TimeSource::others:
      return "rate of other runs";
    case TimeSource::trial:
      return "trial steps";
    case TimeSource::machine:
      break;
  }
  return "at least";
}

Forecast forecast(const Suite& suite, const AblationOptions& options) {
  Forecast all;
  const AllRuns runs(suite);
  std::vector<std::optional<double>> step_seconds;
  std::vector<double> rates;  // FLOP/s of cells that were measured
  bool guess = false;
  for (std::size_t i = 0; i < suite.cells.size(); ++i) {
    CellForecast& one = all.cells.emplace_back();
    one.id = suite.cells[i].id;
    const RunConfig config = filled(suite.cells[i].config);
    plan_cell(one, config, options.threads);
    step_seconds.push_back(look_up(one, i, config, runs, options.folder));
    if (step_seconds[i] && one.error.empty())
      rates.push_back(one.step_flops / *step_seconds[i]);
    guess = guess || !step_seconds[i];
  }
  TimeSource source = TimeSource::others;
  double rate = rates.empty() ? 1 : median_of(rates);
  if (guess && rates.empty()) {
    const auto cell = std::min_element(all.cells.begin(), all.cells.end(), [](const auto& a, const auto& b) {
      return std::pair(!a.error.empty(), a.needed_bytes) < std::pair(!b.error.empty(), b.needed_bytes);
    });
    const bool small = cell->error.empty() && cell->needed_bytes < kSmall;
    source = small ? TimeSource::trial : TimeSource::machine;
    const auto i = static_cast<std::size_t>(cell - all.cells.begin());
    rate = small ? trial_rate(suite.cells[i].config, cell->step_flops, options.threads) : machine_rate(options.threads);
  }
  for (std::size_t i = 0; i < all.cells.size(); ++i) {
    CellForecast& one = all.cells[i];
    const auto count = static_cast<std::int64_t>(one.sweep_runs.size() + one.final_runs.size());
    all.runs += count;
    all.finished += one.finished;
    one.source = step_seconds[i] ? TimeSource::measured : source;
    one.run_seconds = static_cast<double>(one.steps) * step_seconds[i].value_or(one.step_flops / rate);
    all.seconds +=
        one.run_seconds * static_cast<double>(count - one.finished) / static_cast<double>(options.runs_at_a_time());
  }
  return all;
}

}  // namespace osteon::experiments
