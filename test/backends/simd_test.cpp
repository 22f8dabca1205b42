#include "backends/cpu/simd.hpp"

#include <bit>
#include <doctest/doctest.h>
#include <limits>
#include <vector>

#include "backends/cpu/bf16_pair.hpp"
#include "backends/cpu/lane_math.hpp"

using namespace osteon;

namespace {

constexpr float kNaN = std::numeric_limits<float>::quiet_NaN();
constexpr auto kWidth = static_cast<std::size_t>(cpu::kLanes<float>);

cpu::Vector<float> vector(const std::vector<float>& x) { return cpu::load_vector<cpu::Vector<float>>(x.data()); }
std::vector<float> lanes(const cpu::Vector<float>& x) {
  std::vector<float> out(kWidth);
  cpu::store_vector(out.data(), x);
  return out;
}

cpu::Vector<float> all(float x) { return cpu::broadcast<cpu::Vector<float>>(x); }

/// Units in the last place of the f32 next to `want` between it and `got`.
double ulps(float got, double want) {
  const auto nearest = static_cast<float>(want);
  const double ulp = static_cast<double>(std::nextafter(nearest, INFINITY)) - static_cast<double>(nearest);
  return std::abs(static_cast<double>(got) - want) / ulp;
}

}  // namespace

TEST_CASE("2^x in lanes is within 1.5 ulp, exact at 0, 0 where it would not be normal, and keeps NaN") {
  const auto exp2 = [](float x) { return lanes(cpu::exp2_lanes(all(x)))[0]; };
  double worst = 0;
  for (float x = -126; x <= 126; x += 1.0F / 4096)
    worst = std::max(worst, ulps(exp2(x), std::exp2(static_cast<double>(x))));
  CHECK(worst <= 1.5);
  CHECK(exp2(0.0F) == 1.0F);
  CHECK(exp2(-126.0F) == 0x1p-126F);
  for (const float x : {-126.5F, -1e30F, -std::numeric_limits<float>::infinity()})
    CHECK(exp2(x) == 0.0F);
  CHECK(std::isnan(exp2(kNaN)));
}

TEST_CASE("the sigmoid in lanes is within 5 ulp near 0 and 1e-5 of its value, 0 and 1 far out, and keeps NaN") {
  const auto sigmoid = [](float x) { return lanes(cpu::sigmoid_lanes(all(x)))[0]; };
  double worst = 0, worst_share = 0;
  for (float x = -86; x <= 126; x += 1.0F / 4096) {
    const double want = 1 / (1 + std::exp(-static_cast<double>(x)));
    worst_share = std::max(worst_share, std::abs(static_cast<double>(sigmoid(x)) / want - 1));
    if (x > -4)
      worst = std::max(worst, ulps(sigmoid(x), want));
  }
  CHECK(worst <= 5);
  CHECK(worst_share <= 1e-5);  // the rounding of x log2(e)
  CHECK(sigmoid(0.0F) == 0.5F);
  for (const float x : {-200.0F, -1e30F, -std::numeric_limits<float>::infinity()})
    CHECK(sigmoid(x) == 0.0F);
  for (const float x : {200.0F, 1e30F, std::numeric_limits<float>::infinity()})
    CHECK(sigmoid(x) == 1.0F);
  CHECK(std::isnan(sigmoid(kNaN)));
}

TEST_CASE("a reciprocal in lanes is within 1.5 ulp") {
  double worst = 0;
  for (float x = 1; x < 1e30F; x *= 1.0001F)
    worst = std::max(worst, ulps(lanes(cpu::reciprocal(all(x)))[0], 1 / static_cast<double>(x)));
  CHECK(worst <= 1.5);
}

TEST_CASE("lanes are stored rounded, all or the first of them") {
  std::vector<float> numbers(kWidth);
  for (std::size_t i = 0; i < kWidth; ++i)
    numbers[i] = 1.0F + 0.01F * static_cast<float>(i);
  for (std::size_t count = 0; count <= kWidth; ++count) {
    std::vector<bf16> rounded(kWidth, bf16(-7.0F));
    std::vector<double> wide(kWidth, -7.0);
    cpu::store_lanes(rounded.data(), vector(numbers), static_cast<std::int64_t>(count));
    cpu::store_lanes(wide.data(), vector(numbers), static_cast<std::int64_t>(count));
    for (std::size_t i = 0; i < kWidth; ++i) {
      CHECK(rounded[i].bits == (i < count ? bf16(numbers[i]) : bf16(-7.0F)).bits);
      CHECK(wide[i] == (i < count ? static_cast<double>(numbers[i]) : -7.0));
    }
  }
}

TEST_CASE("vectors round to bf16 as single numbers do, alone and in pairs") {
  constexpr float kInfinity = std::numeric_limits<float>::infinity();
  std::vector<float> numbers = {0.0F,       -0.0F,    1.0F,   -1.5F,     1.00390625F, 1.01171875F,
                                1.0039063F, 3.4e38F,  1e-30F, kInfinity, -kInfinity,  0.333333343F,
                                65535.0F,   -7.0e-5F, 255.5F, kNaN};
  for (std::size_t start = 0; start + kWidth <= numbers.size(); start += kWidth) {
    const std::vector<float> first(numbers.begin() + static_cast<std::ptrdiff_t>(start),
                                   numbers.begin() + static_cast<std::ptrdiff_t>(start + kWidth));
    const std::vector<float> second(first.rbegin(), first.rend());
    const cpu::HalfVector halves = cpu::rounded_to_bf16(vector(first));
    const auto pairs = std::bit_cast<cpu::WordVector>(cpu::paired(vector(first), vector(second)));
    for (std::size_t i = 0; i < kWidth; ++i) {
      CAPTURE(first[i]);
      if (std::isnan(first[i])) {
        CHECK(std::isnan(std::bit_cast<float>(static_cast<std::uint32_t>(halves[i]) << 16)));
        continue;
      }
      CHECK(halves[i] == bf16(first[i]).bits);
      CHECK((pairs[i] & 0xffffU) == bf16(first[i]).bits);
      if (!std::isnan(second[i]))
        CHECK((pairs[i] >> 16) == bf16(second[i]).bits);
    }
  }
}

TEST_CASE("an element of a pair adds both its terms") {
  std::vector<float> lower(kWidth), upper(kWidth), sum(kWidth);
  for (std::size_t i = 0; i < kWidth; ++i) {
    lower[i] = static_cast<float>(i) - 3;
    upper[i] = 0.5F * static_cast<float>(i) + 1;
    sum[i] = 100 * static_cast<float>(i);
  }
  const cpu::Bf16Pair left{static_cast<std::uint32_t>(bf16(-2.0F).bits) << 16 | bf16(8.0F).bits};
  const std::vector<float> got = lanes(cpu::multiply_add(left, cpu::paired(vector(lower), vector(upper)), vector(sum)));
  for (std::size_t i = 0; i < kWidth; ++i)
    CHECK(got[i] == sum[i] + 8 * lower[i] - 2 * upper[i]);
}

TEST_CASE("a pair's products are added as the instruction adds them: the upper first, subnormals as zero") {
  struct Case {
    float left_lower, left_upper, lower, upper, sum, expected;
  };
  const float tiny = std::numeric_limits<float>::denorm_min(), least = std::numeric_limits<float>::min();
  const Case cases[] = {
      {1, 1, 1, 0x1p25F, -0x1p25F, 1},             // 2^25 - 2^25 + 1; the lower first would lose it
      {0x1p25F, 1, -1, 1, 0x1p25F, 0},             // 2^25 + 1 is rounded before the lower comes
      {1, 0, least, 0, 0.5F * least, least},       // a sum that is subnormal
      {0x1p100F, 0, 0x1p-130F, 0, 0, 0},           // a term that is
      {0, 0x1p-130F, 0, 0x1p100F, 0, 0},           //
      {0x1p-70F, 0, 0x1p-70F, 0, 0, 0},            // a result that is
      {0, 0x1p-70F, -1, -0x1p-70F, 0, -0.0F},      //
      {0x1p-63F, 0, 0x1p-63F, 0, 0, least},        // the smallest that is not
      {1, 1, least, -least, 1.5F * least, least},  // sums on the way are rounded to zero as well
      {0, 0, 0, 0, -tiny, 0},
  };
  for (const Case& c : cases) {
    const cpu::Bf16Pair left{static_cast<std::uint32_t>(bf16(c.left_upper).bits) << 16 | bf16(c.left_lower).bits};
    const auto all = [](float x) { return vector(std::vector<float>(kWidth, x)); };
    const float got = lanes(cpu::multiply_add(left, cpu::paired(all(c.lower), all(c.upper)), all(c.sum)))[0];
    CAPTURE(c.left_lower);
    CAPTURE(c.sum);
    CHECK(std::bit_cast<std::uint32_t>(got) == std::bit_cast<std::uint32_t>(c.expected));
  }
}
