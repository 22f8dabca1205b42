#include "experiments/report/format.hpp"

#include <cmath>
#include <fmt/format.h>

namespace osteon::report {

std::string fixed(double value, int decimals) {
  const std::string text = fmt::format("{:.{}f}", value, decimals);
  // "-0.0" is a rounding, not a sign
  return text.find_first_of("123456789") == std::string::npos && text[0] == '-' ? text.substr(1) : text;
}

std::string signed_fixed(double value, int decimals) {
  const std::string text = fixed(value, decimals);
  return text[0] == '-' ? "\u2212" + text.substr(1) : text;
}

std::string p_value(double p) {
  if (p < 0.001)
    return "< 0.001";
  // a p that is above 0.05 must not read as 0.05
  return fixed(p, p > 0.0495 && p < 0.0505 ? 4 : p < 0.0995 ? 3 : 2);
}

std::string p_text(double p) { return (p < 0.001 ? "p " : "p = ") + p_value(p); }

std::string grouped(std::int64_t value) {
  std::string digits = std::to_string(value < 0 ? -value : value), text;
  for (std::size_t i = 0; i < digits.size(); ++i) {
    if (i > 0 && (digits.size() - i) % 3 == 0)
      text += "\u202f";
    text += digits[i];
  }
  return (value < 0 ? "-" : "") + text;
}

std::string mebibytes(std::int64_t bytes, int decimals) {
  const double value = static_cast<double>(bytes) / (1 << 20);
  return fixed(value, decimals >= 0 ? decimals : std::abs(value) < 100 ? 1 : 0);
}

std::string milliseconds(double seconds) {
  const double value = seconds * 1e3;
  return fixed(value, value < 10 ? 2 : value < 1000 ? 1 : 0);
}

std::string shortest(double value) { return fmt::format("{}", value); }

std::string metric_text(double value) { return fixed(value, value >= 1 ? 2 : 3); }

std::string score_text(const Task& task, double value) {
  return task.by_accuracy ? fixed(100 * value, 1) : fixed(value, 3);
}

std::string difference_text(const Task& task, double difference) {
  const std::string text = score_text(task, std::abs(difference));
  if (text.find_first_of("123456789") == std::string::npos)
    return text;
  return (difference > 0 ? "+" : "\u2212") + text;
}

std::string metric_difference(const MetricPair& pair) {
  const std::string text = metric_text(std::abs(pair.difference));
  return (pair.difference < 0 ? "\u2212" : "+") + text;
}

std::string score_unit(const Task& task) {
  return task.by_accuracy ? "points" : task.loss_unit.substr(0, task.loss_unit.find(' '));
}

std::string enumerate(const std::vector<std::string>& words, const char* last) {
  std::string text;
  for (std::size_t i = 0; i < words.size(); ++i)
    text += (i == 0 ? "" : i + 1 < words.size() ? ", " : std::string(" ") + last + " ") + words[i];
  return text;
}

}  // namespace osteon::report
