#include "backends/cuda/simt.hpp"
#include "backends/cuda/token_parts.hpp"

namespace osteon::cuda {
namespace {

// There are few elements, and so few threads: each has so many loads on their way.
constexpr int kPartsAhead = 4;

template <int kCount, class P, class T>
__global__ void token_parts_kernel(std::int64_t count, std::int64_t parts, Global<const P> x, Target<T> out) {
  for_packs<kCount>(count, [&]<int kPack>(std::int64_t i) {
    Pack<T, kPack> sums{};
    const auto add = [&](const Pack<P, kPack>& part) {
      for (int k = 0; k < kPack; ++k)
        sums[k] = static_cast<T>(static_cast<P>(sums[k]) + part[k]);
    };
    std::int64_t n = 0;
    if (out.add)
      sums = load_pack<kPack>(out.data, i);
    else {
      const auto first = load_pack<kPack>(x, i);
      for (int k = 0; k < kPack; ++k)
        sums[k] = static_cast<T>(first[k]);
      n = 1;
    }
    for (; n + kPartsAhead - 1 < parts; n += kPartsAhead) {  // mutant: the rest, one by one
      Pack<P, kPack> packs[kPartsAhead];
      unrolled<kPartsAhead>([&](int ahead) { packs[ahead] = load_pack<kPack>(x, (n + ahead) * count + i); });
      unrolled<kPartsAhead>([&](int ahead) { add(packs[ahead]); });
    }
    for (; n < parts; ++n)
      add(load_pack<kPack>(x, n * count + i));
    store_pack(out.data, i, sums);
  });
}

}  // namespace

void add_token_parts(Cuda device, ConstView parts, Sink out) {
  const std::int64_t count = out.view.numel();
  const auto sum_to = [&]<class P, class T>(P, T) {
    constexpr int kCount = kPackOf<P>;
    const auto x = elements<P>(parts);
    const Target<T> to = target<T>(out);
    dispatch_pack<kCount>(
        count % kCount == 0 && holds_packs<kCount>(x) && holds_packs<kCount>(to.data), [&](auto pack) {
          launch("gemm_tokens", token_parts_kernel<pack, P, T>, blocks_for(count, kMaxThreads * std::int64_t{pack}),
                 kMaxThreads, 0, device, count, parts.numel() / count, x, to);
        });
  };
  if (parts.dtype == DType::f64)
    sum_to(double{}, double{});
  else if (out.view.dtype == DType::f32)
    sum_to(float{}, float{});
  else
    sum_to(float{}, bf16{});
}

}  // namespace osteon::cuda
