#include "experiments/config/byte_size.hpp"

#include <array>
#include <charconv>
#include <cmath>
#include <fmt/format.h>

#include "backends/error.hpp"

namespace osteon::experiments {
namespace {

struct Unit {
  std::string_view name;
  double bytes;
};

constexpr std::array<Unit, 10> kUnits = {{{"", 1},
                                          {"B", 1},
                                          {"KB", 1e3},
                                          {"MB", 1e6},
                                          {"GB", 1e9},
                                          {"TB", 1e12},
                                          {"KiB", 0x1p10},
                                          {"MiB", 0x1p20},
                                          {"GiB", 0x1p30},
                                          {"TiB", 0x1p40}}};

}  // namespace

std::int64_t parse_bytes(std::string_view text, std::string_view origin) {
  double number = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  std::string_view name = text.substr(static_cast<std::size_t>(end - text.data()));
  name.remove_prefix(std::min(name.find_first_not_of(' '), name.size()));
  for (const Unit& unit : kUnits) {
    const double bytes = std::floor(number * unit.bytes);
    if (error == std::errc{} && unit.name == name && bytes >= 1 && bytes < 0x1p62)
      return static_cast<std::int64_t>(bytes);
  }
  fail<ConfigError>(origin, ": expected a size such as 16GiB or 900MB, got \"", text, '"');
}

std::string bytes_text(std::int64_t bytes) {
  const auto size = static_cast<double>(bytes);
  for (const auto& [name, unit] : {std::pair("GiB", 0x1p30), {"MiB", 0x1p20}, {"KiB", 0x1p10}})
    if (std::abs(size) >= unit)
      return fmt::format("{:.2f} {}", size / unit, name);
  return fmt::format("{} B", bytes);
}

}  // namespace osteon::experiments
