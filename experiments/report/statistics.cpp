#include "experiments/report/statistics.hpp"

#include <algorithm>
#include <boost/math/distributions/binomial.hpp>
#include <boost/math/distributions/chi_squared.hpp>
#include <boost/math/distributions/fisher_f.hpp>
#include <boost/math/distributions/non_central_t.hpp>
#include <boost/math/distributions/students_t.hpp>
#include <cmath>
#include <cstdlib>
#include <numeric>
#include <random>

#include "backends/error.hpp"

namespace osteon::report {

namespace {

namespace distributions = boost::math;

double two_sided_p(double t, double degrees) {
  return std::min(1.0, 2 * cdf(complement(distributions::students_t(degrees), std::abs(t))));
}

double t_quantile(double level, double degrees) {
  return quantile(distributions::students_t(degrees), 0.5 + level / 2);
}

double sum_of_squares(std::span<const double> values) {
  const double centre = mean(values);
  double sum = 0;
  for (const double value : values)
    sum += (value - centre) * (value - centre);
  return sum;
}

/// Equal scores differ by rounding only (shares such as 0.81 have no exact double): that is no spread.
bool negligible(double deviation, double scale) { return deviation <= 1e-12 * std::max(1.0, std::abs(scale)); }

std::optional<TTest> t_test(double difference, double standard_error, double degrees) {
  if (negligible(standard_error, difference))
    return negligible(std::abs(difference), 0) ? std::optional(TTest{0, degrees, 1}) : std::nullopt;
  const double t = difference / standard_error;
  return TTest{t, degrees, two_sided_p(t, degrees)};
}

}  // namespace

double mean(std::span<const double> values) {
  check(!values.empty(), "mean: expected at least one value, got none");
  return std::accumulate(values.begin(), values.end(), 0.0) / static_cast<double>(values.size());
}

double median(std::vector<double> values) {
  check(!values.empty(), "median: expected at least one value, got none");
  std::sort(values.begin(), values.end());
  const std::size_t middle = values.size() / 2;
  return values.size() % 2 == 1 ? values[middle] : (values[middle - 1] + values[middle]) / 2;
}

std::optional<double> standard_deviation(std::span<const double> values) {
  if (values.size() < 2)
    return std::nullopt;
  return std::sqrt(sum_of_squares(values) / static_cast<double>(values.size() - 1));
}

std::optional<Interval> t_interval(std::span<const double> values, double level) {
  const auto sd = standard_deviation(values);
  if (!sd)
    return std::nullopt;
  const auto count = static_cast<double>(values.size());
  const double half = t_quantile(level, count - 1) * *sd / std::sqrt(count);
  return Interval{mean(values) - half, mean(values) + half};
}

std::optional<Interval> bootstrap_interval(std::span<const double> values, double level, std::int64_t resamples,
                                           std::uint64_t seed) {
  if (values.size() < 2 || resamples < 2)
    return std::nullopt;
  std::mt19937_64 generator(seed);
  std::vector<double> means(static_cast<std::size_t>(resamples));
  for (double& resampled : means) {
    double sum = 0;
    for (std::size_t i = 0; i < values.size(); ++i)  // not a std distribution: those differ by library
      sum += values[generator() % values.size()];
    resampled = sum / static_cast<double>(values.size());
  }
  std::sort(means.begin(), means.end());
  const auto at = [&](double share) {
    const double position = share * static_cast<double>(means.size() - 1);
    const auto below = static_cast<std::size_t>(position);
    const std::size_t above = std::min(below + 1, means.size() - 1);
    return means[below] + (position - static_cast<double>(below)) * (means[above] - means[below]);
  };
  return Interval{at((1 - level) / 2), at((1 + level) / 2)};
}

std::optional<TTest> paired_t_test(std::span<const double> a, std::span<const double> b) {
  check(a.size() == b.size(), "paired_t_test: expected samples of one length, got ", a.size(), " and ", b.size());
  std::vector<double> differences(a.size());
  for (std::size_t i = 0; i < a.size(); ++i)
    differences[i] = a[i] - b[i];
  const auto sd = standard_deviation(differences);
  if (!sd)
    return std::nullopt;
  const auto count = static_cast<double>(a.size());
  return t_test(mean(differences), *sd / std::sqrt(count), count - 1);
}

double paired_t_power(double difference, double sd, std::int64_t pairs, double level) {
  check(pairs >= 2 && sd > 0, "paired_t_power: expected at least two pairs and a spread above 0, got ", pairs, " and ",
        sd);
  const double degrees = static_cast<double>(pairs - 1), critical = t_quantile(1 - level, degrees);
  const double shift = std::abs(difference) / sd * std::sqrt(static_cast<double>(pairs));
  if (shift > critical + 40)
    return 1;  // Boost's series do not reach as far
  const distributions::non_central_t shifted(degrees, shift);
  return cdf(complement(shifted, critical)) + cdf(shifted, -critical);
}

std::optional<std::int64_t> pairs_needed(double difference, double sd, double power, double level) {
  constexpr std::int64_t kMost = 1'000'000;
  const auto reaches = [&](std::int64_t pairs) { return paired_t_power(difference, sd, pairs, level) >= power; };
  if (difference == 0 || negligible(sd, difference) || !reaches(kMost))
    return std::nullopt;
  std::int64_t below = 1, enough = kMost;
  for (std::int64_t guess = 2; enough - below > 1; guess = enough == kMost ? below * 2 : (below + enough) / 2)
    (reaches(guess) ? enough : below) = guess;
  return enough;
}

std::optional<TTest> BlockDesign::test(double difference, std::int64_t common) const {
  return t_test(difference, residual_sd * std::sqrt(2 / static_cast<double>(common > 0 ? common : blocks)), degrees);
}

double BlockDesign::least_significant_difference(double level) const {
  return t_quantile(1 - level, degrees) * residual_sd * std::sqrt(2 / static_cast<double>(blocks));
}

std::optional<BlockDesign> block_design(const std::vector<std::vector<double>>& values) {
  if (values.size() < 2 || values.front().size() < 2)
    return std::nullopt;
  const std::size_t rows = values.size(), columns = values.front().size();
  std::vector<double> column_means(columns, 0.0);
  for (const auto& row : values) {
    check(row.size() == columns, "block_design: expected rows of one length, got ", columns, " and ", row.size());
    for (std::size_t j = 0; j < columns; ++j)
      column_means[j] += row[j] / static_cast<double>(rows);
  }
  const double total = mean(column_means);
  double residual = 0;
  for (const auto& row : values) {
    const double row_mean = mean(row);
    for (std::size_t j = 0; j < columns; ++j)
      residual += std::pow(row[j] - row_mean - column_means[j] + total, 2);
  }
  BlockDesign design;
  design.treatments = static_cast<std::int64_t>(rows);
  design.blocks = static_cast<std::int64_t>(columns);
  design.degrees = static_cast<double>((rows - 1) * (columns - 1));
  design.residual_sd = std::sqrt(residual / design.degrees);
  if (negligible(design.residual_sd, total))
    design.residual_sd = 0;
  return design;
}

std::optional<FTest> one_way_f(const std::vector<std::vector<double>>& groups) {
  if (groups.size() < 2)
    return std::nullopt;
  double count = 0, sum = 0, within = 0;
  for (const auto& group : groups) {
    if (group.empty())
      return std::nullopt;
    count += static_cast<double>(group.size());
    sum += std::accumulate(group.begin(), group.end(), 0.0);
    within += sum_of_squares(group);
  }
  double between = 0;
  for (const auto& group : groups)
    between += static_cast<double>(group.size()) * std::pow(mean(group) - sum / count, 2);
  FTest test;
  test.between = static_cast<double>(groups.size() - 1);
  test.within = count - static_cast<double>(groups.size());
  if (test.within < 1 || negligible(std::sqrt(within), sum / count))
    return std::nullopt;
  test.pooled_sd = std::sqrt(within / test.within);
  test.statistic = (between / test.between) / (within / test.within);
  test.p_value = cdf(complement(distributions::fisher_f(test.between, test.within), test.statistic));
  return test;
}

std::optional<double> bartlett(const std::vector<std::vector<double>>& groups, double floor_variance) {
  if (groups.size() < 2)
    return std::nullopt;
  double degrees = 0, inverse_degrees = 0, pooled = 0, logs = 0;
  for (const auto& group : groups) {
    const auto sd = standard_deviation(group);
    if (!sd || (floor_variance <= 0 && negligible(*sd, mean(group))))
      return std::nullopt;
    const double variance = std::max(*sd * *sd, floor_variance);
    const auto own = static_cast<double>(group.size() - 1);
    degrees += own;
    inverse_degrees += 1 / own;
    pooled += own * variance;
    logs += own * std::log(variance);
  }
  const auto count = static_cast<double>(groups.size());
  const double statistic =
      (degrees * std::log(pooled / degrees) - logs) / (1 + (inverse_degrees - 1 / degrees) / (3 * (count - 1)));
  return cdf(complement(distributions::chi_squared(count - 1), std::max(0.0, statistic)));
}

std::optional<double> cohen_d(std::span<const double> a, std::span<const double> b) {
  const auto sd_a = standard_deviation(a), sd_b = standard_deviation(b);
  if (!sd_a || !sd_b)
    return std::nullopt;
  const double sd = std::sqrt((*sd_a * *sd_a + *sd_b * *sd_b) / 2);
  const double difference = mean(a) - mean(b);
  return negligible(sd, difference) ? std::nullopt : std::optional(difference / sd);
}

McNemar mcnemar_exact(std::span<const std::int64_t> a, std::span<const std::int64_t> b) {
  check(a.size() == b.size(), "mcnemar_exact: expected answers to the same items, got ", a.size(), " and ", b.size());
  McNemar test;
  for (std::size_t i = 0; i < a.size(); ++i) {
    test.only_a += a[i] != 0 && b[i] == 0;
    test.only_b += a[i] == 0 && b[i] != 0;
  }
  const auto discordant = static_cast<double>(test.only_a + test.only_b);
  if (discordant > 0) {
    const auto fewer = static_cast<double>(std::min(test.only_a, test.only_b));
    test.p_value = std::min(1.0, 2 * cdf(distributions::binomial(discordant, 0.5), fewer));
  }
  return test;
}

double paired_permutation(std::span<const std::int64_t> differences) {
  std::int64_t reach = 0, observed = 0;
  for (const std::int64_t difference : differences) {
    reach += std::abs(difference);
    observed += difference;
  }
  // probability[s + reach] of the sum s of the differences so far, each with a random sign
  std::vector<double> probability(static_cast<std::size_t>(2 * reach + 1), 0.0), next(probability.size());
  probability[static_cast<std::size_t>(reach)] = 1;
  std::int64_t spread = 0;
  for (const std::int64_t difference : differences) {
    const std::int64_t size = std::abs(difference);
    if (size == 0)
      continue;
    std::fill(next.begin(), next.end(), 0.0);
    for (std::int64_t s = -spread; s <= spread; ++s) {
      const double half = probability[static_cast<std::size_t>(s + reach)] / 2;
      next[static_cast<std::size_t>(s + size + reach)] += half;
      next[static_cast<std::size_t>(s - size + reach)] += half;
    }
    spread += size;
    probability.swap(next);
  }
  double p = 0;
  for (std::int64_t s = -reach; s <= reach; ++s)
    if (std::abs(s) >= std::abs(observed))
      p += probability[static_cast<std::size_t>(s + reach)];
  return std::min(1.0, p);
}

double paired_permutation_of_scores(std::span<const double> differences) {
  constexpr double kSteps = 64;
  double largest = 0;
  for (const double difference : differences)
    largest = std::max(largest, std::abs(difference));
  std::vector<std::int64_t> steps;
  for (const double difference : differences)
    steps.push_back(largest > 0 ? std::llround(difference / largest * kSteps) : 0);
  return paired_permutation(steps);
}

std::vector<double> holm(std::span<const double> p_values) {
  std::vector<std::size_t> order(p_values.size());
  std::iota(order.begin(), order.end(), std::size_t{0});
  std::stable_sort(order.begin(), order.end(), [&](auto i, auto j) { return p_values[i] < p_values[j]; });
  std::vector<double> corrected(p_values.size());
  double largest = 0;
  for (std::size_t i = 0; i < order.size(); ++i) {
    largest = std::max(largest, std::min(1.0, static_cast<double>(order.size() - i) * p_values[order[i]]));
    corrected[order[i]] = largest;
  }
  return corrected;
}

std::vector<bool> pareto_front(std::span<const double> costs, std::span<const double> values) {
  check(costs.size() == values.size(), "pareto_front: expected a value for each cost, got ", costs.size(), " and ",
        values.size());
  std::vector<bool> front(costs.size(), true);
  for (std::size_t i = 0; i < costs.size(); ++i)
    for (std::size_t j = 0; j < costs.size(); ++j)
      if (costs[j] <= costs[i] && values[j] >= values[i] && (costs[j] < costs[i] || values[j] > values[i]))
        front[i] = false;
  return front;
}

}  // namespace osteon::report
