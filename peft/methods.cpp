#include "peft/methods.hpp"

#include <algorithm>

#include "backends/suggest.hpp"
#include "peft/method_list.hpp"

namespace osteon::peft {
namespace {

std::vector<std::unique_ptr<Method>>& registry() {
  static std::vector<std::unique_ptr<Method>> all = [] {
    std::vector<std::unique_ptr<Method>> list;
    list.push_back(full_method());
    list.push_back(bitfit_method());
    list.push_back(state_method());
    list.push_back(lora_method());
    list.push_back(rslora_method());
    list.push_back(lora_plus_method());
    list.push_back(lora_fa_method());
    list.push_back(dora_method());
    list.push_back(pissa_method());
    list.push_back(olora_method());
    list.push_back(bone_method());
    list.push_back(miss_method());
    list.push_back(miss_mini_method());
    list.push_back(bat_method());
    list.push_back(bat_row_method());
    list.push_back(bat_product_method());
    list.push_back(bat_hadamard_method());
    list.push_back(bat_ab_method());
    list.push_back(bat_tile_method());
    return list;
  }();
  return all;
}

}  // namespace

std::span<const std::unique_ptr<Method>> methods() { return registry(); }

std::vector<std::string> method_names() {
  std::vector<std::string> names;
  for (const auto& method : registry())
    names.push_back(method->name());
  return names;
}

const Method& find_method(const std::string& name) {
  for (const auto& method : registry())
    if (method->name() == name)
      return *method;
  fail<ConfigError>("method: unknown method \"", name, "\"", suggestion(name, method_names()));
}

void register_method(std::unique_ptr<Method> method) {
  auto& all = registry();
  const auto same =
      std::find_if(all.begin(), all.end(), [&](const auto& other) { return other->name() == method->name(); });
  if (same == all.end())
    all.push_back(std::move(method));
  else
    *same = std::move(method);
}

}  // namespace osteon::peft
