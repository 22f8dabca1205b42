#include "nn/optim/schedule.hpp"

#include <algorithm>
#include <cmath>
#include <numbers>
#include <vector>

#include "backends/error.hpp"
#include "backends/suggest.hpp"

namespace osteon::nn {

double Schedule::at(std::int64_t step) const {
  if (step < warmup_steps)
    return peak * static_cast<double>(step) / static_cast<double>(std::max<std::int64_t>(1, warmup_steps));
  if (kind == Kind::constant)
    return peak;
  const double progress = std::min(1.0, static_cast<double>(step - warmup_steps) /
                                            static_cast<double>(std::max<std::int64_t>(1, total_steps - warmup_steps)));
  const double left = kind == Kind::linear ? 1.0 - progress : 0.5 * (1.0 + std::cos(std::numbers::pi * progress));
  return peak * (min_ratio + (1.0 - min_ratio) * left);
}

Schedule::Kind parse_schedule(const std::string& name) {
  if (name == "constant")
    return Schedule::Kind::constant;
  if (name == "linear")
    return Schedule::Kind::linear;
  const std::vector<std::string> known = {"constant", "linear", "cosine"};
  check<ConfigError>(name == "cosine", "schedule: expected constant, linear or cosine, got \"", name, "\"",
                     suggestion(name, known));
  return Schedule::Kind::cosine;
}

}  // namespace osteon::nn
