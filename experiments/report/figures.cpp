#include "experiments/report/figures.hpp"

#include <algorithm>
#include <array>
#include <cmath>
#include <fmt/format.h>
#include <map>
#include <set>

#include "experiments/report/format.hpp"
#include "experiments/report/gnuplot.hpp"
#include "experiments/report/palette.hpp"

namespace osteon::report {

namespace {

constexpr std::size_t kCurvePoints = 120;  // as many as a panel of 400 pixels can show
constexpr double kLogRatio = 8;            // losses that fall further than this are drawn on a logarithmic axis
constexpr const char* kNext = ", \\\n     ";

/// Draws the panels of one task.
class Painter {
 public:
  Painter(const Comparison& comparison, const Task& task, std::string prefix, Easel& easel, Figures& out)
      : comparison_(comparison), task_(task), prefix_(std::move(prefix)), easel_(easel), out_(out) {}

  void paint() {
    loss();
    tradeoff("memory", "peak memory, MiB", out_.memory_tradeoff, &Entry::front_memory, [](const Entry& entry) {
      return entry.peak_bytes ? std::optional(static_cast<double>(entry.peak_bytes->total) / (1 << 20)) : std::nullopt;
    });
    tradeoff("time", "median step, ms", out_.time_tradeoff, &Entry::front_time, [](const Entry& entry) {
      return entry.step_seconds ? std::optional(1e3 * *entry.step_seconds) : std::nullopt;
    });
    sweep();
    memory();
  }

 private:
  const std::string& label(const Entry& entry) const { return comparison_.contestants[entry.contestant].label; }
  const Style& style(const Entry& entry) const { return kStyles[comparison_.contestants[entry.contestant].style]; }
  double unit() const { return task_.by_accuracy ? 100 : 1; }
  const char* axis() const { return task_.by_accuracy ? "accuracy, %" : "held-out loss, nats"; }

  void add(std::vector<Figure>& row, const char* kind, const std::string& description, const std::string& csv,
           const std::string& settings, const std::string& plot) {
    row.push_back(
        easel_.draw(prefix_ + "-" + kind, task_.name, description + " on " + task_.name, csv, settings, plot));
  }

  using Curve = std::map<std::int64_t, std::vector<double>>;  // step -> one value a seed

  /// Loss of every run as a running mean, at up to kCurvePoints steps.
  static Curve curve(const Entry& entry) {
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

  void loss() {
    std::vector<Curve> curves;
    std::set<std::int64_t> steps;
    double lowest = 1e300, highest = -1e300;
    std::string csv = "step", bands, lines;
    for (const Entry& entry : task_.entries) {
      const std::size_t column = 3 * curves.size() + 2;
      curves.push_back(curve(entry));
      for (const char* what : {" mean", " lowest seed", " highest seed"})
        csv += "," + csv_text_field(label(entry) + what);
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
                        column + 1, column + 2, style(entry).light, kNext);
      lines += fmt::format("{}data using 1:{} with lines lw 1.8 lc rgb '{}' title {}", lines.empty() ? "" : kNext,
                           column, style(entry).light, gnuplot_quoted(label(entry)));
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
    std::string settings = fmt::format(
        "set xlabel 'step'\nset ylabel 'training loss, nats a token'\nset xrange [0:{}]\n", *steps.rbegin());
    if (lowest > 0 && highest > kLogRatio * lowest)
      settings +=
          fmt::format("set logscale y\nset format y '%g'\nset yrange [{:.4g}:{:.4g}]\n", lowest / 1.15, highest * 1.15);
    add(out_.loss, "loss", "Training loss against step, a line a method with the range over seeds", csv, settings,
        "plot " + bands + lines);
  }

  struct Point {
    const Entry* entry;
    double cost, drawn_at, score, low, high;
  };

  /// Points of about equal cost would hide each other: they are drawn side by side.
  static void set_side_by_side(std::vector<Point>& points, double width) {
    std::vector<Point*> order;
    for (Point& point : points)
      order.push_back(&point);
    std::stable_sort(order.begin(), order.end(), [](const Point* a, const Point* b) { return a->cost < b->cost; });
    for (std::size_t first = 0, last = 0; first < order.size(); first = last) {
      for (last = first + 1; last < order.size() && order[last]->cost - order[last - 1]->cost < 0.018 * width;)
        ++last;
      for (std::size_t i = first; i < last; ++i)
        order[i]->drawn_at +=
            0.024 * width * (static_cast<double>(i - first) - static_cast<double>(last - first - 1) / 2);
    }
  }

  template <class Cost>
  void tradeoff(const char* kind, const char* xlabel, std::vector<Figure>& row, bool Entry::*front, Cost&& cost) {
    std::vector<Point> points;
    std::vector<std::pair<double, double>> staircase;
    double low_y = 1e300, high_y = -1e300, low_x = 1e300, high_x = -1e300;
    for (const Entry& entry : task_.entries) {
      const std::optional<double> x = cost(entry);
      if (!x)
        continue;
      const double y = unit() * entry.score.mean;
      const auto interval = entry.score.interval ? entry.score.interval : entry.item_interval;
      points.push_back(
          {&entry, *x, *x, y, interval ? unit() * interval->low : y, interval ? unit() * interval->high : y});
      low_y = std::min(low_y, points.back().low);
      high_y = std::max(high_y, points.back().high);
      low_x = std::min(low_x, *x);
      high_x = std::max(high_x, *x);
    }
    if (points.empty())
      return;
    const double pad_x = std::max(0.1 * (high_x - low_x), 0.02 * high_x);
    const double left = std::max(0.0, low_x - pad_x), right = high_x + pad_x;
    set_side_by_side(points, right - left);
    std::string csv = "method,cost,drawn at,score,low,high,front\n", plot;
    for (std::size_t i = 0; i < points.size(); ++i) {
      const Point& point = points[i];
      const bool on_front = point.entry->*front;
      csv += fmt::format("{},{},{},{},{},{},{}\n", csv_text_field(label(*point.entry)), csv_field(point.cost),
                         csv_field(point.drawn_at), csv_field(point.score), csv_field(point.low), csv_field(point.high),
                         on_front ? 1 : 0);
      const std::string row_i = fmt::format("{}data using (column(0)=={}?$3:NaN):4", kNext, i);
      const Style& look = style(*point.entry);
      plot += fmt::format("{}:5:6 with yerrorbars pt 0 ps 0 lw 1.2 lc rgb '{}' notitle", row_i, look.light);
      plot += fmt::format("{} with points pt {} ps 1.1 lw 1.6 lc rgb '{}' title {}", row_i,
                          look.marker - (on_front ? 0 : 1), look.light, gnuplot_quoted(label(*point.entry)));
      if (on_front)
        staircase.emplace_back(point.drawn_at, point.score);
    }
    std::sort(staircase.begin(), staircase.end());
    std::string settings = "$front << EOD\nx,y\n";
    for (const auto& [x, y] : staircase)
      settings += fmt::format("{:.8g},{:.8g}\n", x, y);
    const double pad_y = std::max(0.08 * (high_y - low_y), 0.01 * unit());
    const double bottom = task_.by_accuracy ? std::max(low_y - pad_y, 0.0) : low_y - pad_y;
    const double top = task_.by_accuracy ? std::min(high_y + pad_y, 102.0) : high_y + pad_y;
    settings += fmt::format("EOD\nset xlabel '{}'\nset ylabel '{}'\n", xlabel, axis()) +
                fmt::format("set xrange [{:.6g}:{:.6g}]\nset yrange [{:.6g}:{:.6g}]\n", left, right, bottom, top);
    add(row, kind, fmt::format("{} against {}, a point a method, 95% intervals, Pareto front marked", axis(), xlabel),
        csv, settings,
        fmt::format("plot $front using 1:2 with steps lw 1.2 dt 2 lc rgb '{}' title 'Pareto front'", Easel::kAxis) +
            plot);
  }

  void sweep() {
    if (task_.sweep.empty())
      return;
    std::map<double, std::map<std::size_t, double>> rates;  // rate -> contestant -> score
    for (const auto& [who, points] : task_.sweep)
      for (const SweepPoint& point : points)
        rates[point.lr][who] = point.score;
    std::string csv = "lr", plot, chosen, tics;
    std::vector<std::size_t> columns;
    for (const Entry& entry : task_.entries) {
      if (!task_.sweep.contains(entry.contestant))
        continue;
      columns.push_back(entry.contestant);
      csv += "," + csv_text_field(label(entry));
      plot += fmt::format("{}data using 1:{} with linespoints pt {} ps 0.8 lw 1.6 lc rgb '{}' title {}",
                          plot.empty() ? "plot " : kNext, columns.size() + 1, style(entry).marker, style(entry).light,
                          gnuplot_quoted(label(entry)));
      if (const auto lr = entry.runs.front()->summary.lr)
        chosen += fmt::format(
            "{}data using (abs($1/{:.8g}-1)<1e-6?$1:NaN):{} with points pt 6 ps 1.9 lw 1.4 lc rgb '{}' notitle", kNext,
            *lr, columns.size() + 1, style(entry).light);
    }
    csv += "\n";
    for (const auto& [lr, scores] : rates) {
      csv += shortest(lr);
      tics += fmt::format("{}'{}' {:.8g}", tics.empty() ? "" : ", ", shortest(lr), lr);
      for (const std::size_t who : columns)
        csv += "," + (scores.contains(who) ? csv_field(unit() * scores.at(who)) : "");
      csv += "\n";
    }
    const std::string settings =
        fmt::format("set logscale x\nset xtics ({})\nset xlabel 'learning rate'\nset ylabel 'validation {}'\n", tics,
                    axis()) +
        fmt::format("set xrange [{:.6g}:{:.6g}]\n", rates.begin()->first / 1.4, rates.rbegin()->first * 1.4) +
        (task_.by_accuracy ? "set yrange [0:102]\n" : "");
    add(out_.sweep, "rate", "Validation score against learning rate, the chosen rates ringed", csv, settings,
        plot + chosen);
  }

  void memory() {
    using experiments::PeakBytes;
    constexpr std::array<std::int64_t PeakBytes::*, kCategories.size()> kMembers = {
        &PeakBytes::weights,   &PeakBytes::adapter,    &PeakBytes::gradient,
        &PeakBytes::optimizer, &PeakBytes::activation, &PeakBytes::workspace};
    std::string csv = "method", plot, rows;
    for (std::size_t i = 0; i < kCategories.size(); ++i) {
      csv += fmt::format(",{}", kCategories[i].name);
      plot += fmt::format("{}data using {}{} title '{}' lc rgb '{}'", i == 0 ? "plot " : kNext, i + 2,
                          i == 0 ? ":xtic(1)" : "", kCategories[i].name, kCategories[i].light);
    }
    for (const Entry& entry : task_.entries)
      if (entry.peak_bytes) {
        rows += csv_text_field(label(entry));
        for (const auto member : kMembers)
          rows += "," + csv_field(static_cast<double>((*entry.peak_bytes).*member) / (1 << 20));
        rows += "\n";
      }
    if (!rows.empty())
      add(out_.memory, "bytes", "Memory by category at the peak, a bar a method", csv + "\n" + rows,
          "set style data histograms\nset style histogram rowstacked\nset style fill solid 1 noborder\nset boxwidth "
          "0.66\n"
          "set yrange [0:*]\nset ylabel 'MiB at the peak'\n",
          plot);
  }

  const Comparison& comparison_;
  const Task& task_;
  std::string prefix_;
  Easel& easel_;
  Figures& out_;
};

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

Figures draw_figures(const Comparison& comparison, const std::filesystem::path& folder, const std::string& gnuplot) {
  Figures figures;
  Easel easel(folder, gnuplot);
  for (std::size_t i = 0; i < comparison.tasks.size(); ++i) {
    const Task& task = comparison.tasks[i];
    Painter(comparison, task, fmt::format("{}-{}", i + 1, slug(task.name)), easel, figures).paint();
  }
  figures.missing = easel.missing();
  return figures;
}

}  // namespace osteon::report
