#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <vector>

/// The statistics of a comparison. Distribution functions are Boost.Math's; tests compare every result with SciPy and
/// statsmodels (test/golden/statistics). Inputs are finite; a result that is not defined (too few values, no spread) is
/// an empty optional, never a NaN. Samples of unequal length are a ShapeError.
namespace osteon::report {

struct Interval {
  double low = 0, high = 0;
};

double mean(std::span<const double> values);
double median(std::vector<double> values);
/// Sample standard deviation, divisor n - 1. Empty for fewer than two values.
std::optional<double> standard_deviation(std::span<const double> values);
/// mean ± t sd / sqrt(n), Student's t with n - 1 degrees of freedom. Empty for fewer than two values.
std::optional<Interval> t_interval(std::span<const double> values, double level = 0.95);
/// Percentile bootstrap of the mean: std::mt19937_64 from `seed`, so the same numbers everywhere. Empty for fewer than
/// two values.
std::optional<Interval> bootstrap_interval(std::span<const double> values, double level = 0.95,
                                           std::int64_t resamples = 4000, std::uint64_t seed = 1);

struct TTest {
  double statistic = 0, degrees = 0, p_value = 1;
};

/// Two-sided paired t-test of a against b. All differences 0: p = 1. Differences equal but not 0 have no spread to
/// measure against: empty; so for fewer than two pairs.
std::optional<TTest> paired_t_test(std::span<const double> a, std::span<const double> b);

/// Treatments (rows) on the same blocks (columns: seeds), additive model x[i][j] = m + treatment_i + block_j + noise.
/// The noise of all treatments is pooled into one residual, which is what makes three seeds usable:
/// Montgomery, Design and Analysis of Experiments, randomized complete block design. Assumes equal spread; see
/// bartlett.
struct BlockDesign {
  std::int64_t treatments = 0, blocks = 0;
  double residual_sd = 0, degrees = 0;  ///< degrees of freedom (treatments - 1)(blocks - 1)
  /// Two-sided test of a difference of two treatment means over `common` blocks (0: all). Empty when the residual is 0
  /// and the difference is not.
  std::optional<TTest> test(double difference, std::int64_t common = 0) const;
  /// The smallest difference of two means that a single uncorrected test calls significant at `level`.
  double least_significant_difference(double level = 0.05) const;
};
/// Empty for fewer than two rows or columns.
std::optional<BlockDesign> block_design(const std::vector<std::vector<double>>& values);

/// One-way analysis of variance of groups of any sizes.
struct FTest {
  double statistic = 0, between = 0, within = 0, p_value = 1;  ///< between, within: degrees of freedom
  double pooled_sd = 0;                                        ///< within groups
};
/// Empty for fewer than two groups, an empty group, no degrees of freedom within, or no spread within.
std::optional<FTest> one_way_f(const std::vector<std::vector<double>>& groups);

/// Bartlett's test of equal variances; its p value. A variance below `floor_variance` counts as that: scores of a
/// finite test set are rounded, and a chance tie is not a variance of 0. Empty when it is not defined.
std::optional<double> bartlett(const std::vector<std::vector<double>>& groups, double floor_variance = 0);

/// Differences in units of the pooled standard deviation: (mean a - mean b) / sqrt((sd_a^2 + sd_b^2) / 2).
std::optional<double> cohen_d(std::span<const double> a, std::span<const double> b);

/// Power of a two-sided paired t-test over `pairs` pairs whose differences have this mean and standard deviation
/// (non-central t distribution). Expects at least two pairs and sd > 0.
double paired_t_power(double difference, double sd, std::int64_t pairs, double level = 0.05);
/// The fewest pairs that reach `power`. Empty where a million do not, or there is no difference or no spread.
std::optional<std::int64_t> pairs_needed(double difference, double sd, double power = 0.8, double level = 0.05);

/// McNemar's exact test: of the items that exactly one of the two answered, is either's share beyond chance?
struct McNemar {
  std::int64_t only_a = 0, only_b = 0;
  double p_value = 1;  ///< two-sided, binomial(only_a + only_b, 1/2)
};
McNemar mcnemar_exact(std::span<const std::int64_t> a, std::span<const std::int64_t> b);

/// Paired permutation test (random signs) of a sum of whole-number differences, exact: the distribution of the sum is
/// computed, not sampled. For differences in {-1, 0, 1} it is McNemar's. Returns the two-sided p value.
double paired_permutation(std::span<const std::int64_t> differences);
/// The same of differences of any size: exact for them rounded to 1/64 of the largest, which moves the sum of hundreds
/// by a hundredth of its deviation.
double paired_permutation_of_scores(std::span<const double> differences);

/// Holm's step-down correction of a family of p values, in their order.
std::vector<double> holm(std::span<const double> p_values);

/// Which points no other point beats: at most its cost and at least its value, one of them strictly.
std::vector<bool> pareto_front(std::span<const double> costs, std::span<const double> values);

}  // namespace osteon::report
