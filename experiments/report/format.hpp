#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "experiments/report/comparison.hpp"

/// Numbers and names as a report writes them. Everything here is plain text; html.hpp escapes.
namespace osteon::report {

std::string fixed(double value, int decimals);
/// The same with a typographic minus.
std::string signed_fixed(double value, int decimals);
/// "0.017", "0.21", "< 0.001"
std::string p_value(double p);
/// "p = 0.017", "p < 0.001"
std::string p_text(double p);
/// "32 768": groups of three, a narrow no-break space between them.
std::string grouped(std::int64_t value);
/// "12.3", "1234": MiB, by default with one decimal below 100.
std::string mebibytes(std::int64_t bytes, int decimals = -1);
/// "27.1": milliseconds.
std::string milliseconds(double seconds);
/// "0.01", "3e-4": the shortest text.
std::string shortest(double value);

/// A score, interval or difference in the unit of the task: percent with one decimal, or nats with three.
std::string score_text(const Task& task, double value);
std::string difference_text(const Task& task, double difference);  ///< with its sign, "+13.0"
std::string score_unit(const Task& task);                          ///< "points", "nats" or another loss's

/// A metric of a real task: "22.80" of 100, "0.373" of 1.
std::string metric_text(double value);
std::string metric_difference(const MetricPair& pair);  ///< with its sign

/// "a", "a and b", "a, b and c"
std::string enumerate(const std::vector<std::string>& words, const char* last = "and");

}  // namespace osteon::report
