#include "experiments/scoring/classification.hpp"

#include <algorithm>
#include <cmath>
#include <map>
#include <numeric>
#include <set>
#include <vector>

#include "backends/error.hpp"

namespace osteon::scoring {
namespace {

void check_pairs(std::size_t predictions, std::size_t labels) {
  check<ConfigError>(predictions == labels, "scores: expected as many predictions as labels, got ", predictions,
                     " and ", labels);
  check<ConfigError>(labels > 0, "scores: expected at least one label, got none");
}

std::vector<double> ranks(Values values) {
  std::vector<std::size_t> order(values.size());
  std::iota(order.begin(), order.end(), std::size_t{0});
  std::sort(order.begin(), order.end(), [&](std::size_t a, std::size_t b) { return values[a] < values[b]; });
  std::vector<double> ranks(values.size());
  for (std::size_t first = 0, end = 0; first < order.size(); first = end) {
    while (end < order.size() && values[order[end]] == values[order[first]])
      ++end;
    for (std::size_t i = first; i < end; ++i)
      ranks[order[i]] = static_cast<double>(first + end + 1) / 2;  // the mean of first + 1, ..., end
  }
  return ranks;
}

}  // namespace

double accuracy(Labels predictions, Labels labels) {
  check_pairs(predictions.size(), labels.size());
  std::size_t right = 0;
  for (std::size_t i = 0; i < labels.size(); ++i)
    right += predictions[i] == labels[i] ? 1 : 0;
  return static_cast<double>(right) / static_cast<double>(labels.size());
}

double f1(Labels predictions, Labels labels, std::int64_t positive) {
  check_pairs(predictions.size(), labels.size());
  std::int64_t both = 0, either = 0;  // either: predicted and labelled ones, added up
  for (std::size_t i = 0; i < labels.size(); ++i) {
    const bool predicted = predictions[i] == positive, labelled = labels[i] == positive;
    both += predicted && labelled ? 1 : 0;
    either += (predicted ? 1 : 0) + (labelled ? 1 : 0);
  }
  return either == 0 ? 0 : 2 * static_cast<double>(both) / static_cast<double>(either);
}

double macro_f1(Labels predictions, Labels labels) {
  check_pairs(predictions.size(), labels.size());
  std::set<std::int64_t> classes(labels.begin(), labels.end());
  classes.insert(predictions.begin(), predictions.end());
  double sum = 0;
  for (const std::int64_t one : classes)
    sum += f1(predictions, labels, one);
  return sum / static_cast<double>(classes.size());
}

double matthews(Labels predictions, Labels labels) {
  check_pairs(predictions.size(), labels.size());
  std::map<std::int64_t, double> predicted, labelled;
  double right = 0;
  const auto all = static_cast<double>(labels.size());
  for (std::size_t i = 0; i < labels.size(); ++i) {
    predicted[predictions[i]] += 1;
    labelled[labels[i]] += 1;
    right += predictions[i] == labels[i] ? 1 : 0;
  }
  double both = 0, of_predicted = all * all, of_labelled = all * all;
  for (const auto& [one, count] : predicted) {
    const auto found = labelled.find(one);
    both += found == labelled.end() ? 0 : count * found->second;
    of_predicted -= count * count;
  }
  for (const auto& [one, count] : labelled)
    of_labelled -= count * count;
  const double spread = of_predicted * of_labelled;
  return spread == 0 ? 0 : (right * all - both) / std::sqrt(spread);
}

std::optional<double> pearson(Values x, Values y) {
  check_pairs(x.size(), y.size());
  const auto n = static_cast<double>(x.size());
  const double mean_x = std::accumulate(x.begin(), x.end(), 0.0) / n;
  const double mean_y = std::accumulate(y.begin(), y.end(), 0.0) / n;
  double xx = 0, yy = 0, xy = 0;
  for (std::size_t i = 0; i < x.size(); ++i) {
    const double dx = x[i] - mean_x, dy = y[i] - mean_y;
    xx += dx * dx;
    yy += dy * dy;
    xy += dx * dy;
  }
  const auto constant = [](Values v) { return std::all_of(v.begin(), v.end(), [&](double a) { return a == v[0]; }); };
  if (constant(x) || constant(y))  // not by xx == 0: a mean that is rounded leaves a little of it
    return {};
  return std::clamp(xy / (std::sqrt(xx) * std::sqrt(yy)), -1.0, 1.0);
}

std::optional<double> spearman(Values x, Values y) {
  check_pairs(x.size(), y.size());
  return pearson(ranks(x), ranks(y));
}

}  // namespace osteon::scoring
