#include "backends/cpu/amx_product.hpp"

#include <doctest/doctest.h>
#include <vector>

#include "backends/cpu/fma_tile.hpp"
#include "backends/kernels/gemm.hpp"
#include "test/backends/array.hpp"
#include "test/backends/gemm_settings.hpp"

using namespace osteon;

namespace {

struct Sizes {
  std::int64_t rows, depth, columns;
};

/// Pairs of random bf16, as they lie in memory.
struct Pairs {
  test::Array numbers;
  Pairs(std::int64_t rows, std::int64_t pairs, std::uint64_t seed)
      : numbers(test::Array::random(DType::bf16, {rows, 2 * pairs}, seed)) {}
  const cpu::Bf16Pair* data() const { return static_cast<const cpu::Bf16Pair*>(numbers.view().data); }
};

constexpr Sizes kSizes[] = {{16, 16, 16}, {32, 16, 32}, {48, 32, 16}, {64, 32, 48}, {16, 112, 80}, {128, 64, 32}};
constexpr std::int64_t kGap = 3;  // rows lie further apart than they are long

std::vector<float> product(Sizes s, const Pairs& a, const Pairs& b, bool add, bool with_vectors = false) {
  std::vector<float> c(static_cast<std::size_t>(s.rows * (s.columns + kGap)), 0.5F);
  const std::int64_t a_row = s.depth + kGap, b_row = s.columns + kGap;
  const cpu::AmxThread thread(true);
  if (with_vectors)
    cpu::tile_product(a.data(), a_row, 1, b.data(), b_row, s.rows, s.depth, s.columns, c.data(), b_row, add);
  else
    cpu::amx_product(a.data(), a_row, b.data(), b_row, s.rows, s.depth, s.columns, c.data(), b_row, add);
  return c;
}

}  // namespace

TEST_CASE("products of pairs on AMX have the bits of the plain twin, and the numbers of the products of vectors") {
  const test::GemmSettings settings;
  for (const Sizes s : kSizes)
    for (const bool add : {false, true}) {
      CAPTURE(s.rows);
      CAPTURE(s.depth);
      CAPTURE(s.columns);
      const Pairs a(s.rows, s.depth + kGap, 1), b(s.depth, s.columns + kGap, 2);
      const std::vector<float> got = product(s, a, b, add);
      kernels::set_amx_gemm(false);
      const std::vector<float> twin = product(s, a, b, add), vectors = product(s, a, b, add, true);
      kernels::set_amx_gemm(true);
      CHECK(got == twin);
      for (std::size_t i = 0; i < got.size(); ++i)
        CHECK(got[i] == doctest::Approx(vectors[i]).epsilon(1e-5));
    }
}
