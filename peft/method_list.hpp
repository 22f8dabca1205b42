#pragma once

#include <memory>

#include "peft/adapter.hpp"

namespace osteon::peft {

// One line per method, and one in methods.cpp: all that registration takes. Each is defined in the method's own file.
std::unique_ptr<Method> full_method();
std::unique_ptr<Method> lora_method();
std::unique_ptr<Method> bone_method();
std::unique_ptr<Method> miss_method();

}  // namespace osteon::peft
