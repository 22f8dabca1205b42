#include "backends/cpu/simd.hpp"

#include <bit>
#include <doctest/doctest.h>
#include <limits>
#include <vector>

#include "backends/cpu/attention_tiles.hpp"
#include "backends/cpu/bf16_pair.hpp"

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

}  // namespace

TEST_CASE("the vectorised exp is within 1.5 ulp of std::exp over the whole range") {
  double worst = 0;
  float at = 0;
  for (float x = -87.3F; x < 88.7F; x += 1.0F / 4096) {
    const double want = std::exp(static_cast<double>(x));
    const auto nearest = static_cast<float>(want);
    const double ulp = static_cast<double>(std::nextafter(nearest, INFINITY)) - static_cast<double>(nearest);
    const double error = std::abs(static_cast<double>(cpu::exp(x)) - want) / ulp;
    if (error > worst) {
      worst = error;
      at = x;
    }
  }
  CAPTURE(at);
  CHECK(worst <= 1.5);
}

TEST_CASE("the vectorised exp keeps exact values, subnormal results, infinities and NaN") {
  constexpr float kInfinity = std::numeric_limits<float>::infinity();
  CHECK(cpu::exp(0.0F) == 1.0F);
  CHECK(cpu::exp(-0.0F) == 1.0F);
  CHECK(cpu::exp(kInfinity) == kInfinity);
  CHECK(cpu::exp(-kInfinity) == 0.0F);
  CHECK(cpu::exp(88.73F) == kInfinity);
  CHECK(std::isfinite(cpu::exp(88.72F)));
  CHECK(cpu::exp(-104.5F) == 0.0F);
  CHECK(cpu::exp(-95.0F) == doctest::Approx(std::exp(-95.0)).epsilon(1e-3));  // subnormal
  CHECK(std::isnan(cpu::exp(std::numeric_limits<float>::quiet_NaN())));
  CHECK(std::isnan(cpu::sigmoid(std::numeric_limits<float>::quiet_NaN())));
  CHECK(cpu::sigmoid(-200.0F) == 0.0F);
  CHECK(cpu::sigmoid(200.0F) == 1.0F);
}

TEST_CASE("attention's 2^x is within 1.5 ulp") {
  const auto exp2 = [](float x) { return cpu::exp2_lanes(cpu::broadcast<cpu::Vector<float>>(x))[0]; };
  double worst = 0;
  for (float x = -126; x <= 8; x += 1.0F / 4096) {
    const double want = std::exp2(static_cast<double>(x));
    const auto nearest = static_cast<float>(want);
    const double ulp = static_cast<double>(std::nextafter(nearest, INFINITY)) - static_cast<double>(nearest);
    worst = std::max(worst, std::abs(static_cast<double>(exp2(x)) - want) / ulp);
  }
  CHECK(worst <= 1.5);
  CHECK(exp2(0.0F) == 1.0F);
  CHECK(exp2(-126.0F) == 0x1p-126F);
  for (const float x : {-126.5F, -1e30F, -std::numeric_limits<float>::infinity()})
    CHECK(exp2(x) == 0.0F);
  CHECK(std::isnan(exp2(kNaN)));
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
