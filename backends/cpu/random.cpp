#include "backends/kernels/random.hpp"

#include <cmath>
#include <numbers>

#include "backends/cpu/check.hpp"
#include "backends/cpu/parallel.hpp"
#include "backends/cpu/simd.hpp"

namespace osteon::kernels {
namespace {

using namespace cpu;

/// f(first, count, words) for every block of four numbers of the stream.
template <class F>
void parallel_blocks(std::int64_t numel, RandomKey key, const F& f) {
  parallel_ranges(numel, 8, 4, [=](std::int64_t begin, std::int64_t end) {
    for (std::int64_t i = begin; i < end; i += 4)
      f(i, std::min<std::int64_t>(4, end - i), philox(key, static_cast<std::uint64_t>(i / 4)));
  });
}

}  // namespace

void dropout(Cpu, ConstView x, double p, RandomKey key, Sink y) {
  expect_like("dropout", "y", y.view, x);
  check<ConfigError>(0 <= p && p <= 1, "dropout: p: expected a probability, got ", p);
  dispatch_floating(x.dtype, "dropout", [&](auto element) {
    using T = decltype(element);
    using C = compute_t<T>;
    const T* in = x.as<T>();
    T* out = y.view.as<T>();
    const C factor = p < 1 ? static_cast<C>(1 / (1 - p)) : C(0);
    parallel_blocks(x.numel(), key, [=, add = y.add](std::int64_t first, std::int64_t count, const auto& words) {
      for (std::int64_t j = 0; j < count; ++j) {
        const bool kept = static_cast<double>(uniform_from(words[static_cast<std::size_t>(j)])) >= p;
        store(out[first + j], kept ? load(in[first + j]) * factor : C(0), add);
      }
    });
  });
}

void fill_uniform(Cpu, View y, double low, double high, RandomKey key) {
  dispatch_floating(y.dtype, "fill_uniform", [&](auto element) {
    using T = decltype(element);
    T* out = y.as<T>();
    parallel_blocks(y.numel(), key, [=](std::int64_t first, std::int64_t count, const auto& words) {
      for (std::int64_t j = 0; j < count; ++j)
        out[first + j] =
            static_cast<T>(low + (high - low) * static_cast<double>(uniform_from(words[static_cast<std::size_t>(j)])));
    });
  });
}

void fill_normal(Cpu, View y, double mean, double deviation, RandomKey key) {
  dispatch_floating(y.dtype, "fill_normal", [&](auto element) {
    using T = decltype(element);
    T* out = y.as<T>();
    parallel_blocks(y.numel(), key, [=](std::int64_t first, std::int64_t count, const auto& words) {
      for (std::int64_t j = 0; j < count; j += 2) {
        const auto pair = static_cast<std::size_t>(j);
        const double radius = std::sqrt(-2 * std::log(1 - static_cast<double>(uniform_from(words[pair]))));
        const double angle = 2 * std::numbers::pi * static_cast<double>(uniform_from(words[pair + 1]));
        out[first + j] = static_cast<T>(mean + deviation * radius * std::cos(angle));
        if (j + 1 < count)
          out[first + j + 1] = static_cast<T>(mean + deviation * radius * std::sin(angle));
      }
    });
  });
}

}  // namespace osteon::kernels
