#include <numbers>

#include "backends/cuda/simt.hpp"
#include "backends/kernels/random.hpp"

namespace osteon::kernels {
namespace {

using namespace cuda;

constexpr int kWords = 4;  // of a block of the stream

/// f.operator()<kPack>(i, words) for every pack of elements, `words` those of the stream from first + i on: a pack's
/// are in one block, so where kCount is above 1, `first` is a multiple of kWords.
template <int kCount, class F>
__device__ void for_words(std::int64_t count, RandomKey key, std::int64_t first, const F& f) {
  for_packs<kCount>(count, [&]<int kPack>(std::int64_t i) {
    const auto block = philox(key, static_cast<std::uint64_t>((first + i) / kWords));
    Pack<std::uint32_t, kPack> words;
    for (int k = 0; k < kPack; ++k)
      words[k] = block[static_cast<std::size_t>((first + i) % kWords + k)];
    f.template operator()<kPack>(i, words);
  });
}

/// Elements whose 24 random bits are at least `threshold` stay: integers, so that all dtypes drop the same ones.
template <int kCount, class T>
__global__ void dropout_kernel(std::int64_t count, RandomKey key, std::int64_t first, std::uint32_t threshold,
                               compute_t<T> factor, Global<const T> x, Target<T> y) {
  using C = compute_t<T>;
  for_words<kCount>(count, key, first, [&]<int kPack>(std::int64_t i, const Pack<std::uint32_t, kPack>& words) {
    const auto in = load_pack<kPack>(x, i);
    Pack<C, kPack> out;
    for (int k = 0; k < kPack; ++k)
      out[k] = words[k] >> 8 >= threshold ? load(in[k]) * factor : C(0);
    y.store_pack(i, out);
  });
}

template <int kCount, class T>
__global__ void fill_uniform_kernel(std::int64_t count, RandomKey key, double low, double high, Global<T> y) {
  for_words<kCount>(count, key, 0, [&]<int kPack>(std::int64_t i, const Pack<std::uint32_t, kPack>& words) {
    Pack<T, kPack> out;
    for (int k = 0; k < kPack; ++k)
      out[k] = static_cast<T>(low + (high - low) * static_cast<double>(uniform_from(words[k])));
    store_pack(y, i, out);
  });
}

/// Box-Muller in double on pairs of the stream; a thread has the whole block that its pair is in.
template <class T>
__global__ void fill_normal_kernel(std::int64_t count, RandomKey key, double mean, double deviation, Global<T> y) {
  const std::int64_t pairs = (count + 1) / 2, step = std::int64_t{gridDim.x} * blockDim.x;
  for (std::int64_t pair = std::int64_t{blockIdx.x} * blockDim.x + threadIdx.x; pair < pairs; pair += step) {
    const auto block = philox(key, static_cast<std::uint64_t>(pair / 2));
    const auto first = static_cast<std::size_t>(pair % 2 * 2);
    const double radius = sqrt(-2 * log(1 - static_cast<double>(uniform_from(block[first]))));
    const double angle = 2 * std::numbers::pi * static_cast<double>(uniform_from(block[first + 1]));
    y[2 * pair] = static_cast<T>(mean + deviation * (radius * cos(angle)));
    if (2 * pair + 1 < count)
      y[2 * pair + 1] = static_cast<T>(mean + deviation * (radius * sin(angle)));
  }
}

}  // namespace

void dropout(Cuda device, ConstView x, double p, RandomKey key, Sink y, std::int64_t first) {
  expect_like("dropout", "y", y.view, x);
  check<ConfigError>(0 <= p && p <= 1, "dropout: p: expected a probability, got ", p);
  const auto threshold = static_cast<std::uint32_t>(std::ceil(p * 0x1p24));  // uniform < p, in units of 2^-24
  const std::int64_t count = x.numel();
  dispatch_floating(x.dtype, "dropout", [&](auto element) {
    using T = decltype(element);
    using C = compute_t<T>;
    if (count == 0)
      return;
    const auto in = elements<T>(x);
    const Target<T> out = target<T>(y);
    const C factor = p < 1 ? static_cast<C>(1 / (1 - p)) : C(0);
    const bool packs = first % kWords == 0 && holds_packs<kWords>(in) && holds_packs<kWords>(out.data);
    dispatch_pack<kWords>(packs, [&](auto pack) {
      launch("dropout", dropout_kernel<pack, T>, blocks_for(count, kMaxThreads * pack), kMaxThreads, 0, device, count,
             key, first, threshold, factor, in, out);
    });
  });
}

void fill_uniform(Cuda device, View y, double low, double high, RandomKey key) {
  const std::int64_t count = y.numel();
  dispatch_floating(y.dtype, "fill_uniform", [&](auto element) {
    using T = decltype(element);
    if (count == 0)
      return;
    const auto out = elements<T>(y);
    dispatch_pack<kWords>(holds_packs<kWords>(out), [&](auto pack) {
      launch("fill_uniform", fill_uniform_kernel<pack, T>, blocks_for(count, kMaxThreads * pack), kMaxThreads, 0,
             device, count, key, low, high, out);
    });
  });
}

void fill_normal(Cuda device, View y, double mean, double deviation, RandomKey key) {
  const std::int64_t count = y.numel();
  dispatch_floating(y.dtype, "fill_normal", [&](auto element) {
    using T = decltype(element);
    if (count > 0)
      launch("fill_normal", fill_normal_kernel<T>, blocks_for(count, 2 * kMaxThreads), kMaxThreads, 0, device, count,
             key, mean, deviation, elements<T>(y));
  });
}

}  // namespace osteon::kernels
