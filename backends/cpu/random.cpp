#include "backends/kernels/random.hpp"

#include <bit>
#include <cmath>
#include <numbers>

#include "backends/check.hpp"
#include "backends/cpu/parallel.hpp"
#include "backends/cpu/simd.hpp"

namespace osteon::kernels {
namespace {

using namespace cpu;

constexpr std::int64_t kBlocks = 16;            // blocks of the stream at a time, in the lanes of vectors
constexpr std::int64_t kNumbers = 4 * kBlocks;  // numbers in them

/// Words of kBlocks blocks from `first` on, in the order of the stream: philox() in lanes.
void philox_words(RandomKey key, std::uint64_t first, std::uint32_t* words) {
  alignas(64) std::uint32_t c0[kBlocks], c1[kBlocks], c2[kBlocks], c3[kBlocks];
  for (std::int64_t b = 0; b < kBlocks; ++b) {
    const std::uint64_t index = first + static_cast<std::uint64_t>(b);
    c0[b] = static_cast<std::uint32_t>(index);
    c1[b] = static_cast<std::uint32_t>(index >> 32);
    c2[b] = static_cast<std::uint32_t>(key.stream);
    c3[b] = static_cast<std::uint32_t>(key.stream >> 32);
  }
  std::uint32_t k0 = static_cast<std::uint32_t>(key.seed), k1 = static_cast<std::uint32_t>(key.seed >> 32);
  for (int round = 0; round < 10; ++round) {
#pragma omp simd
    for (std::int64_t b = 0; b < kBlocks; ++b) {
      const std::uint64_t p0 = std::uint64_t{0xd2511f53U} * c0[b], p1 = std::uint64_t{0xcd9e8d57U} * c2[b];
      c0[b] = static_cast<std::uint32_t>(p1 >> 32) ^ c1[b] ^ k0;
      c1[b] = static_cast<std::uint32_t>(p1);
      c2[b] = static_cast<std::uint32_t>(p0 >> 32) ^ c3[b] ^ k1;
      c3[b] = static_cast<std::uint32_t>(p0);
    }
    k0 += 0x9e3779b9U;
    k1 += 0xbb67ae85U;
  }
  for (std::int64_t b = 0; b < kBlocks; ++b) {
    words[4 * b] = c0[b];
    words[4 * b + 1] = c1[b];
    words[4 * b + 2] = c2[b];
    words[4 * b + 3] = c3[b];
  }
}

/// f(i, count, words) for every kNumbers elements; element i has number begins + i of the stream.
template <class F>
void parallel_numbers(std::int64_t numel, RandomKey key, const F& f, std::int64_t begins = 0) {
  const std::int64_t inside = begins % 4;  // of a block, of which each piece then has the rest, and a part of another
  parallel_ranges(numel, 4, kNumbers, [=](std::int64_t begin, std::int64_t end) {
    alignas(64) std::uint32_t words[2 * kNumbers];
    for (std::int64_t i = begin; i < end; i += kNumbers) {
      const auto block = static_cast<std::uint64_t>((begins + i) / 4);
      philox_words(key, block, words);
      if (inside != 0)
        philox_words(key, block + kBlocks, words + kNumbers);
      f(i, std::min(kNumbers, end - i), static_cast<const std::uint32_t*>(words) + inside);
    }
  });
}

/// Elements whose 24 random bits are at least `threshold` stay: integers, so that all dtypes drop the same ones.
template <class T, class C, class Add>
void drop(const T* x, const std::uint32_t* words, std::int64_t count, std::uint32_t threshold, C factor, T* y,
          Add add) {
#pragma omp simd
  for (std::int64_t i = 0; i < count; ++i) {
    const C kept = load(x[i]) * factor;
    store(y[i], (words[i] >> 8) >= threshold ? kept : C(0), add);
  }
}

/// log(x) for 0 < x <= 1, without branches or calls: x = 2^e m with m near 1, log m = 2 artanh((m - 1) / (m + 1)).
[[gnu::always_inline]] inline double unit_log(double x) {
  constexpr std::uint64_t kMantissa = (std::uint64_t{1} << 52) - 1;
  const auto bits = std::bit_cast<std::uint64_t>(x);
  const double m = std::bit_cast<double>((bits & kMantissa) | (std::uint64_t{1023} << 52));
  const bool high = m > std::numbers::sqrt2;
  const double near = high ? 0.5 * m : m;
  const double e = static_cast<double>(static_cast<std::int32_t>(bits >> 52) - 1023) + (high ? 1.0 : 0.0);
  const double s = (near - 1) / (near + 1), t = s * s;  // |s| <= 0.172: the term left out is below 2e-17
  double p = 1.0 / 19;
#pragma GCC unroll 16
  for (int k = 17; k > 0; k -= 2)
    p = p * t + 1.0 / k;
  return e * std::numbers::ln2 + 2 * s * p;
}

struct Turn {
  double cosine, sine;
};

/// Cosine and sine of 2 pi u for 0 <= u <= 1: Taylor series within an eighth of a turn, then quarter turns.
[[gnu::always_inline]] inline Turn turn(double u) {
  constexpr double kRound = 6755399441055744.0;  // 1.5 * 2^52: adding it leaves no fraction bits
  const double quarters = (4 * u + kRound) - kRound;
  const double a = 2 * std::numbers::pi * (u - 0.25 * quarters), t = a * a;
  double s = 1, c = 1;  // nested: 1 - t/(2 3) (1 - t/(4 5) (...)) and 1 - t/(1 2) (1 - t/(3 4) (...))
#pragma GCC unroll 16
  for (int k = 16; k > 0; k -= 2) {
    s = 1 - t * (1.0 / (k * (k + 1))) * s;
    c = 1 - t * (1.0 / ((k - 1) * k)) * c;
  }
  s *= a;
  const auto quarter = static_cast<std::int32_t>(quarters);
  const double swapped_c = (quarter & 1) != 0 ? s : c, swapped_s = (quarter & 1) != 0 ? c : s;
  return {((quarter + 1) & 2) != 0 ? -swapped_c : swapped_c, (quarter & 2) != 0 ? -swapped_s : swapped_s};
}

/// Box-Muller: kNumbers standard normal numbers from as many words.
void normal_numbers(const std::uint32_t* words, double* numbers) {
#pragma omp simd
  for (std::int64_t i = 0; i < kNumbers; i += 2) {
    const double radius = std::sqrt(-2 * unit_log(1 - static_cast<double>(uniform_from(words[i]))));
    const Turn angle = turn(static_cast<double>(uniform_from(words[i + 1])));
    numbers[i] = radius * angle.cosine;
    numbers[i + 1] = radius * angle.sine;
  }
}

}  // namespace

void dropout(Cpu, ConstView x, double p, RandomKey key, Sink y, std::int64_t first) {
  expect_like("dropout", "y", y.view, x);
  check<ConfigError>(0 <= p && p <= 1, "dropout: p: expected a probability, got ", p);
  const auto threshold = static_cast<std::uint32_t>(std::ceil(p * 0x1p24));  // uniform < p, in units of 2^-24
  dispatch_floating(x.dtype, "dropout", [&](auto element) {
    using T = decltype(element);
    using C = compute_t<T>;
    const T* in = x.as<T>();
    T* out = y.view.as<T>();
    const C factor = p < 1 ? static_cast<C>(1 / (1 - p)) : C(0);
    dispatch_add(y.add, [&](auto add) {
      const auto drop_piece = [=](std::int64_t i, std::int64_t count, const std::uint32_t* words) {
        drop(in + i, words, count, threshold, factor, out + i, add);
      };
      parallel_numbers(x.numel(), key, drop_piece, first);
    });
  });
}

void fill_uniform(Cpu, View y, double low, double high, RandomKey key) {
  dispatch_floating(y.dtype, "fill_uniform", [&](auto element) {
    using T = decltype(element);
    T* out = y.as<T>();
    parallel_numbers(y.numel(), key, [=](std::int64_t first, std::int64_t count, const std::uint32_t* words) {
      for (std::int64_t i = 0; i < count; ++i)
        out[first + i] = static_cast<T>(low + (high - low) * static_cast<double>(uniform_from(words[i])));
    });
  });
}

void fill_normal(Cpu, View y, double mean, double deviation, RandomKey key) {
  dispatch_floating(y.dtype, "fill_normal", [&](auto element) {
    using T = decltype(element);
    T* out = y.as<T>();
    parallel_numbers(y.numel(), key, [=](std::int64_t first, std::int64_t count, const std::uint32_t* words) {
      alignas(64) double numbers[kNumbers];
      normal_numbers(words, numbers);
      for (std::int64_t i = 0; i < count; ++i)
        out[first + i] = static_cast<T>(mean + deviation * numbers[i]);
    });
  });
}

}  // namespace osteon::kernels
