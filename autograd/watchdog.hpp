#pragma once

#include <string_view>

#include "autograd/tensor.hpp"

namespace osteon {

/// While one lives, every op's output and every gradient on this thread is checked; the first NaN or infinity throws
/// NumericError naming the op, whether forward or backward, and the shape. Costs a pass over each tensor.
class Watchdog {
 public:
  Watchdog();
  ~Watchdog();
  Watchdog(const Watchdog&) = delete;
  Watchdog& operator=(const Watchdog&) = delete;

 private:
  bool before_;
};

/// Whether one lives on this thread.
bool watchdog_lives();

/// Called by the graph: checks `x` if a watchdog lives. `where` is "forward" or "backward".
void watch(std::string_view op, std::string_view where, const Tensor& x);

}  // namespace osteon
