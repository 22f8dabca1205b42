#include "backends/kernels/rotary.hpp"

#include "test/backends/kernel_checks.hpp"
#include "test/reference/rotary.hpp"

using namespace osteon;
using namespace osteon::test;

namespace {

Array angle_table(DType dtype, std::int64_t positions, std::int64_t head_dim) {
  Array table(dtype, {positions, 2, head_dim / 2});
  for (std::int64_t p = 0; p < positions; ++p)
    for (std::int64_t j = 0; j < head_dim / 2; ++j) {
      const double angle =
          static_cast<double>(p) * std::pow(10000.0, -2.0 * static_cast<double>(j) / static_cast<double>(head_dim));
      table.set(p * head_dim + j, std::cos(angle));
      table.set(p * head_dim + head_dim / 2 + j, std::sin(angle));
    }
  return table;
}

std::vector<std::int64_t> counted(std::int64_t batch, std::int64_t seq_len, std::int64_t restart) {
  std::vector<std::int64_t> out;
  for (std::int64_t n = 0; n < batch * seq_len; ++n)
    out.push_back(n % seq_len % restart);
  return out;
}

}  // namespace

TEST_CASE("rotary agrees with plain loops, forward and inverse, with and without positions") {
  for (const Shape& shape :
       {Shape{1, 1, 1, 2}, Shape{2, 9, 3, 10}, Shape{0, 4, 2, 8}, Shape{2, 0, 2, 8}, Shape{2, 40, 5, 64}})
    for (const DType dtype : kFloating)
      for (const DType table_dtype : {DType::f32, DType::f64})
        for (const bool inverse : {false, true})
          for (const bool given : {false, true})
            for (const bool add : {false, true}) {
              CAPTURE(shape);
              CAPTURE(dtype);
              const std::int64_t batch = shape[0], seq_len = shape[1], restart = given ? 7 : seq_len;
              const Array x = Array::random(dtype, shape, 1), old = Array::random(dtype, shape, 2),
                          table = angle_table(table_dtype, std::max<std::int64_t>(seq_len, 7), shape[3]);
              const auto position = counted(batch, seq_len, restart);
              const Array positions = integers({batch, seq_len}, position);
              Array y = old;
              kernels::rotary(kDevice, x.view(), table.view(), given ? positions.view() : ConstView{}, inverse,
                              y.sink(add));
              std::vector<double> want =
                  reference::rotary(x.doubles(), table.doubles(), position, static_cast<std::size_t>(shape[2]),
                                    static_cast<std::size_t>(shape[3]), inverse);
              for (std::size_t i = 0; add && i < want.size(); ++i)
                want[i] += old.at(static_cast<std::int64_t>(i));
              check_close(y, want, 2);
            }
}

TEST_CASE("rotary may work in place, and its inverse undoes it") {
  const Shape shape{2, 30, 4, 32};
  const Array x = Array::random(DType::f64, shape, 1), table = angle_table(DType::f64, 30, 32);
  Array y = x, apart(DType::f64, shape);
  kernels::rotary(kDevice, x.view(), table.view(), {}, false, apart.sink(false));
  kernels::rotary(kDevice, y.view(), table.view(), {}, false, y.sink(false));
  CHECK(y == apart);
  kernels::rotary(kDevice, y.view(), table.view(), {}, true, y.sink(false));
  check_close(y, x.doubles(), 4);
}

TEST_CASE("rotary gives the same bits for any number of threads") {
  for (const DType dtype : kFloating) {
    const Array x = Array::random(dtype, {3, 60, 4, 34}, 1), table = angle_table(DType::f32, 60, 34);
    check_thread_counts([&] {
      std::vector<Array> out(1, x);
      kernels::rotary(kDevice, x.view(), table.view(), {}, true, out[0].sink(true));
      return out;
    });
  }
}

TEST_CASE("rotary names positions outside its table and refuses shapes that do not fit") {
  Array x(DType::f32, {1, 3, 1, 4}), odd(DType::f32, {1, 3, 1, 3}), flat(DType::f32, {3, 4}),
      half(DType::bf16, {1, 3, 1, 4});
  const Array table(DType::f32, {3, 2, 2}), narrow(DType::f32, {3, 2, 1}), short_table(DType::f32, {2, 2, 2}),
      ids(DType::i32, {3, 2, 2});
  const Array high = integers({1, 3}, {0, 1, 3}), low = integers({1, 3}, {0, -1, 1}), few = integers({2}, {0, 1});
  const auto turn = [&](Array& a, const Array& t, ConstView p) {
    finished([&] { kernels::rotary(kDevice, a.view(), t.view(), p, false, a.sink(false)); });
  };
  CHECK_THROWS_WITH_AS(turn(x, table, high.view()), "rotary: positions: expected positions in [0, 3), got 3 at 2",
                       IndexError);
  CHECK_THROWS_WITH_AS(turn(x, table, low.view()), "rotary: positions: expected positions in [0, 3), got -1 at 1",
                       IndexError);
  CHECK_THROWS_WITH_AS(turn(x, short_table, {}), "rotary: table: expected at least 3 positions, got 2", IndexError);
  CHECK_THROWS_AS(turn(x, table, few.view()), ShapeError);
  CHECK_THROWS_AS(turn(x, table, x.view()), ShapeError);
  CHECK_THROWS_AS(turn(x, narrow, {}), ShapeError);
  CHECK_THROWS_AS(turn(x, ids, {}), ShapeError);
  CHECK_THROWS_AS(turn(odd, table, {}), ShapeError);
  CHECK_THROWS_AS(turn(flat, table, {}), ShapeError);
  CHECK_THROWS_AS(kernels::rotary(kDevice, x.view(), table.view(), {}, false, half.sink(false)), ShapeError);
}
