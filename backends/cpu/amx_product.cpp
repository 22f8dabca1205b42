#include "backends/cpu/amx_product.hpp"

#include <cmath>

#include "backends/cpu/amx_tile.hpp"
#include "backends/cpu/gemm_engines.hpp"

namespace osteon::cpu {
namespace {

/// What the tiles compute, term by term.
void plain_product(const Bf16Pair* a, std::int64_t a_row, const Bf16Pair* b, std::int64_t b_row, std::int64_t rows,
                   std::int64_t depth, std::int64_t columns, float* c, std::int64_t c_row, bool add) {
  const auto term = [](Bf16Pair pair, int which) {
    return std::bit_cast<float>(which == 0 ? pair.bits << 16 : pair.bits & 0xffff0000U);
  };
  for (std::int64_t i = 0; i < rows; ++i)
    for (std::int64_t j = 0; j < columns; ++j) {
      float sum = add ? c[i * c_row + j] : 0;
      for (std::int64_t first = 0; first < depth; first += kAmxGrain) {
        float chains[2] = {};
        for (std::int64_t t = first; t < first + kAmxGrain; ++t)
          for (int which = 0; which < 2; ++which)
            chains[which] = std::fma(term(a[i * a_row + t], which), term(b[t * b_row + j], which), chains[which]);
        sum += chains[0] + chains[1];
      }
      c[i * c_row + j] = sum;
    }
}

#ifdef OSTEON_HAS_AMX_INTRINSICS

using amx::configure_tiles;
using amx::release_tiles;

OSTEON_AMX void tiles_product(const Bf16Pair* a, std::int64_t a_row, const Bf16Pair* b, std::int64_t b_row,
                              std::int64_t rows, std::int64_t depth, std::int64_t columns, float* c, std::int64_t c_row,
                              bool add) {
  using namespace amx;
  constexpr Index kBytes = sizeof(Bf16Pair);
  const auto bytes = [](const Bf16Pair* at) { return reinterpret_cast<const std::byte*>(at); };
  for (Index col = 0; col < columns; col += kSquare) {
    const Strip right{bytes(b + col), kBytes * b_row, kBytes * kSide, kBytes * kSide * b_row};
    for (Index row = 0; row < rows; row += kSquare) {
      const Strip left{bytes(a + row * a_row), kBytes * a_row, kBytes * kSide * a_row, kBytes * kSide};
      with_tiles(row + kSide < rows ? 2 : 1, col + kSide < columns ? 2 : 1, [&]<int kDown, int kAcross>() OSTEON_AMX {
        sum_square<kDown, kAcross>(left, depth / kSide, left, 0, right, add, c + row * c_row + col, c_row);
      });
    }
  }
}

#else

void configure_tiles() {}
void release_tiles() {}
constexpr auto tiles_product = plain_product;

#endif

}  // namespace

bool multiplies_pairs_on_amx() { return pairs_on_amx.value_or(kernels::amx_runs()); }

AmxThread::AmxThread(bool on) : on_(on && kernels::amx_runs()) {
  if (on_)
    configure_tiles();
}
AmxThread::~AmxThread() {
  if (on_)
    release_tiles();
}

void amx_product(const Bf16Pair* a, std::int64_t a_row, const Bf16Pair* b, std::int64_t b_row, std::int64_t rows,
                 std::int64_t depth, std::int64_t columns, float* c, std::int64_t c_row, bool add) {
  (kernels::amx_runs() ? tiles_product : plain_product)(a, a_row, b, b_row, rows, depth, columns, c, c_row, add);
}

}  // namespace osteon::cpu
