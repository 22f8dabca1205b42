#include "experiments/report/figures.hpp"

#include <algorithm>
#include <array>
#include <cmath>
#include <fmt/format.h>
#include <map>
#include <set>

#include "experiments/report/figure_panel.hpp"
#include "experiments/report/format.hpp"
#include "experiments/report/gnuplot.hpp"

namespace osteon::report {

namespace {

/// Validation scores of the sweep against the learning rate.
void draw_sweep(const Panel& panel, std::vector<Figure>& row) {
  if (panel.task.sweep.empty())
    return;
  std::map<double, std::map<std::size_t, double>> rates;  // rate -> contestant -> score
  for (const auto& [who, points] : panel.task.sweep)
    for (const SweepPoint& point : points)
      rates[point.lr][who] = point.score;
  std::string csv = "lr", plot, chosen;
  std::vector<std::size_t> columns;
  for (const Entry& entry : panel.task.entries) {
    if (!panel.task.sweep.contains(entry.contestant))
      continue;
    columns.push_back(entry.contestant);
    csv += "," + csv_text_field(panel.label(entry));
    plot += fmt::format("{}data using 1:{} with linespoints pt {} ps 0.8 lw 1.6 lc rgb '{}' title {}",
                        plot.empty() ? "plot " : Panel::kNext, columns.size() + 1, panel.style(entry).marker,
                        panel.style(entry).light, gnuplot_quoted(panel.label(entry)));
    if (const auto lr = entry.runs.front()->summary.lr)
      chosen += fmt::format(
          "{}data using (abs($1/{:.8g}-1)<1e-6?$1:NaN):{} with points pt 6 ps 1.9 lw 1.4 lc rgb '{}' notitle",
          Panel::kNext, *lr, columns.size() + 1, panel.style(entry).light);
  }
  csv += "\n";
  std::set<double> tried;
  for (const auto& [lr, scores] : rates) {
    csv += shortest(lr);
    tried.insert(lr);
    for (const std::size_t who : columns)
      csv += "," + (scores.contains(who) ? csv_field(panel.unit() * scores.at(who)) : "");
    csv += "\n";
  }
  const std::string settings = rate_axis(tried) +
                               fmt::format("set ylabel {}\n", gnuplot_quoted("validation " + panel.axis())) +
                               (panel.task.by_accuracy ? "set yrange [0:102]\n" : "");
  row.push_back(panel.draw("rate", "Validation score against learning rate, the chosen rates ringed", csv, settings,
                           plot + chosen));
}

/// The score against the rank, a line a method, where a method has several.
void draw_ranks(const Panel& panel, std::vector<Figure>& row) {
  const auto methods = entries_by_rank(panel.comparison, panel.task);
  if (methods.empty())
    return;
  std::set<std::int64_t> ranks;
  std::string csv = "rank", plot, tics;
  std::size_t column = 2;
  for (const auto& [method, entries] : methods) {
    const Style& look = panel.style(*entries.begin()->second);
    for (const char* what : {" mean", " low", " high"})
      csv += "," + csv_text_field(display_name(method) + what);
    plot += fmt::format("{}data using 1:{}:{}:{} with yerrorbars pt 0 ps 0 lw 1.2 lc rgb '{}' notitle",
                        plot.empty() ? "plot " : Panel::kNext, column, column + 1, column + 2, look.light);
    plot += fmt::format("{}data using 1:{} with linespoints pt {} ps 0.8 lw 1.6 lc rgb '{}' title {}", Panel::kNext,
                        column, look.marker, look.light, gnuplot_quoted(display_name(method)));
    column += 3;
    for (const auto& [rank, entry] : entries)
      ranks.insert(rank);
  }
  csv += "\n";
  for (const std::int64_t rank : ranks) {
    csv += std::to_string(rank);
    tics += fmt::format("{}{}", tics.empty() ? "" : ", ", rank);
    for (const auto& [method, entries] : methods) {
      const auto found = entries.find(rank);
      if (found == entries.end()) {
        csv += ",,,";
        continue;
      }
      const Sample& score = found->second->score;
      const Interval around = score.interval.value_or(Interval{score.mean, score.mean});
      for (const double value : {score.mean, around.low, around.high})
        csv += "," + csv_field(panel.unit() * value);
    }
    csv += "\n";
  }
  row.push_back(panel.draw("rank", "Score against rank, a line a method, 95% intervals", csv,
                           fmt::format("set logscale x 2\nset xtics ({})\nset xlabel 'rank'\nset ylabel {}\n", tics,
                                       gnuplot_quoted(panel.axis())) +
                               fmt::format("set xrange [{:.6g}:{:.6g}]\n", static_cast<double>(*ranks.begin()) / 1.3,
                                           static_cast<double>(*ranks.rbegin()) * 1.3) +
                               (panel.task.by_accuracy ? "set yrange [0:102]\n" : ""),
                           plot));
}

/// Bytes by category at the peak, a bar an entry.
void draw_memory(const Panel& panel, std::vector<Figure>& row) {
  using experiments::PeakBytes;
  constexpr std::array<std::int64_t PeakBytes::*, kCategories.size()> kMembers = {
      &PeakBytes::weights,   &PeakBytes::adapter,    &PeakBytes::gradient,
      &PeakBytes::optimizer, &PeakBytes::activation, &PeakBytes::workspace};
  std::string csv = "method", plot, rows;
  for (std::size_t i = 0; i < kCategories.size(); ++i) {
    csv += fmt::format(",{}", kCategories[i].name);
    plot += fmt::format("{}data using {}{} title '{}' lc rgb '{}'", i == 0 ? "plot " : Panel::kNext, i + 2,
                        i == 0 ? ":xtic(1)" : "", kCategories[i].name, kCategories[i].light);
  }
  for (const Entry& entry : panel.task.entries)
    if (entry.peak_bytes) {
      rows += csv_text_field(panel.label(entry));
      for (const auto member : kMembers)
        rows += "," + csv_field(static_cast<double>((*entry.peak_bytes).*member) / (1 << 20));
      rows += "\n";
    }
  if (!rows.empty())
    row.push_back(panel.draw("bytes", "Memory by category at the peak, a bar a method", csv + "\n" + rows,
                             stacked_bars(panel.task.entries.size(), "MiB at the peak"), plot));
}

/// A file name part of a task's name.
std::string slug(const std::string& text) {
  std::string out;
  for (const char letter : text.substr(0, 40))
    out += (letter >= 'a' && letter <= 'z') || (letter >= 'A' && letter <= 'Z') || (letter >= '0' && letter <= '9')
               ? letter
               : '-';
  return out;
}

}  // namespace

std::map<std::string, std::map<std::int64_t, const Entry*>> entries_by_rank(const Comparison& comparison,
                                                                            const Task& task) {
  std::map<std::string, std::map<std::int64_t, const Entry*>> methods;
  for (const Entry& entry : task.entries)
    if (const auto rank = entry.runs.front()->summary.rank)
      methods[comparison.contestants[entry.contestant].method].try_emplace(*rank, &entry);
  std::erase_if(methods, [](const auto& method) { return method.second.size() < 2; });
  return methods;
}

Figures draw_figures(const Comparison& comparison, const std::filesystem::path& folder, const std::string& gnuplot) {
  Figures figures;
  Easel easel(folder, gnuplot);
  for (std::size_t i = 0; i < comparison.tasks.size(); ++i) {
    const Task& task = comparison.tasks[i];
    const Panel panel{comparison, task, fmt::format("{}-{}", i + 1, slug(task.name)), easel};
    draw_loss(panel, figures.loss);
    draw_tradeoff(
        panel, "memory", "peak memory, MiB", &Entry::front_memory,
        [](const Entry& entry) {
          return entry.peak_bytes ? std::optional(static_cast<double>(entry.peak_bytes->total) / (1 << 20))
                                  : std::nullopt;
        },
        figures.memory_tradeoff);
    draw_tradeoff(
        panel, "time", "median step, ms", &Entry::front_time,
        [](const Entry& entry) { return entry.step_seconds ? std::optional(1e3 * *entry.step_seconds) : std::nullopt; },
        figures.time_tradeoff);
    draw_tradeoff(
        panel, "parameters", "trainable parameters, thousands", &Entry::front_parameters,
        [](const Entry& entry) {
          return std::optional(1e-3 * static_cast<double>(entry.runs.front()->summary.trainable_parameters));
        },
        figures.parameters_tradeoff);
    draw_sweep(panel, figures.sweep);
    draw_rates(panel, figures.rates);
    draw_ranks(panel, figures.ranks);
    draw_spectra(panel, figures.spectra);
    draw_step_time(panel, figures.step_time);
    draw_memory(panel, figures.memory);
  }
  figures.missing = easel.missing();
  return figures;
}

}  // namespace osteon::report
