#include "experiments/config/toml_file.hpp"

#include <algorithm>

#include "backends/error.hpp"
#include "nn/io/atomic_file.hpp"

namespace osteon::experiments {

std::string place(std::string_view name, const toml::node& node) {
  const auto line = node.source().begin.line;
  return line == 0 ? std::string(name) : join(name, ':', line);
}

toml::table parse_toml(std::string_view text, std::string_view name) {
  try {
    return toml::parse(text, name);
  } catch (const toml::parse_error& error) {
    const auto at = error.source().begin;
    fail<ConfigError>(name, ':', at.line, ':', at.column, ": ", error.description());
  }
}

toml::table parse_toml_file(const std::filesystem::path& file) {
  return parse_toml(io::read_file(file), file.string());
}

std::vector<std::pair<std::string, const toml::node*>> in_order(const toml::table& table) {
  std::vector<std::pair<std::string, const toml::node*>> pairs;
  for (const auto& [name, node] : table)
    pairs.emplace_back(std::string(name.str()), &node);
  std::stable_sort(pairs.begin(), pairs.end(), [](const auto& a, const auto& b) {
    const auto x = a.second->source().begin, y = b.second->source().begin;
    return std::pair(x.line, x.column) < std::pair(y.line, y.column);
  });
  return pairs;
}

}  // namespace osteon::experiments
