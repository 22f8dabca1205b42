#pragma once

#include <optional>
#include <utility>

#include "backends/cpu/tile_products.hpp"

namespace osteon::test {

/// While it lives, the CPU multiplies tiles of bf16 so: as f32, in pairs on vectors, or in pairs on AMX. A processor
/// without the instructions has plain twins.
class Multiplying {
 public:
  Multiplying(bool in_pairs, bool on_amx)
      : in_pairs_(std::exchange(cpu::multiplies_in_pairs, in_pairs)),
        on_amx_(std::exchange(cpu::pairs_on_amx, on_amx)) {}
  ~Multiplying() {
    cpu::multiplies_in_pairs = in_pairs_;
    cpu::pairs_on_amx = on_amx_;
  }
  Multiplying(const Multiplying&) = delete;
  Multiplying& operator=(const Multiplying&) = delete;

 private:
  bool in_pairs_;
  std::optional<bool> on_amx_;
};

}  // namespace osteon::test
