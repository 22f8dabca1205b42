#pragma once

#include <cstdint>
#include <type_traits>

#include "backends/cpu/amx_product.hpp"
#include "backends/cpu/bf16_pair.hpp"
#include "backends/cpu/fma_tile.hpp"

namespace osteon::cpu {

// Products of operands in the cache, by the widest instructions that there are: attention's and Bat's.

/// Whether bf16 is multiplied in pairs. Tests change it.
inline bool multiplies_in_pairs = kMultipliesPairs;

/// Products of a tile's elements E: by vectors or, for pairs, on AMX.
template <class E>
class TileProducts {
 public:
  /// For tiles of `rows` rows of `columns` numbers, both of which are summed over.
  TileProducts(std::int64_t columns, std::int64_t rows) {
    if constexpr (std::is_same_v<E, Bf16Pair>)
      on_amx_ = columns % (2 * kAmxGrain) == 0 && rows % (2 * kAmxGrain) == 0 && multiplies_pairs_on_amx();
  }
  bool on_amx() const { return on_amx_; }
  /// Rows of a tile begin and end at multiples of this, the last beyond what there is to see.
  std::int64_t grain() const { return on_amx_ ? 2 * kAmxGrain : kTerms<E>; }
  std::int64_t whole(std::int64_t keys) const { return (keys + grain() - 1) / grain() * grain(); }

  /// tile_product(); on AMX a_step is 1.
  void operator()(const E* a, std::int64_t a_row, std::int64_t a_step, const E* b, std::int64_t b_row,
                  std::int64_t rows, std::int64_t depth, std::int64_t columns, sum_t<E>* c, std::int64_t c_row,
                  bool add) const {
    if constexpr (std::is_same_v<E, Bf16Pair>)
      if (on_amx_)
        return amx_product(a, a_row, b, b_row, rows, depth, columns, c, c_row, add);
    tile_product(a, a_row, a_step, b, b_row, rows, depth, columns, c, c_row, add);
  }

 private:
  bool on_amx_ = false;
};

}  // namespace osteon::cpu
