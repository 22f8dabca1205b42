#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "experiments/sweep/ablation.hpp"
#include "experiments/sweep/suite.hpp"

/// What `osteon ablate --dry-run` tells: what a suite's runs need, before they run.
namespace osteon::experiments {

/// Where a run's seconds come from.
enum class TimeSource {
  measured,  ///< steps of finished runs of the same cell in the folder
  others,    ///< FLOPs at the rate that finished runs of other cells in the folder reached
  trial,     ///< FLOPs at the rate that two steps of the smallest cell reached just now
  machine    ///< FLOPs at the machine's best rate of products: the run takes at least so long
};
std::string_view name_of(TimeSource source);

struct CellForecast {
  std::string id;
  std::string error;  ///< why the cell cannot run; nothing else is known then
  std::int64_t trainable_parameters = 0;
  std::int64_t needed_bytes = 0;  ///< of its training steps, by the planner
  std::int64_t steps = 0;
  double step_flops = 0;
  double run_seconds = 0;  ///< of the training steps; loading and scoring are not in it
  TimeSource source = TimeSource::machine;
  std::vector<std::string> sweep_runs, final_runs;  ///< ids of all
  std::int64_t finished = 0;                        ///< reported ones of them that are in the folder already
};

struct Forecast {
  std::vector<CellForecast> cells;
  std::int64_t runs = 0, finished = 0;
  double seconds = 0;  ///< of what is left, at so many runs at a time
};

/// Forecasts every cell. A cell that cannot be planned says why; nothing throws for it.
Forecast forecast(const Suite& suite, const AblationOptions& options);

}  // namespace osteon::experiments
