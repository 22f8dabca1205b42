#pragma once

#include <cstdint>
#include <optional>
#include <span>

/// The scores of GLUE (Wang et al., ICLR 2019) as its scripts compute them with scikit-learn and SciPy. Predictions and
/// labels are paired by place; different lengths, or none at all, are a ConfigError.
///
/// Where a score is not defined:
///   F1               0 where neither a prediction nor a label is positive, or no prediction is right (zero_division=0)
///   Matthews         0 where all predictions or all labels are the same
///   Pearson, Spearman  empty (SciPy's nan) for fewer than two pairs or where one side is constant
namespace osteon::scoring {

using Labels = std::span<const std::int64_t>;
using Values = std::span<const double>;

double accuracy(Labels predictions, Labels labels);

/// 2 TP / (2 TP + FP + FN) of the class `positive`.
double f1(Labels predictions, Labels labels, std::int64_t positive = 1);

/// The mean of F1 over the classes that occur in either.
double macro_f1(Labels predictions, Labels labels);

/// Matthews' correlation, of any number of classes: Gorodkin 2004's R_K, for two classes
/// (TP TN - FP FN) / sqrt((TP + FP)(TP + FN)(TN + FP)(TN + FN)).
double matthews(Labels predictions, Labels labels);

std::optional<double> pearson(Values x, Values y);

/// Pearson's correlation of the ranks, equal values sharing the mean of theirs.
std::optional<double> spearman(Values x, Values y);

}  // namespace osteon::scoring
