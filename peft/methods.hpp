#pragma once

#include <span>
#include <string>
#include <vector>

#include "peft/adapter.hpp"

namespace osteon::peft {

/// Every method, in the order of reports.
std::span<const std::unique_ptr<Method>> methods();
std::vector<std::string> method_names();

/// Throws ConfigError naming the nearest method for an unknown name.
const Method& find_method(const std::string& name);

/// Adds a method of the user's own; a method of the same name is replaced.
void register_method(std::unique_ptr<Method> method);

}  // namespace osteon::peft
