#include "backends/kernels/random.hpp"

#include "test/backends/kernel_checks.hpp"

using namespace osteon;
using namespace osteon::test;

namespace {

constexpr RandomKey kKey{42, 7};

double uniform(std::int64_t i) {
  const auto at = static_cast<std::uint64_t>(i);
  return static_cast<double>(uniform_from(philox(kKey, at / 4)[at % 4]));
}

}  // namespace

TEST_CASE("Philox4x32-10 gives the known answers of its authors") {
  // Random123's kat_vectors; the counter is (index, stream), the key is the seed.
  CHECK(philox({0, 0}, 0) == std::array<std::uint32_t, 4>{0x6627e8d5U, 0xe169c58dU, 0xbc57ac4cU, 0x9b00dbd8U});
  CHECK(philox({~0ULL, ~0ULL}, ~0ULL) ==
        std::array<std::uint32_t, 4>{0x408f276dU, 0x41c83b0eU, 0xa20bc7c6U, 0x6d5451fdU});
}

TEST_CASE("fill_uniform is the stream, element by element") {
  for (const std::int64_t n : {0, 1, 3, 4, 1001, 20003})
    for (const DType dtype : kFloating) {
      Array y(dtype, {n});
      kernels::fill_uniform(kDevice, y.view(), -3, 5, kKey);
      std::vector<double> want;
      for (std::int64_t i = 0; i < n; ++i)
        want.push_back(-3 + 8 * uniform(i));
      check_close(y, want, 1);
    }
}

TEST_CASE("fill_normal is Box-Muller on pairs of the stream") {
  for (const std::int64_t n : {0, 1, 2, 5, 20003})
    for (const DType dtype : kFloating) {
      Array y(dtype, {n});
      kernels::fill_normal(kDevice, y.view(), 1, 0.5, kKey);
      std::vector<double> want;
      double sum = 0, squares = 0;
      for (std::int64_t i = 0; i < n; ++i) {
        const std::int64_t first = i - i % 2;
        const double radius = std::sqrt(-2 * std::log(1 - uniform(first))),
                     angle = 2 * 3.14159265358979323846 * uniform(first + 1);
        want.push_back(1 + 0.5 * radius * (i == first ? std::cos(angle) : std::sin(angle)));
        sum += want.back() - 1;
        squares += (want.back() - 1) * (want.back() - 1);
      }
      check_close(y, want, 4);
      if (n > 10000) {  // four standard errors
        CHECK(std::abs(sum / static_cast<double>(n)) < 4 * 0.5 / std::sqrt(static_cast<double>(n)));
        CHECK(squares / static_cast<double>(n) ==
              doctest::Approx(0.25).epsilon(4 * std::sqrt(2 / static_cast<double>(n))));
      }
    }
}

TEST_CASE("dropout keeps what the stream says, scaled, and its backward is the same call") {
  for (const std::int64_t n : {0, 1, 5, 20003})
    for (const DType dtype : kFloating)
      for (const double p : {0.0, 0.3, 1.0})
        for (const bool add : {false, true}) {
          CAPTURE(p);
          const Array x = Array::random(dtype, {n}, 1), old = Array::random(dtype, {n}, 2);
          Array y = old;
          kernels::dropout(kDevice, x.view(), p, kKey, y.sink(add));
          std::vector<double> want;
          std::int64_t kept = 0;
          for (std::int64_t i = 0; i < n; ++i) {
            const bool keep = uniform(i) >= p;
            kept += keep ? 1 : 0;
            want.push_back((keep ? x.at(i) / (1 - p) : 0) + (add ? old.at(i) : 0));
          }
          check_close(y, want, 2);
          if (n > 10000)
            CHECK(static_cast<double>(kept) / static_cast<double>(n) == doctest::Approx(1 - p).epsilon(0.02));
        }
}

TEST_CASE("dropout of a part of a tensor, from any element on, is that part of the whole's") {
  const std::int64_t n = 3001;
  for (const DType dtype : kFloating) {
    const Array x = Array::random(dtype, {n}, 1);
    Array whole = x;
    kernels::dropout(kDevice, x.view(), 0.3, kKey, whole.sink(false));
    for (const std::int64_t first : {1, 2, 3, 64, 256, 1999, 2999}) {
      CAPTURE(first);
      Array part(dtype, {n - first}), want = part, y = part;
      for (std::int64_t i = first; i < n; ++i) {
        part.set(i - first, x.at(i));
        want.set(i - first, whole.at(i));
      }
      kernels::dropout(kDevice, part.view(), 0.3, kKey, y.sink(false), first);
      CHECK(y == want);
    }
  }
}

TEST_CASE("random kernels give the same bits for any number of threads") {
  const Array x = Array::random(DType::f32, {30001}, 1);
  check_thread_counts([&] {
    std::vector<Array> out(3, x);
    kernels::dropout(kDevice, x.view(), 0.5, kKey, out[0].sink(true));
    kernels::fill_uniform(kDevice, out[1].view(), 0, 1, kKey);
    kernels::fill_normal(kDevice, out[2].view(), 0, 1, kKey);
    return out;
  });
}

TEST_CASE("random kernels refuse bad probabilities, shapes and dtypes") {
  Array x(DType::f32, {3}), small(DType::f32, {2}), ids(DType::i32, {3});
  CHECK_THROWS_WITH_AS(kernels::dropout(kDevice, x.view(), 1.5, kKey, x.sink(false)),
                       "dropout: p: expected a probability, got 1.5", ConfigError);
  CHECK_THROWS_AS(kernels::dropout(kDevice, x.view(), std::nan(""), kKey, x.sink(false)), ConfigError);
  CHECK_THROWS_AS(kernels::dropout(kDevice, x.view(), 0.5, kKey, small.sink(false)), ShapeError);
  CHECK_THROWS_AS(kernels::fill_uniform(kDevice, ids.view(), 0, 1, kKey), ShapeError);
  CHECK_THROWS_AS(kernels::fill_normal(kDevice, ids.view(), 0, 1, kKey), ShapeError);
}
