#include "backends/kernels/bat.hpp"

#include <doctest/doctest.h>

#include "backends/flops.hpp"
#include "test/backends/array.hpp"
#include "test/backends/multiplying.hpp"
#include "test/backends/threads.hpp"
#include "test/reference/block.hpp"

using namespace osteon;
using test::Array;
using test::kDevice;
using test::kOnCpu;

namespace {

struct Sizes {
  std::int64_t blocks, rank, k;
};
constexpr Sizes kSizes[] = {{1, 1, 1},     {3, 1, 5},   {2, 2, 6},    {4, 8, 128},  {1, 8, 8},   {2, 3, 9},
                            {2, 16, 48},   {1, 64, 64}, {2, 64, 256}, {1, 33, 99},  {3, 48, 96}, {16, 8, 128},
                            {2, 32, 2112}, {0, 4, 8},   {1, 72, 144}, {1, 132, 264}};

struct Dtypes {
  DType weight, blocks, result;
};
constexpr Dtypes kDtypes[] = {{DType::f32, DType::f32, DType::f32},    {DType::f64, DType::f64, DType::f64},
                              {DType::bf16, DType::bf16, DType::bf16}, {DType::bf16, DType::f32, DType::bf16},
                              {DType::bf16, DType::bf16, DType::f32},  {DType::bf16, DType::f32, DType::f32}};

/// How bf16 is multiplied (test::Multiplying).
struct Way {
  bool in_pairs, on_amx;
};
constexpr Way kWays[] = {{false, false}, {true, false}, {true, true}};
/// f() in each way that products of the dtype can take.
template <class F>
void each_way(DType dtype, const F& f) {
  for (const Way& way : kWays) {
    if (way.in_pairs && !(kOnCpu && dtype == DType::bf16))
      continue;
    CAPTURE(way.in_pairs);
    CAPTURE(way.on_amx);
    const test::Multiplying multiplying(way.in_pairs, way.on_amx);
    f();
  }
}

/// Numbers of `dtype` in the type of its sums: as factors they are not rounded.
Array random_sums(DType dtype, const Shape& shape, std::uint64_t seed) {
  const Array numbers = Array::random(dtype, shape, seed);
  Array wide(accumulator(dtype), shape);
  for (std::int64_t i = 0; i < wide.numel(); ++i)
    wide.set(i, numbers.at(i));
  return wide;
}

/// Rounding of one chain of additions that grows like the square root of its length, then of storing it.
double tolerance(double terms, DType sum, DType result) {
  return (8 * std::sqrt(terms + 2) + 0.5 * terms) * test::epsilon(sum) +
         4 * std::sqrt(terms + 2) * test::epsilon(result);
}

/// The same elements, and, if wanted, one element behind where vectors may begin.
class Shifted {
 public:
  Shifted(const Array& x, bool shift)
      : shape_(x.shape()), first_(shift ? 1 : 0), memory_(x.dtype(), {x.numel() + 1, 1}) {
    for (std::int64_t i = 0; i < x.numel(); ++i)
      memory_.set(first_ + i, x.at(i));
  }
  View view() { return memory_.view().slice_rows(first_, first_ + shape_.numel()).reshape(shape_); }
  std::vector<double> doubles() const {
    std::vector<double> values;
    for (std::int64_t i = 0; i < shape_.numel(); ++i)
      values.push_back(memory_.at(first_ + i));
    return values;
  }

 private:
  Shape shape_;
  std::int64_t first_;
  Array memory_;
};

}  // namespace

TEST_CASE("bat_weight agrees with plain loops") {
  for (const Sizes& s : kSizes)
    for (const Dtypes& dtypes : kDtypes) {
      CAPTURE(s.blocks);
      CAPTURE(s.rank);
      CAPTURE(s.k);
      CAPTURE(name_of(dtypes.weight));
      CAPTURE(name_of(dtypes.blocks));
      CAPTURE(name_of(dtypes.result));
      const std::int64_t rows = s.blocks * s.rank;
      const Array w = Array::random(dtypes.weight, {rows, s.k}, 1);
      const Array b = Array::random(dtypes.blocks, {s.blocks, s.rank, s.rank}, 2);
      Array y = Array::random(dtypes.result, {rows, s.k}, 3);
      std::vector<double> expected(static_cast<std::size_t>(y.numel()));
      reference::bat_weight(w.doubles(), b.doubles(), expected, rows, s.k, s.rank);
      each_way(dtypes.weight, [&] {
        kernels::bat_weight(kDevice, w.view(), b.view(), y.view());
        const test::Difference worst = test::difference(y, expected);
        const double terms = static_cast<double>(s.rank);
        CHECK_MESSAGE(worst.value <= tolerance(terms, accumulator(dtypes.weight), dtypes.result), worst.where);
      });
    }
}

TEST_CASE("bat_weight of zero blocks is the weight") {
  for (const DType dtype : {DType::f32, DType::bf16, DType::f64}) {
    const Array w = Array::random(dtype, {16, 64}, 1), b(dtype, {2, 8, 8});
    Array y(dtype, {16, 64});
    kernels::bat_weight(kDevice, w.view(), b.view(), y.view());
    CHECK(y == w);
  }
}

TEST_CASE("bat_block_gradient agrees with plain loops") {
  for (const Sizes& s : kSizes)
    for (const DType dtype : {DType::f32, DType::bf16, DType::f64})
      for (const bool add : {false, true}) {
        CAPTURE(s.blocks);
        CAPTURE(s.rank);
        CAPTURE(s.k);
        CAPTURE(name_of(dtype));
        const DType wide = accumulator(dtype);
        const std::int64_t rows = s.blocks * s.rank;
        const Array w = Array::random(dtype, {rows, s.k}, 1), dw = random_sums(dtype, {rows, s.k}, 2);
        const Array old = Array::random(wide, {s.blocks, s.rank, s.rank}, 3);
        const std::vector<double> before = old.doubles();
        std::vector<double> expected(before.size());
        reference::bat_block_gradient(w.doubles(), dw.doubles(), expected, rows, s.k, s.rank);
        for (std::size_t i = 0; i < before.size() && add; ++i)
          expected[i] += before[i];
        each_way(dtype, [&] {
          Array db = old;
          kernels::bat_block_gradient(kDevice, w.view(), dw.view(), db.sink(add));
          const test::Difference worst = test::difference(db, expected);
          CHECK_MESSAGE(worst.value <= tolerance(static_cast<double>(s.k), wide, wide), worst.where);
        });
      }
}

TEST_CASE("bat_block_gradient in pairs rounds dW' as a factor, not as a term") {
  if (!kOnCpu)
    return;
  const std::int64_t rank = 32;
  const Array dw = Array::random(DType::f32, {rank, rank}, 2), rounded = [&] {
    Array near(DType::bf16, {rank, rank}), wide(DType::f32, {rank, rank});
    for (std::int64_t i = 0; i < dw.numel(); ++i) {
      near.set(i, dw.at(i));
      wide.set(i, near.at(i));
    }
    return wide;
  }();
  const Array nothing(DType::bf16, {rank, rank}), w = Array::random(DType::bf16, {rank, rank}, 1);
  Array terms(DType::f32, {1, rank, rank}), all(DType::f32, {1, rank, rank});
  std::vector<double> expected(static_cast<std::size_t>(all.numel()));
  reference::bat_block_gradient(w.doubles(), rounded.doubles(), expected, rank, rank, rank);
  for (std::size_t i = 0; i < expected.size(); ++i)
    expected[i] += dw.at(static_cast<std::int64_t>(i)) - rounded.at(static_cast<std::int64_t>(i));
  for (const Way& way : kWays) {
    if (!way.in_pairs)
      continue;
    CAPTURE(way.on_amx);
    const test::Multiplying multiplying(way.in_pairs, way.on_amx);
    kernels::bat_block_gradient(kDevice, nothing.view(), dw.view(), terms.sink(false));
    CHECK(terms.doubles() == dw.doubles());
    kernels::bat_block_gradient(kDevice, w.view(), dw.view(), all.sink(false));
    CHECK(test::difference(all, expected).value <= tolerance(static_cast<double>(rank), DType::f32, DType::f32));
  }
}

TEST_CASE("Bat's kernels are bit-equal for any number of threads and any grouping of blocks into slabs") {
  for (const DType dtype : {DType::f32, DType::bf16, DType::f64})
    for (const Sizes& s : {Sizes{4, 8, 128}, Sizes{2, 64, 2048}, Sizes{2, 32, 2112}, Sizes{3, 24, 4104}}) {
      CAPTURE(name_of(dtype));
      CAPTURE(s.rank);
      const DType wide = accumulator(dtype);
      const std::int64_t rows = s.blocks * s.rank;
      const Array w = Array::random(dtype, {rows, s.k}, 1), dw = Array::random(wide, {rows, s.k}, 2);
      const Array b = Array::random(dtype, {s.blocks, s.rank, s.rank}, 3);
      Array y(dtype, {rows, s.k}), db(wide, {s.blocks, s.rank, s.rank});
      each_way(dtype, [&] {
        test::with_threads(1, [&] {
          kernels::bat_weight(kDevice, w.view(), b.view(), y.view());
          kernels::bat_block_gradient(kDevice, w.view(), dw.view(), db.sink(false));
        });
        for (const int threads : kOnCpu ? std::vector{2, 3, 4} : std::vector{1})
          test::with_threads(threads, [&] {
            Array y_part(dtype, {rows, s.k}), db_part(wide, {s.blocks, s.rank, s.rank});
            for (std::int64_t block = 0; block < s.blocks; ++block) {
              const std::int64_t first = block * s.rank, last = first + s.rank;
              const Shape one{1, s.rank, s.rank}, joined{rows, s.rank};
              kernels::bat_weight(kDevice, w.view().slice_rows(first, last),
                                  b.view().reshape(joined).slice_rows(first, last).reshape(one),
                                  y_part.view().slice_rows(first, last));
              kernels::bat_block_gradient(kDevice, w.view().slice_rows(first, last), dw.view().slice_rows(first, last),
                                          {db_part.view().reshape(joined).slice_rows(first, last).reshape(one), false});
            }
            CHECK(y_part == y);
            CHECK(db_part == db);
          });
      });
    }
}

TEST_CASE("Bat's kernels give the same numbers wherever in memory an operand begins") {
  for (const std::int64_t rank : {36, 32})
    for (const DType dtype : {DType::f32, DType::bf16, DType::f64}) {
      const std::int64_t k = 2 * rank;
      const Shape whole{2 * rank, k}, per_block{2, rank, rank};
      const DType wide = accumulator(dtype);
      const Array w = Array::random(dtype, whole, 1), b = Array::random(wide, per_block, 2);
      const Array dw = Array::random(wide, whole, 3);
      Array y(dtype, whole), db(wide, per_block);
      each_way(dtype, [&] {
        kernels::bat_weight(kDevice, w.view(), b.view(), y.view());
        kernels::bat_block_gradient(kDevice, w.view(), dw.view(), db.sink(false));
        for (const int shifted : {0, 1, 2}) {
          CAPTURE(dtype);
          CAPTURE(shifted);
          Shifted w_at(w, shifted == 0), b_at(b, shifted == 1), dw_at(dw, shifted == 1);
          Shifted y_at(Array(dtype, whole), shifted == 2), db_at(Array(wide, per_block), shifted == 2);
          kernels::bat_weight(kDevice, w_at.view(), b_at.view(), y_at.view());
          kernels::bat_block_gradient(kDevice, w_at.view(), dw_at.view(), {db_at.view(), false});
          CHECK(y_at.doubles() == y.doubles());
          CHECK(db_at.doubles() == db.doubles());
        }
      });
    }
}

TEST_CASE("Bat's kernels count two FLOPs a multiply-add, on the device that computes") {
  constexpr Device kWhere = kOnCpu ? Device::cpu : Device::cuda;
  const Array w = Array::random(DType::f32, {8, 12}, 1), b = Array::random(DType::f32, {2, 4, 4}, 2);
  Array y(DType::f32, {8, 12}), db(DType::f32, {2, 4, 4});
  reset_flop_count(kWhere);
  kernels::bat_weight(kDevice, w.view(), b.view(), y.view());
  CHECK(flop_count(kWhere).total(Pass::forward) == 2 * 8 * 12 * 4);
  kernels::bat_block_gradient(kDevice, w.view(), y.view(), db.sink(false));
  CHECK(flop_count(kWhere).total(Pass::forward) == 2 * (2 * 8 * 12 * 4));
}

TEST_CASE("Bat's kernels refuse what does not fit") {
  const Array w(DType::f32, {8, 12}), b(DType::f32, {2, 4, 4}), flat(DType::f32, {8, 4});
  const Array narrow(DType::bf16, {8, 12}), ragged(DType::f32, {8, 10}), double_blocks(DType::f64, {2, 4, 4});
  Array y(DType::f32, {8, 12}), wrong(DType::f32, {8, 8}), wide(DType::f64, {8, 12}), ragged_y(DType::f32, {8, 10});
  CHECK_THROWS_WITH_AS(kernels::bat_weight(kDevice, w.view(), flat.view(), y.view()),
                       "bat_weight: blocks: expected [m, rank, rank], got [8, 4]", ShapeError);
  CHECK_THROWS_WITH_AS(kernels::bat_weight(kDevice, ragged.view(), b.view(), ragged_y.view()),
                       "bat_weight: w: expected 8 rows of a multiple of rank 4 features, got [8, 10]", ShapeError);
  CHECK_THROWS_WITH_AS(kernels::bat_weight(kDevice, w.view(), b.view(), wrong.view()),
                       "bat_weight: y: expected shape [8, 12], got [8, 8]", ShapeError);
  CHECK_THROWS_AS(kernels::bat_weight(kDevice, w.view(), b.view(), wide.view()), ShapeError);
  CHECK_THROWS_WITH_AS(kernels::bat_weight(kDevice, w.view(), double_blocks.view(), y.view()),
                       "bat_weight: blocks: expected f32 or bf16, got f64", ShapeError);
  CHECK_THROWS_AS(kernels::bat_weight(kDevice, narrow.view(), double_blocks.view(), y.view()), ShapeError);
  Array db(DType::f32, {2, 4, 4}), db_half(DType::bf16, {2, 4, 4});
  CHECK_THROWS_WITH_AS(kernels::bat_block_gradient(kDevice, w.view(), wrong.view(), db.sink(false)),
                       "bat_block_gradient: dw: expected shape [8, 12], got [8, 8]", ShapeError);
  CHECK_THROWS_WITH_AS(kernels::bat_block_gradient(kDevice, narrow.view(), narrow.view(), db.sink(false)),
                       "bat_block_gradient: dw: expected f32, got bf16", ShapeError);
  CHECK_THROWS_WITH_AS(kernels::bat_block_gradient(kDevice, w.view(), y.view(), db_half.sink(false)),
                       "bat_block_gradient: db: expected f32, got bf16", ShapeError);
}
