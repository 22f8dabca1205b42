#pragma once

#include <cstdint>
#include <string>

namespace osteon::nn {

/// The learning rate over steps, as transformers' get_{constant,linear,cosine}_schedule_with_warmup.
struct Schedule {
  enum class Kind { constant, linear, cosine };

  Kind kind = Kind::cosine;
  double peak = 0.0;
  std::int64_t warmup_steps = 0;
  std::int64_t total_steps = 1;
  double min_ratio = 0.0;  ///< of the peak, at the end

  /// The rate of step `step`, counted from 0: peak * step / max(1, warmup) while warming up, then the decay.
  double at(std::int64_t step) const;
};

/// "constant", "linear" or "cosine"; ConfigError naming the nearest otherwise.
Schedule::Kind parse_schedule(const std::string& name);

}  // namespace osteon::nn
