#pragma once

#include <algorithm>
#include <chrono>

namespace osteon {

/// The most units a second that `run`, which returns its units, reached within about `seconds`; at least three runs,
/// of which the first warms up.
template <class F>
double best_rate(double seconds, const F& run) {
  using Clock = std::chrono::steady_clock;
  double best = 0, spent = 0;
  for (int runs = 0; runs < 3 || spent < seconds; ++runs) {
    const auto start = Clock::now();
    const double units = run();
    const double took = std::chrono::duration<double>(Clock::now() - start).count();
    spent += took;
    if (runs > 0)
      best = std::max(best, units / took);
  }
  return best;
}

}  // namespace osteon
