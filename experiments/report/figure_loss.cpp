#include <algorithm>
#include <cmath>
#include <fmt/format.h>
#include <map>
#include <set>

#include "experiments/report/figure_panel.hpp"
#include "experiments/report/gnuplot.hpp"

namespace osteon::report {

namespace {

constexpr std::size_t kCurvePoints = 120;  // as many as a panel of 400 pixels can show
constexpr double kLogRatio = 8;            // losses that fall further than this are drawn on a logarithmic axis

using Curve = std::map<std::int64_t, std::vector<double>>;  // step -> one value a seed

/// Loss of every run as a running mean, at up to kCurvePoints steps.
Curve curve(const Entry& entry) {
  Curve values;
  for (const Run* run : entry.runs) {
    const auto& steps = run->metrics.steps;
    const std::size_t half = steps.size() / 60, stride = std::max<std::size_t>(1, steps.size() / kCurvePoints);
    for (std::size_t i = 0; i < steps.size(); i += stride) {
      double sum = 0, count = 0;
      for (std::size_t j = i > half ? i - half : 0; j <= std::min(i + half, steps.size() - 1); ++j)
        if (std::isfinite(steps[j].loss)) {
          sum += steps[j].loss;
          ++count;
        }
      if (count > 0)
        values[steps[i].step].push_back(sum / count);
    }
  }
  return values;
}

}  // namespace

void draw_loss(const Panel& panel, std::vector<Figure>& row) {
  std::vector<Curve> curves;
  std::set<std::int64_t> steps;
  double lowest = 1e300, highest = -1e300;
  std::string csv = "step", bands, lines;
  for (const Entry& entry : panel.task.entries) {
    const std::size_t column = 3 * curves.size() + 2;
    curves.push_back(curve(entry));
    for (const char* what : {" mean", " lowest seed", " highest seed"})
      csv += "," + csv_text_field(panel.label(entry) + what);
    for (const auto& [step, values] : curves.back()) {
      steps.insert(step);
      lowest = std::min(lowest, *std::min_element(values.begin(), values.end()));
      highest = std::max(highest, *std::max_element(values.begin(), values.end()));
    }
    if (curves.back().empty())
      continue;
    if (entry.runs.size() > 1)
      bands +=
          fmt::format("data using 1:{}:{} with filledcurves fs transparent solid 0.18 noborder lc rgb '{}' notitle{}",
                      column + 1, column + 2, panel.style(entry).light, Panel::kNext);
    lines += fmt::format("{}data using 1:{} with lines lw 1.8 lc rgb '{}' title {}", lines.empty() ? "" : Panel::kNext,
                         column, panel.style(entry).light, gnuplot_quoted(panel.label(entry)));
  }
  if (steps.empty())
    return;
  csv += "\n";
  for (const std::int64_t step : steps) {
    csv += std::to_string(step);
    for (const Curve& values : curves)
      if (const auto found = values.find(step); found != values.end()) {
        const auto [low, high] = std::minmax_element(found->second.begin(), found->second.end());
        csv += "," + csv_field(mean(found->second)) + "," + csv_field(*low) + "," + csv_field(*high);
      } else {
        csv += ",,,";
      }
    csv += "\n";
  }
  std::string settings = fmt::format("set xlabel 'step'\nset ylabel {}\nset xrange [0:{}]\n",
                                     gnuplot_quoted("training loss, " + panel.task.loss_unit), *steps.rbegin());
  if (lowest > 0 && highest > kLogRatio * lowest)
    settings +=
        fmt::format("set logscale y\nset format y '%g'\nset yrange [{:.4g}:{:.4g}]\n", lowest / 1.15, highest * 1.15);
  row.push_back(panel.draw("loss", "Training loss against step, a line a method with the range over seeds", csv,
                           settings, "plot " + bands + lines));
}

}  // namespace osteon::report
