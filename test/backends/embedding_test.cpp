#include "backends/kernels/embedding.hpp"

#include "test/backends/kernel_checks.hpp"

using namespace osteon;
using namespace osteon::test;

namespace {

Array some_ids(std::int64_t count, std::int64_t vocab_size) {
  std::vector<std::int64_t> ids;
  for (std::int64_t n = 0; n < count; ++n)
    ids.push_back((n * n * 31 + 10) % vocab_size);  // many repeats, the last one too
  return integers({count}, ids);
}

}  // namespace

TEST_CASE("embedding reads rows of the table and its backward adds them up") {
  for (const std::int64_t count : {0, 1, 5, 300})
    for (const std::int64_t h : {1, 7, 130, 1030})  // the last one more than a block of the backward takes at once
      for (const DType dtype : kFloating)
        for (const DType to : kFloating) {
          if (h > 1000 && count > 5)
            continue;
          CAPTURE(count);
          CAPTURE(h);
          CAPTURE(dtype);
          const Array table = Array::random(dtype, {11, h}, 1), ids = some_ids(count, 11);
          Array y(to, {count, h});
          kernels::embedding(kDevice, table.view(), ids.view(), y.view());
          std::vector<double> want;
          for (std::int64_t n = 0; n < count; ++n)
            for (std::int64_t j = 0; j < h; ++j)
              want.push_back(table.at(static_cast<std::int64_t>(ids.at(n)) * h + j));
          check_close(y, want, 0);
          if (to == DType::bf16 && count > 100)
            continue;  // hundreds of roundings to bf16
          for (const bool add : {false, true}) {
            const Array dy = Array::random(dtype, {count, h}, 2), old = Array::random(to, {11, h}, 3);
            Array dtable = old;
            kernels::embedding_backward(kDevice, dy.view(), ids.view(), dtable.sink(add));
            want = add ? old.doubles() : std::vector<double>(static_cast<std::size_t>(11 * h));
            for (std::int64_t i = 0; i < count * h; ++i)
              want[static_cast<std::size_t>(static_cast<std::int64_t>(ids.at(i / h)) * h + i % h)] += dy.at(i);
            check_close(dtable, want, to == DType::bf16 ? 0x1p17 : 40);
          }
        }
}

TEST_CASE("embedding_backward gives the same bits for any number of threads and any split of the tokens") {
  const std::int64_t count = 600, h = 200;
  for (const DType dtype : kFloating) {
    const Array dy = Array::random(dtype, {count, h}, 1), ids = some_ids(count, 13);
    const auto run = [&](std::int64_t step) {
      Array out = Array::random(accumulator(dtype), {13, h}, 2);
      for (std::int64_t n = 0; n < count; n += step) {
        const ConstView part = ids.view().reshape({count, 1}).slice_rows(n, n + step).reshape({step});
        kernels::embedding_backward(kDevice, dy.view().slice_rows(n, n + step), part, out.sink(true));
      }
      return std::vector<Array>{out};
    };
    CHECK(run(count) == run(200));
    check_thread_counts([&] { return run(count); });
  }
}

TEST_CASE("embedding names the first id outside the table, and refuses shapes that do not fit") {
  const Array table(DType::f32, {4, 2}), high = integers({3}, {0, 4, 9}), low = integers({3}, {0, 1, -1});
  Array y(DType::f32, {3, 2}), small(DType::f32, {2, 2}), grad(DType::f32, {4, 2});
  CHECK_THROWS_WITH_AS(finished([&] { kernels::embedding(kDevice, table.view(), high.view(), y.view()); }),
                       "embedding: ids: expected ids in [0, 4), got 4 at position 1", IndexError);
  CHECK_THROWS_WITH_AS(finished([&] { kernels::embedding_backward(kDevice, y.view(), low.view(), grad.sink(true)); }),
                       "embedding_backward: ids: expected ids in [0, 4), got -1 at position 2", IndexError);
  CHECK_THROWS_AS(kernels::embedding(kDevice, table.view(), integers({3}, {0, 1, 2}).view(), small.view()), ShapeError);
  CHECK_THROWS_AS(kernels::embedding(kDevice, table.view(), table.view(), y.view()), ShapeError);
  CHECK_THROWS_AS(kernels::embedding_backward(kDevice, small.view(), integers({3}, {0, 1, 2}).view(), grad.sink(false)),
                  ShapeError);
}
