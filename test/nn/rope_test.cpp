#include "nn/rope.hpp"

#include <cmath>
#include <doctest/doctest.h>
#include <numbers>

#include "backends/error.hpp"

using namespace osteon;
using nn::rope_inverse_frequencies;
using nn::RopeConfig;
using nn::RopeType;

namespace {

double standard(double theta, std::size_t j, std::int64_t head_dim) {
  return std::pow(theta, -2.0 * static_cast<double>(j) / static_cast<double>(head_dim));
}

/// Each value within f32 rounding of the formula in double.
void check_frequencies(const RopeConfig& rope, std::int64_t head_dim, std::int64_t seq_len, auto&& expected) {
  const std::vector<float> inverse = rope_inverse_frequencies(rope, head_dim, seq_len);
  REQUIRE(inverse.size() == static_cast<std::size_t>(head_dim / 2));
  for (std::size_t j = 0; j < inverse.size(); ++j) {
    CAPTURE(j);
    CHECK(static_cast<double>(inverse[j]) == doctest::Approx(expected(j)).epsilon(1e-6));
  }
}

}  // namespace

TEST_CASE("rope: standard frequencies") {
  for (const std::int64_t head_dim : {2, 16, 24, 64, 128})
    check_frequencies({}, head_dim, 0, [&](std::size_t j) { return standard(10000, j, head_dim); });
  const std::vector<float> four = rope_inverse_frequencies({}, 8, 0);
  CHECK(four == std::vector<float>{1.0F, 0.1F, 0.01F, 0.001F});
}

TEST_CASE("rope: linear divides every frequency by the factor") {
  check_frequencies({.type = RopeType::linear, .theta = 500000, .factor = 4}, 64, 0,
                    [](std::size_t j) { return standard(500000, j, 64) / 4; });
}

TEST_CASE("rope: dynamic leaves the trained length alone and raises theta beyond it") {
  const RopeConfig rope{.type = RopeType::dynamic, .factor = 2, .original_max_position_embeddings = 256};
  for (const std::int64_t seq_len : {1, 255, 256})
    CHECK(rope_inverse_frequencies(rope, 32, seq_len) == rope_inverse_frequencies({}, 32, seq_len));
  for (const std::int64_t seq_len : {257, 512, 1000}) {
    const double theta = 10000 * std::pow(2.0 * static_cast<double>(seq_len) / 256 - 1, 32.0 / 30.0);
    check_frequencies(rope, 32, seq_len, [&](std::size_t j) { return standard(theta, j, 32); });
  }
  // the slowest frequency at twice the length is that of three times the length, interpolated: 2 * 2 - 1 = 3
  CHECK(static_cast<double>(rope_inverse_frequencies(rope, 32, 512).back()) ==
        doctest::Approx(standard(10000, 15, 32) / 3).epsilon(1e-6));
}

TEST_CASE("rope: llama3 keeps short wavelengths, interpolates long ones, blends between") {
  const RopeConfig rope{.type = RopeType::llama3,
                        .theta = 500000,
                        .factor = 8,
                        .low_freq_factor = 1,
                        .high_freq_factor = 4,
                        .original_max_position_embeddings = 8192};
  int kept = 0, interpolated = 0, blended = 0;
  check_frequencies(rope, 128, 0, [&](std::size_t j) {
    const double inverse = standard(500000, j, 128), wavelength = 2 * std::numbers::pi / inverse;
    if (wavelength < 8192.0 / 4)
      return ++kept, inverse;
    if (wavelength > 8192.0)
      return ++interpolated, inverse / 8;
    const double smooth = (8192.0 / wavelength - 1) / (4 - 1);
    return ++blended, (1 - smooth) * inverse / 8 + smooth * inverse;
  });
  CHECK(kept == 29);
  CHECK(blended == 6);
  CHECK(interpolated == 29);
}

TEST_CASE("rope: head dimensions that cannot be rotated") {
  for (const std::int64_t head_dim : {-2, 0, 1, 7})
    CHECK_THROWS_AS(rope_inverse_frequencies({}, head_dim, 0), ConfigError);
  CHECK_THROWS_AS(rope_inverse_frequencies({.type = RopeType::dynamic}, 2, 0), ConfigError);
}
