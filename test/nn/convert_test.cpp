#include "nn/io/convert.hpp"

#include <bit>
#include <cmath>
#include <cstdint>
#include <doctest/doctest.h>
#include <limits>
#include <random>
#include <vector>

using namespace osteon;
using io::FileDType;

namespace {

/// IEEE 754's definition, in double.
double f16_value(std::uint32_t bits) {
  const int exponent = static_cast<int>(bits >> 10 & 31U);
  const double mantissa = bits & 1023U;
  double magnitude = exponent == 0 ? std::ldexp(mantissa, -24) : std::ldexp(1024 + mantissa, exponent - 25);
  if (exponent == 31)
    magnitude = mantissa == 0 ? std::numeric_limits<double>::infinity() : std::numeric_limits<double>::quiet_NaN();
  return (bits & 0x8000U) != 0 ? -magnitude : magnitude;
}

/// The bf16 nearest to a finite value by definition: both neighbours are tried, a tie goes to the even one.
std::uint16_t nearest_bf16(double value) {
  const double magnitude = std::fabs(value);
  const auto at = [](std::uint32_t bits) {  // one step beyond the largest finite value stands for infinity
    return bits < 0x7f80U ? static_cast<double>(std::bit_cast<float>(bits << 16)) : std::ldexp(1.0, 128);
  };
  std::uint32_t low = 0, high = 0x7f80U;
  while (high - low > 1) {
    const std::uint32_t middle = (low + high) / 2;
    (at(middle) <= magnitude ? low : high) = middle;
  }
  const double below = magnitude - at(low), above = at(high) - magnitude;
  const std::uint32_t nearest = below < above || (!(above < below) && low % 2 == 0) ? low : high;
  return static_cast<std::uint16_t>(nearest | (std::signbit(value) ? 0x8000U : 0U));
}

std::uint16_t to_bf16(double value) {
  bf16 out;
  io::convert_elements(FileDType::f64, &value, DType::bf16, &out, 1);
  return out.bits;
}

}  // namespace

TEST_CASE("f16: all 65536 values, to f32, f64 and bf16") {
  std::vector<std::uint16_t> halves(65536);
  for (std::size_t i = 0; i < halves.size(); ++i)
    halves[i] = static_cast<std::uint16_t>(i);
  std::vector<float> singles(halves.size());
  std::vector<double> doubles(halves.size());
  std::vector<bf16> briefs(halves.size());
  CHECK(io::convert_elements(FileDType::f16, halves.data(), DType::f32, singles.data(), 65536) == -1);
  CHECK(io::convert_elements(FileDType::f16, halves.data(), DType::f64, doubles.data(), 65536) == -1);
  CHECK(io::convert_elements(FileDType::f16, halves.data(), DType::bf16, briefs.data(), 65536) == -1);
  int wrong = 0;
  for (std::uint32_t i = 0; i < 65536; ++i) {
    const double expected = f16_value(i);
    if (std::isnan(expected)) {
      wrong += !std::isnan(singles[i]) || !std::isnan(doubles[i]) || !std::isnan(static_cast<float>(briefs[i]));
    } else {
      const auto bits = std::bit_cast<std::uint64_t>(expected);  // bitwise, so that -0 is not 0
      wrong += std::bit_cast<std::uint64_t>(static_cast<double>(singles[i])) != bits;
      wrong += std::bit_cast<std::uint64_t>(doubles[i]) != bits;
      wrong += briefs[i].bits != (std::isinf(expected) ? (expected < 0 ? 0xff80 : 0x7f80) : nearest_bf16(expected));
    }
  }
  CHECK(wrong == 0);
}

TEST_CASE("bf16: all 65536 values to f32 and f64 and back") {
  int wrong = 0;
  for (std::uint32_t i = 0; i < 65536; ++i) {
    const auto bits = static_cast<std::uint16_t>(i);
    float single;
    double wide;
    io::convert_elements(FileDType::bf16, &bits, DType::f32, &single, 1);
    io::convert_elements(FileDType::bf16, &bits, DType::f64, &wide, 1);
    bf16 from_single, from_wide;
    io::convert_elements(FileDType::f32, &single, DType::bf16, &from_single, 1);
    io::convert_elements(FileDType::f64, &wide, DType::bf16, &from_wide, 1);
    if (std::isnan(single)) {
      wrong += !std::isnan(wide) || !std::isnan(static_cast<float>(from_single)) ||
               !std::isnan(static_cast<float>(from_wide));
    } else {
      wrong += std::bit_cast<std::uint32_t>(single) != i << 16;
      wrong += from_single.bits != bits || from_wide.bits != bits;
    }
  }
  CHECK(wrong == 0);
}

TEST_CASE("f64 to bf16 rounds once, to nearest even") {
  // just above the tie of 1 and the next bf16; f32 in between would land on the tie and go to the even one below
  CHECK(to_bf16(1 + 0x1p-8 + 0x1p-40) == 0x3f81);
  CHECK(to_bf16(1 + 0x1p-8) == 0x3f80);
  CHECK(to_bf16(1 + 0x1p-8 - 0x1p-40) == 0x3f80);
  CHECK(to_bf16(1 + 3 * 0x1p-8) == 0x3f82);
  CHECK(to_bf16(-(1 + 0x1p-8 + 0x1p-40)) == 0xbf81);
  CHECK(to_bf16(1e300) == 0x7f80);
  CHECK(to_bf16(-1e300) == 0xff80);
  CHECK(to_bf16(1e-300) == 0x0000);
  CHECK(to_bf16(-1e-300) == 0x8000);
  CHECK(to_bf16(0x1p-134 + 0x1p-160) == 0x0001);  // above half of the smallest subnormal
  CHECK(to_bf16(0x1p-134) == 0x0000);
  CHECK(to_bf16(std::numeric_limits<double>::infinity()) == 0x7f80);
  CHECK((to_bf16(std::numeric_limits<double>::quiet_NaN()) & 0x7fffU) > 0x7f80U);

  std::mt19937_64 random(1);
  int wrong = 0;
  for (int i = 0; i < 200'000; ++i) {
    // a random bf16, then half a step up and a tiny or no distance from that tie
    const auto base = static_cast<std::uint32_t>(random() % 0x7f80U);
    const double low = std::bit_cast<float>(base << 16), high = std::bit_cast<float>((base << 16) | 0x8000U);
    double value = (i % 2 == 0) ? high : low + (high - low) * static_cast<double>(random() % 1000) / 500;
    if (i % 4 >= 2)
      value = std::nextafter(value, i % 3 == 0 ? 0.0 : 1e300);
    if (i % 5 == 0)
      value = -value;
    wrong += to_bf16(value) != nearest_bf16(value);
  }
  CHECK(wrong == 0);
}

TEST_CASE("f64 to f32 rounds to nearest even, overflow is infinity") {
  const double values[] = {1 + 0x1p-24, 1 + 3 * 0x1p-24, 1e300, -1e300, 0x1p-150, 0x1.8p-149};
  float out[6];
  io::convert_elements(FileDType::f64, values, DType::f32, out, 6);
  CHECK(out[0] == 1.0F);
  CHECK(out[1] == 1.0F + 0x1p-22F);
  CHECK(out[2] == std::numeric_limits<float>::infinity());
  CHECK(out[3] == -std::numeric_limits<float>::infinity());
  CHECK(out[4] == 0.0F);
  CHECK(out[5] == 0x1p-148F);
}

TEST_CASE("whole numbers: the first that does not fit i32 is reported") {
  std::int32_t out[3] = {};
  const std::int64_t fits[] = {-100, 2147483647, -2147483648LL};
  CHECK(io::convert_elements(FileDType::i64, fits, DType::i32, out, 3) == -1);
  CHECK(out[0] == -100);
  CHECK(out[1] == 2147483647);
  CHECK(out[2] == -2147483647 - 1);
  const std::int64_t high[] = {1, 2147483648LL, 3}, low[] = {1, 2, -2147483649LL};
  CHECK(io::convert_elements(FileDType::i64, high, DType::i32, out, 3) == 1);
  CHECK(io::convert_elements(FileDType::i64, low, DType::i32, out, 3) == 2);
  const std::uint64_t huge[] = {~0ULL};
  CHECK(io::convert_elements(FileDType::u64, huge, DType::i32, out, 1) == 0);
  const std::uint32_t unsigned_high[] = {5, 0x80000000U};
  CHECK(io::convert_elements(FileDType::u32, unsigned_high, DType::i32, out, 2) == 1);
}

TEST_CASE("can_convert: only floats as floats, only whole numbers as i32, only bytes as u8") {
  using enum FileDType;
  for (const FileDType from : {boolean, u8, i8, f8_e5m2, f8_e4m3, i16, u16, f16, bf16, i32, u32, f32, f64, i64, u64}) {
    CAPTURE(from);
    const bool floating = from == f16 || from == bf16 || from == f32 || from == f64;
    const bool whole = from == u8 || from == i8 || from == i16 || from == u16 || from == i32 || from == u32 ||
                       from == i64 || from == u64;
    for (const DType to : {DType::f32, DType::bf16, DType::f64})
      CHECK(io::can_convert(from, to) == floating);
    CHECK(io::can_convert(from, DType::i32) == whole);
    CHECK(io::can_convert(from, DType::u8) == (from == u8 || from == boolean));
    double room = 0;
    const std::uint64_t zero = 0;
    if (!floating)
      CHECK_THROWS_AS(io::convert_elements(from, &zero, DType::f32, &room, 1), ShapeError);
  }
}
