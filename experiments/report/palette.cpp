#include "experiments/report/palette.hpp"

#include <utility>

namespace osteon::report {

namespace {

constexpr std::array<std::pair<const char*, const char*>, 20> kMethods = {{
    {"full", "Full"},
    {"bitfit", "BitFit"},
    {"state", "State"},
    {"lora", "LoRA"},
    {"rslora", "rsLoRA"},
    {"dora", "DoRA"},
    {"lora_plus", "LoRA+"},
    {"loraplus", "LoRA+"},
    {"lora_fa", "LoRA-FA"},
    {"pissa", "PiSSA"},
    {"olora", "OLoRA"},
    {"bone", "Bone"},
    {"miss", "MiSS"},
    {"miss_mini", "MiSS mini"},
    {"bat", "Bat"},
    {"bat_row", "Bat row"},
    {"bat_product", "Bat product"},
    {"bat_hadamard", "Bat Hadamard"},
    {"bat_ab", "Bat AB"},
    {"bat_tile", "Bat tile"},
}};

std::size_t index_of(const std::string& method) {
  std::string key = method;
  for (char& letter : key)
    letter = letter == '-' ? '_' : letter == '+' ? 'p' : letter;
  if (key == "lorap")  // "lora+"
    key = "lora_plus";
  std::size_t index = 0;
  while (index < kMethods.size() && key != kMethods[index].first)
    ++index;
  return index;
}

}  // namespace

std::string display_name(const std::string& method) {
  const std::size_t index = index_of(method);
  return index < kMethods.size() ? kMethods[index].second : method;
}

std::size_t method_order(const std::string& method) { return index_of(method); }

}  // namespace osteon::report
