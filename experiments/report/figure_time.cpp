#include <fmt/format.h>
#include <map>
#include <string_view>

#include "experiments/report/figure_panel.hpp"
#include "experiments/report/gnuplot.hpp"

namespace osteon::report {

namespace {

/// Parts of a profile that are drawn as one, and the long name of another.
std::string drawn_as(const std::string& part) {
  static const std::map<std::string_view, const char*> names = {
      {"embedding, norms, rotary, SwiGLU, adds", "norms and the like"},
      {"gradient norm", "optimizer"},
      {"data", "rest"}};
  const auto found = names.find(part);
  return found == names.end() ? part : found->second;
}

/// Mean seconds of a step by drawn part over the runs that have a profile.
std::map<std::string, double> step_parts(const Entry& entry) {
  std::map<std::string, double> seconds;
  double runs = 0;
  for (const Run* run : entry.runs) {
    runs += run->step_parts.empty() ? 0 : 1;
    for (const experiments::ProfilePart& part : run->step_parts)
      seconds[drawn_as(part.name)] += part.seconds;
  }
  for (auto& [part, sum] : seconds)
    sum /= runs;
  return seconds;
}

}  // namespace

void draw_step_time(const Panel& panel, std::vector<Figure>& row) {
  std::string csv = "method", plot, rows;
  for (std::size_t i = 0; i < kStepParts.size(); ++i) {
    csv += "," + csv_text_field(kStepParts[i].name);
    plot += fmt::format("{}data using {}{} title {} lc rgb '{}'", i == 0 ? "plot " : Panel::kNext, i + 2,
                        i == 0 ? ":xtic(1)" : "", gnuplot_quoted(kStepParts[i].name), kStepParts[i].light);
  }
  for (const Entry& entry : panel.task.entries) {
    const std::map<std::string, double> seconds = step_parts(entry);
    if (seconds.empty())
      continue;
    rows += csv_text_field(panel.label(entry));
    for (const Category& part : kStepParts) {
      const auto found = seconds.find(part.name);
      rows += "," + csv_field(found == seconds.end() ? 0 : 1e3 * found->second);
    }
    rows += "\n";
  }
  if (!rows.empty())
    row.push_back(panel.draw("step-time", "Where a step's time goes, a bar a method", csv + "\n" + rows,
                             stacked_bars(panel.task.entries.size(), "ms a step"), plot));
}

}  // namespace osteon::report
