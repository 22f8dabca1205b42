#include "backends/kernels/block_sum.hpp"

#include <doctest/doctest.h>

#include "test/backends/array.hpp"
#include "test/backends/threads.hpp"
#include "test/reference/block.hpp"

using namespace osteon;
using test::Array;

namespace {

struct Sizes {
  std::int64_t n, k, rank;
};
// Ragged, rank 1, rank above k, and widths that mix pieces of 64, 32, 16, 8, 4 and 1 lanes.
constexpr Sizes kSizes[] = {{1, 1, 1},    {3, 7, 1},     {2, 12, 5},    {4, 128, 8},  {3, 100, 16},
                            {2, 130, 64}, {2, 130, 127}, {2, 300, 129}, {3, 5, 9},    {3, 40, 100},
                            {0, 8, 4},    {5, 96, 33},   {70, 256, 64}, {7, 257, 61}, {2, 11008, 64}};

struct Dtypes {
  DType from, to;
};
constexpr Dtypes kDtypes[] = {
    {DType::f32, DType::f32}, {DType::f64, DType::f64}, {DType::bf16, DType::bf16}, {DType::bf16, DType::f32}};

double tolerance(const Sizes& s, const Dtypes& dtypes) {
  const double terms = static_cast<double>(s.k / s.rank + 2);
  return terms * test::epsilon(accumulator(dtypes.from)) + 4 * std::sqrt(terms) * test::epsilon(dtypes.to);
}

}  // namespace

TEST_CASE("block_sum agrees with plain loops") {
  for (const Sizes& s : kSizes)
    for (const Dtypes& dtypes : kDtypes)
      for (const bool add : {false, true}) {
        CAPTURE(s.n);
        CAPTURE(s.k);
        CAPTURE(s.rank);
        CAPTURE(name_of(dtypes.to));
        const Array x = Array::random(dtypes.from, {s.n, s.k}, 1);
        Array y = Array::random(dtypes.to, {s.n, s.rank}, 2);
        const std::vector<double> before = y.doubles();
        std::vector<double> expected(before.size());
        reference::block_sum(x.doubles(), expected, s.n, s.k, s.rank);
        for (std::size_t i = 0; i < before.size() && add; ++i)
          expected[i] += before[i];
        kernels::block_sum(test::kDevice, x.view(), y.sink(add));
        const test::Difference worst = test::difference(y, expected);
        CHECK_MESSAGE(worst.value <= tolerance(s, dtypes), worst.where);
      }
}

TEST_CASE("block_tile repeats exactly, and adds with one rounding") {
  for (const Sizes& s : kSizes)
    for (const DType dtype : {DType::f32, DType::f64, DType::bf16})
      for (const bool add : {false, true}) {
        CAPTURE(s.n);
        CAPTURE(s.k);
        CAPTURE(s.rank);
        const Array x = Array::random(dtype, {s.n, s.rank}, 1);
        Array y = Array::random(dtype, {s.n, s.k}, 2);
        Array expected = y;
        for (std::int64_t i = 0; i < y.numel(); ++i)
          expected.set(i, x.at(i / s.k * s.rank + i % s.k % s.rank) + (add ? y.at(i) : 0.0));
        kernels::block_tile(test::kDevice, x.view(), y.sink(add));
        CHECK(y == expected);
      }
}

TEST_CASE("block_sum and block_tile are bit-equal for any number of threads") {
  const Array x = Array::random(DType::bf16, {70, 1000}, 1);
  Array first(DType::f32, {70, 48}), tiled(DType::bf16, {70, 1000});
  const Array s = Array::random(DType::bf16, {70, 48}, 2);
  test::with_threads(1, [&] {
    kernels::block_sum(test::kDevice, x.view(), first.sink(false));
    kernels::block_tile(test::kDevice, s.view(), tiled.sink(false));
  });
  for (const int threads : {2, 3, 4})
    test::with_threads(threads, [&] {
      Array sum(DType::f32, {70, 48}), tile(DType::bf16, {70, 1000});
      kernels::block_sum(test::kDevice, x.view(), sum.sink(false));
      kernels::block_tile(test::kDevice, s.view(), tile.sink(false));
      CHECK(sum == first);
      CHECK(tile == tiled);
    });
}

TEST_CASE("block_sum and block_tile refuse what does not fit") {
  const Array x(DType::f32, {2, 6}), ids(DType::i32, {2, 6});
  Array rows(DType::f32, {3, 2}), none(DType::f32, {2, 0}), wide(DType::f64, {2, 3}), wider(DType::f64, {2, 12});
  CHECK_THROWS_WITH_AS(kernels::block_sum(test::kDevice, x.view(), rows.sink(false)),
                       "block_sum: expected as many rows of y as of x, got x [2, 6] and y [3, 2]", ShapeError);
  CHECK_THROWS_WITH_AS(kernels::block_sum(test::kDevice, x.view(), none.sink(false)),
                       "block_sum: rank: expected at least 1, got 0", ShapeError);
  CHECK_THROWS_AS(kernels::block_sum(test::kDevice, x.view(), wide.sink(false)), ShapeError);
  CHECK_THROWS_AS(kernels::block_sum(test::kDevice, ids.view(), rows.sink(false)), ShapeError);
  CHECK_THROWS_WITH_AS(kernels::block_tile(test::kDevice, x.view(), rows.sink(false)),
                       "block_tile: expected as many rows of y as of x, got x [2, 6] and y [3, 2]", ShapeError);
  CHECK_THROWS_WITH_AS(kernels::block_tile(test::kDevice, none.view(), wide.sink(false)),
                       "block_tile: rank: expected at least 1, got 0", ShapeError);
  CHECK_THROWS_AS(kernels::block_tile(test::kDevice, x.view(), wider.sink(false)), ShapeError);
}
