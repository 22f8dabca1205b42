#pragma once

#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "experiments/report/comparison.hpp"
#include "experiments/report/easel.hpp"
#include "experiments/report/palette.hpp"

namespace osteon::report {

/// What the panels of one task share.
struct Panel {
  const Comparison& comparison;
  const Task& task;
  std::string prefix;  ///< of the names of its files
  Easel& easel;

  static constexpr const char* kNext = ", \\\n     ";  ///< between the parts of a plot command

  const std::string& label(const Entry& entry) const { return comparison.contestants[entry.contestant].label; }
  const Style& style(const Entry& entry) const { return kStyles[comparison.contestants[entry.contestant].style]; }
  /// Scores are drawn in percent, losses as they are.
  double unit() const { return task.by_accuracy ? 100 : 1; }
  const char* axis() const { return task.by_accuracy ? "accuracy, %" : "held-out loss, nats"; }

  Figure draw(const std::string& kind, const std::string& description, const std::string& csv,
              const std::string& settings, const std::string& plot) const {
    return easel.draw(prefix + "-" + kind, task.name, description + " on " + task.name, csv, settings, plot);
  }
};

/// Loss of every run against the step.
void draw_loss(const Panel& panel, std::vector<Figure>& row);

/// The score against a cost, with the Pareto front that `front` marks; entries without the cost are left out.
void draw_tradeoff(const Panel& panel, const char* kind, const char* xlabel, bool Entry::*front,
                   const std::function<std::optional<double>(const Entry&)>& cost, std::vector<Figure>& row);

}  // namespace osteon::report
