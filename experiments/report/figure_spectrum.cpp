#include <algorithm>
#include <cmath>
#include <fmt/format.h>
#include <set>

#include "experiments/report/figure_panel.hpp"
#include "experiments/report/figures.hpp"
#include "experiments/report/gnuplot.hpp"

namespace osteon::report {

using experiments::Spectrum;

namespace {

constexpr double kRounding = 1e-5;  // of a change that is computed in f32

/// An entry's singular values over the largest, geometric means over its runs and the layers; cut at the first place
/// that one of them does not have.
std::vector<double> mean_spectrum(const Entry& entry, const std::string& kind) {
  std::vector<double> logs;
  double count = 0;
  for (const Run* run : entry.runs)
    for (const Spectrum& spectrum : run->spectra) {
      if (spectrum.kind() != kind || spectrum.values.empty() || spectrum.values.front() <= 0)
        continue;
      std::vector<double> own;
      for (const double value : spectrum.values)
        if (const double share = value / spectrum.values.front(); share >= kRounding)
          own.push_back(std::log(share));
      if (count++ == 0)
        logs.assign(own.size(), 0);
      logs.resize(std::min(logs.size(), own.size()));
      for (std::size_t i = 0; i < logs.size(); ++i)
        logs[i] += own[i];
    }
  for (double& log : logs)
    log = std::exp(log / count);
  return logs;
}

}  // namespace

std::set<std::string> spectrum_kinds(const Task& task) {
  std::set<std::string> kinds;
  for (const Entry& entry : task.entries)
    for (const Run* run : entry.runs)
      for (const Spectrum& spectrum : run->spectra)
        kinds.insert(spectrum.kind());
  return kinds;
}

std::optional<double> stable_rank(const Entry& entry, const std::string& kind) {
  std::vector<double> ranks;
  for (const Run* run : entry.runs)
    for (const Spectrum& spectrum : run->spectra)
      if (spectrum.kind() == kind && spectrum.norm > 0)
        ranks.push_back(spectrum.stable_rank);
  return ranks.empty() ? std::nullopt : std::optional(mean(ranks));
}

void draw_spectra(const Panel& panel, std::vector<Figure>& row) {
  for (const std::string& kind : spectrum_kinds(panel.task)) {
    std::vector<std::vector<double>> spectra;
    std::size_t longest = 0;
    double lowest = 1;
    std::string csv = "number", plot;
    for (const Entry& entry : panel.task.entries) {
      std::vector<double> values = mean_spectrum(entry, kind);
      if (values.empty())
        continue;
      longest = std::max(longest, values.size());
      lowest = std::min(lowest, values.back());
      spectra.push_back(std::move(values));
      csv += "," + csv_text_field(panel.label(entry));
      plot +=
          fmt::format("{}data using 1:{} with lines lw 1.8 lc rgb '{}' title {}", plot.empty() ? "plot " : Panel::kNext,
                      spectra.size() + 1, panel.style(entry).light, gnuplot_quoted(panel.label(entry)));
    }
    if (spectra.empty())
      continue;
    csv += "\n";
    for (std::size_t i = 0; i < longest; ++i) {
      csv += std::to_string(i + 1);
      for (const std::vector<double>& values : spectra)
        csv += "," + (i < values.size() ? csv_field(values[i]) : "");
      csv += "\n";
    }
    const std::string settings =
        fmt::format("set logscale y\nset format y '%g'\nset xlabel 'singular value, the largest first'\n") +
        fmt::format("set ylabel 'over the largest'\nset xrange [1:{}]\nset yrange [{:.3g}:1.1]\n",
                    std::max<std::size_t>(longest, 2), lowest / 1.5);
    row.push_back(panel.draw("spectrum-" + kind, "Singular values of the weight change, a line a method", csv, settings,
                             plot, kind));
  }
}

}  // namespace osteon::report
