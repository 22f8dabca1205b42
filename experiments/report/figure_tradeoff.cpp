#include <algorithm>
#include <fmt/format.h>

#include "experiments/report/figure_panel.hpp"
#include "experiments/report/gnuplot.hpp"

namespace osteon::report {

namespace {

struct Point {
  const Entry* entry;
  double cost, drawn_at, score, low, high;
};

/// Points of about equal cost would hide each other: they are drawn side by side.
void set_side_by_side(std::vector<Point>& points, double width) {
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

}  // namespace

void draw_tradeoff(const Panel& panel, const char* kind, const char* xlabel, bool Entry::*front,
                   const std::function<std::optional<double>(const Entry&)>& cost, std::vector<Figure>& row) {
  std::vector<Point> points;
  std::vector<std::pair<double, double>> staircase;
  double low_y = 1e300, high_y = -1e300, low_x = 1e300, high_x = -1e300;
  for (const Entry& entry : panel.task.entries) {
    const std::optional<double> x = cost(entry);
    if (!x)
      continue;
    const double y = panel.unit() * entry.score.mean;
    const auto interval = entry.score.interval ? entry.score.interval : entry.item_interval;
    points.push_back(
        {&entry, *x, *x, y, interval ? panel.unit() * interval->low : y, interval ? panel.unit() * interval->high : y});
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
    csv += fmt::format("{},{},{},{},{},{},{}\n", csv_text_field(panel.label(*point.entry)), csv_field(point.cost),
                       csv_field(point.drawn_at), csv_field(point.score), csv_field(point.low), csv_field(point.high),
                       on_front ? 1 : 0);
    const std::string row_i = fmt::format("{}data using (column(0)=={}?$3:NaN):4", Panel::kNext, i);
    const Style& look = panel.style(*point.entry);
    plot += fmt::format("{}:5:6 with yerrorbars pt 0 ps 0 lw 1.2 lc rgb '{}' notitle", row_i, look.light);
    plot += fmt::format("{} with points pt {} ps 1.1 lw 1.6 lc rgb '{}' title {}", row_i,
                        look.marker - (on_front ? 0 : 1), look.light, gnuplot_quoted(panel.label(*point.entry)));
    if (on_front)
      staircase.emplace_back(point.drawn_at, point.score);
  }
  std::sort(staircase.begin(), staircase.end());
  std::string settings = "$front << EOD\nx,y\n";
  for (const auto& [x, y] : staircase)
    settings += fmt::format("{:.8g},{:.8g}\n", x, y);
  const double pad_y = std::max(0.08 * (high_y - low_y), 0.01 * panel.unit());
  const double bottom = panel.task.by_accuracy ? std::max(low_y - pad_y, 0.0) : low_y - pad_y;
  const double top = panel.task.by_accuracy ? std::min(high_y + pad_y, 102.0) : high_y + pad_y;
  settings += fmt::format("EOD\nset xlabel '{}'\nset ylabel {}\n", xlabel, gnuplot_quoted(panel.axis())) +
              fmt::format("set xrange [{:.6g}:{:.6g}]\nset yrange [{:.6g}:{:.6g}]\n", left, right, bottom, top);
  row.push_back(panel.draw(
      kind, fmt::format("{} against {}, a point a method, 95% intervals, Pareto front marked", panel.axis(), xlabel),
      csv, settings,
      fmt::format("plot $front using 1:2 with steps lw 1.2 dt 2 lc rgb '{}' title 'Pareto front'", Easel::kAxis) +
          plot));
}

}  // namespace osteon::report
