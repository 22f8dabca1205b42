#pragma once

#include <memory>

#include "peft/adapter.hpp"

namespace osteon::peft {

// One line per method, and one in methods.cpp: all that registration takes. Each is defined in the method's own file.
std::unique_ptr<Method> full_method();
std::unique_ptr<Method> bitfit_method();
std::unique_ptr<Method> state_method();
std::unique_ptr<Method> lora_method();
std::unique_ptr<Method> rslora_method();
std::unique_ptr<Method> lora_plus_method();
std::unique_ptr<Method> lora_fa_method();
std::unique_ptr<Method> dora_method();
std::unique_ptr<Method> pissa_method();
std::unique_ptr<Method> olora_method();
std::unique_ptr<Method> bone_method();
std::unique_ptr<Method> miss_method();
std::unique_ptr<Method> miss_mini_method();
std::unique_ptr<Method> bat_method();
std::unique_ptr<Method> bat_row_method();
std::unique_ptr<Method> bat_product_method();
std::unique_ptr<Method> bat_hadamard_method();
std::unique_ptr<Method> bat_ab_method();
std::unique_ptr<Method> bat_tile_method();

}  // namespace osteon::peft
