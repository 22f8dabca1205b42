#pragma once

#include <functional>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "experiments/report/comparison.hpp"
#include "experiments/report/easel.hpp"
#include "experiments/report/format.hpp"
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
  std::string axis() const { return task.by_accuracy ? "accuracy, %" : "held-out loss, " + score_unit(task); }

  /// `part` names what of the task is shown, where it has several panels of a kind.
  Figure draw(const std::string& kind, const std::string& description, const std::string& csv,
              const std::string& settings, const std::string& plot, const std::string& part = "") const {
    const std::string caption = task.name + (part.empty() ? "" : ", " + part);
    Figure figure = easel.draw(prefix + "-" + kind, caption, description + " on " + caption, csv, settings, plot);
    figure.task = task.name;
    return figure;
  }
};

/// Settings of stacked bars, one for each of `bars` entries.
inline std::string stacked_bars(std::size_t bars, const std::string& ylabel) {
  return "set style data histograms\nset style histogram rowstacked\nset style fill solid 1 noborder\n"
         "set boxwidth 0.66\nset yrange [0:*]\nset ylabel '" +
         ylabel + "'\n" + (bars > 6 ? "set xtics rotate by -40\nset rmargin 6\n" : "");
}

/// Settings of a logarithmic axis with a tic at each learning rate; there is at least one.
std::string rate_axis(const std::set<double>& rates);

/// Loss of every run against the step.
void draw_loss(const Panel& panel, std::vector<Figure>& row);

/// The score against a cost, with the Pareto front that `front` marks; entries without the cost are left out.
void draw_tradeoff(const Panel& panel, const char* kind, const char* xlabel, bool Entry::*front,
                   const std::function<std::optional<double>(const Entry&)>& cost, std::vector<Figure>& row);

/// The score against the learning rate of final runs, where a method has several.
void draw_rates(const Panel& panel, std::vector<Figure>& row);

/// Singular values of the weight change, a panel a kind of linear.
void draw_spectra(const Panel& panel, std::vector<Figure>& row);

/// Where a step's time goes, a bar an entry.
void draw_step_time(const Panel& panel, std::vector<Figure>& row);

}  // namespace osteon::report
