#pragma once

#include <cstdint>
#include <optional>

#include "backends/cpu/bf16_pair.hpp"

namespace osteon::cpu {

// tile_product() for pairs of bf16 on AMX. A header of its own, without intrinsics: what includes it is compiled for
// processors that do not have them, too.

/// Rows, columns and pairs of a sum come in multiples of this.
constexpr std::int64_t kAmxGrain = 16;

/// Whether attention and Bat take their products of pairs to amx_product(): where AMX runs, unless a test says
/// otherwise.
inline std::optional<bool> pairs_on_amx;
bool multiplies_pairs_on_amx();

/// While one lives, the calling thread may use tiles (amx_tile.hpp, amx_product()), if `on`.
class AmxThread {
 public:
  explicit AmxThread(bool on);
  ~AmxThread();
  AmxThread(const AmxThread&) = delete;
  AmxThread& operator=(const AmxThread&) = delete;

 private:
  bool on_;
};

/// c [rows, columns] (+)= a [rows, depth] b [depth, columns], as tile_product() with a_step 1; all three sizes are
/// multiples of kAmxGrain. Each element adds its terms in steps of 16 pairs, the first terms' chain of fused
/// multiply-adds and the second terms', from 0, to what c holds: no bit depends on what is computed beside it.
void amx_product(const Bf16Pair* a, std::int64_t a_row, const Bf16Pair* b, std::int64_t b_row, std::int64_t rows,
                 std::int64_t depth, std::int64_t columns, float* c, std::int64_t c_row, bool add);

}  // namespace osteon::cpu
