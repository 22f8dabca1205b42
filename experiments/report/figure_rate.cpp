#include <algorithm>
#include <fmt/format.h>
#include <set>

#include "experiments/report/figure_panel.hpp"
#include "experiments/report/figures.hpp"
#include "experiments/report/gnuplot.hpp"

namespace osteon::report {

std::string rate_axis(const std::set<double>& rates) {
  std::string tics;
  for (const double lr : rates)
    tics += fmt::format("{}'{}' {:.8g}", tics.empty() ? "" : ", ", shortest(lr), lr);
  return fmt::format("set logscale x\nset xtics ({})\nset xlabel 'learning rate'\nset xrange [{:.6g}:{:.6g}]\n", tics,
                     *rates.begin() / 1.4, *rates.rbegin() * 1.4);
}

std::map<std::string, std::map<double, const Entry*>> entries_by_rate(const Comparison& comparison, const Task& task) {
  std::map<std::string, std::map<double, const Entry*>> lines;
  std::set<std::string> mixed;  // where something else differs too: no line through such points means anything
  for (const Entry& entry : task.entries) {
    const experiments::RunSummary& run = entry.runs.front()->summary;
    if (!run.lr)
      continue;
    const std::string& name = comparison.contestants[entry.contestant].label_without_lr;
    auto& line = lines[name];
    if (!line.empty() && !alike_but_lr(line.begin()->second->runs.front()->summary, run))
      mixed.insert(name);
    line.try_emplace(*run.lr, &entry);
  }
  std::erase_if(lines, [&](const auto& line) { return line.second.size() < 2 || mixed.contains(line.first); });
  return lines;
}

void draw_rates(const Panel& panel, std::vector<Figure>& row) {
  const auto lines = entries_by_rate(panel.comparison, panel.task);
  if (lines.empty())
    return;
  std::set<double> rates;
  std::string csv = "lr", bands, plot;
  std::size_t column = 2;
  for (const auto& [name, entries] : lines) {
    const Style& look = panel.style(*entries.begin()->second);
    for (const char* what : {" mean", " lowest seed", " highest seed"})
      csv += "," + csv_text_field(name + what);
    const bool seeds =
        std::any_of(entries.begin(), entries.end(), [](const auto& at) { return at.second->seeds.size() > 1; });
    if (seeds)
      bands +=
          fmt::format("data using 1:{}:{} with filledcurves fs transparent solid 0.18 noborder lc rgb '{}' notitle{}",
                      column + 1, column + 2, look.light, Panel::kNext);
    plot += fmt::format("{}data using 1:{} with linespoints pt {} ps 0.8 lw 1.6 lc rgb '{}' title {}",
                        plot.empty() ? "" : Panel::kNext, column, look.marker, look.light, gnuplot_quoted(name));
    column += 3;
    for (const auto& [lr, entry] : entries)
      rates.insert(lr);
  }
  csv += "\n";
  for (const double lr : rates) {
    csv += shortest(lr);
    for (const auto& [name, entries] : lines) {
      const auto found = entries.find(lr);
      if (found == entries.end()) {
        csv += ",,,";
        continue;
      }
      const Sample& score = found->second->score;
      const auto [low, high] = std::minmax_element(score.values.begin(), score.values.end());
      for (const double value : {score.mean, *low, *high})
        csv += "," + csv_field(panel.unit() * value);
    }
    csv += "\n";
  }
  row.push_back(panel.draw("lr", "Score against learning rate, a line a method with the range over seeds", csv,
                           rate_axis(rates) + fmt::format("set ylabel {}\n", gnuplot_quoted(panel.axis())) +
                               (panel.task.by_accuracy ? "set yrange [0:102]\n" : ""),
                           "plot " + bands + plot));
}

}  // namespace osteon::report
