#include "backends/cpu/simd.hpp"

#include <doctest/doctest.h>
#include <limits>

using namespace osteon;

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
