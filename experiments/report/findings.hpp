#pragma once

#include <string>
#include <vector>

#include "experiments/report/comparison.hpp"

namespace osteon::report {

/// What the comparison shows, in sentences of plain text. A method is called ahead only of those it is told apart from;
/// everything else is called not told apart, with its p value.
struct Findings {
  std::string headline;
  struct OfTask {
    std::string task, text;
  };
  std::vector<OfTask> tasks;
  std::vector<std::string> costs;  ///< memory and step time
};

Findings findings_of(const Comparison& comparison);

}  // namespace osteon::report
