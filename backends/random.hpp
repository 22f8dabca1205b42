#pragma once

#include <array>
#include <cstdint>

namespace osteon {

/// A stream of random numbers addressed by position: element i of a stream is the same on every backend, for any
/// number of threads and in any order. Philox4x32-10, J. Salmon et al., "Parallel random numbers: as easy as 1, 2, 3".
struct RandomKey {
  std::uint64_t seed = 0;
  std::uint64_t stream = 0;  ///< which tensor or call of the seed

  /// An independent stream derived from this one.
  constexpr RandomKey split(std::uint64_t index) const {
    std::uint64_t z = stream + 0x9e3779b97f4a7c15ULL * (index + 1);  // splitmix64
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ULL;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebULL;
    return {seed, z ^ (z >> 31)};
  }
};

/// Four words for block `index` of the stream.
constexpr std::array<std::uint32_t, 4> philox(RandomKey key, std::uint64_t index) {
  std::array<std::uint32_t, 4> counter = {static_cast<std::uint32_t>(index), static_cast<std::uint32_t>(index >> 32),
                                          static_cast<std::uint32_t>(key.stream),
                                          static_cast<std::uint32_t>(key.stream >> 32)};
  std::uint32_t k0 = static_cast<std::uint32_t>(key.seed), k1 = static_cast<std::uint32_t>(key.seed >> 32);
  for (int round = 0; round < 10; ++round) {
    const std::uint64_t p0 = 0xd2511f53ULL * counter[0], p1 = 0xcd9e8d57ULL * counter[2];
    counter = {static_cast<std::uint32_t>(p1 >> 32) ^ counter[1] ^ k0, static_cast<std::uint32_t>(p1),
               static_cast<std::uint32_t>(p0 >> 32) ^ counter[3] ^ k1, static_cast<std::uint32_t>(p0)};
    k0 += 0x9e3779b9U;
    k1 += 0xbb67ae85U;
  }
  return counter;
}

/// Uniform in [0, 1) with 24 bits.
constexpr float uniform_from(std::uint32_t word) { return static_cast<float>(word >> 8) * 0x1p-24F; }

}  // namespace osteon
