#include "backends/cuda/column_chain.hpp"
#include "backends/kernels/time_mix.hpp"
#include "backends/rwkv_checks.hpp"

namespace osteon::kernels {
namespace {

using namespace cuda;

/// The operands, and rows as the recurrence over tokens sees them.
template <class T>
struct Rows {
  using C = compute_t<T>;
  Global<const T> x, mix, extra, last;
  std::int64_t seq_len, d;

  /// x_{t-1} - x_t
  template <int kPack>
  __device__ Pack<C, kPack> way(std::int64_t row, std::int64_t column) const {
    const auto here = load_pack<kPack>(x, row * d + column);
    Pack<T, kPack> before{};
    if (row % seq_len != 0)
      before = load_pack<kPack>(x, (row - 1) * d + column);
    else if (last)
      before = load_pack<kPack>(last, row / seq_len * d + column);
    Pack<C, kPack> result;
    for (int k = 0; k < kPack; ++k)
      result[k] = load(before[k]) - load(here[k]);
    return result;
  }
  /// m_t
  template <int kPack>
  __device__ Pack<C, kPack> share(std::int64_t row, std::int64_t column) const {
    const auto own = load_pack<kPack>(mix, column);
    const auto more = extra ? load_pack<kPack>(extra, row * d + column) : Pack<T, kPack>{};
    Pack<C, kPack> result;
    for (int k = 0; k < kPack; ++k)
      result[k] = load(own[k]) + load(more[k]);
    return result;
  }

  template <int kCount>
  bool hold() const {
    return d % kCount == 0 && all_hold_packs<kCount>(x, mix, extra, last);
  }
};

template <int kCount, class T>
__global__ void time_mix_kernel(std::int64_t count, Rows<T> rows, Global<T> y) {
  for (std::int64_t row = first_row(); row < count; row += row_step())
    for_packs<kCount>(rows.d, [&]<int kPack>(std::int64_t column) {
      const auto here = load_pack<kPack>(rows.x, row * rows.d + column);
      const auto way = rows.template way<kPack>(row, column), share = rows.template share<kPack>(row, column);
      Pack<T, kPack> out;
      for (int k = 0; k < kPack; ++k)
        out[k] = static_cast<T>(load(here[k]) + way[k] * share[k]);
      store_pack(y, row * rows.d + column, out);
    });
}

template <int kCount, class T>
__global__ void time_mix_backward_kernel(std::int64_t count, Rows<T> rows, Global<const T> dy, Target<T> dx,
                                         Target<T> dextra) {
  using C = compute_t<T>;
  for (std::int64_t row = first_row(); row < count; row += row_step())
    for_packs<kCount>(rows.d, [&]<int kPack>(std::int64_t column) {
      const std::int64_t i = row * rows.d + column;
      const auto here = load_pack<kPack>(dy, i);
      if (dextra.data) {
        const auto way = rows.template way<kPack>(row, column);
        Pack<C, kPack> to_extra;
        for (int k = 0; k < kPack; ++k)
          to_extra[k] = load(here[k]) * way[k];
        dextra.store_pack(i, to_extra);
      }
      if (!dx.data)
        return;
      const auto share = rows.template share<kPack>(row, column);
      Pack<C, kPack> to_x;
      for (int k = 0; k < kPack; ++k)
        to_x[k] = load(here[k]) - load(here[k]) * share[k];
      if ((row + 1) % rows.seq_len != 0) {
        const auto next = load_pack<kPack>(dy, i + rows.d);
        const auto next_share = rows.template share<kPack>(row + 1, column);
        for (int k = 0; k < kPack; ++k)
          to_x[k] += load(next[k]) * next_share[k];
      }
      dx.store_pack(i, to_x);
    });
}

/// What a row adds to the mix's gradient.
template <class T>
struct MixTerm {
  Rows<T> rows;
  Global<const T> dy;
  __device__ compute_t<T> operator()(std::int64_t i, std::int64_t row, std::int64_t column) const {
    return load(dy[i]) * rows.template way<1>(row, column)[0];
  }
};

template <class T>
Rows<T> rows_of(const ConstView& x, const ConstView& mix, const ConstView& extra, const ConstView& last) {
  return {elements<T>(x), elements<T>(mix), elements<T>(extra), elements<T>(last), x.dim(1), x.dim(2)};
}

}  // namespace

void time_mix(Cuda device, ConstView x, ConstView mix, ConstView extra, ConstView last, View y) {
  check_time_mix(x, mix, extra, last, y);
  dispatch_floating(x.dtype, "time_mix", [&](auto element) {
    using T = decltype(element);
    constexpr int kCount = kPackOf<T>;
    const Rows<T> rows = rows_of<T>(x, mix, extra, last);
    const auto out = elements<T>(y);
    if (x.numel() == 0)
      return;
    dispatch_pack<kCount>(rows.template hold<kCount>() && holds_packs<kCount>(out), [&](auto pack) {
      const Plane plane(x.rows(), rows.d / pack);
      launch("time_mix", time_mix_kernel<pack, T>, plane.grid, plane.block, 0, device, x.rows(), rows, out);
    });
  });
}

void time_mix_backward(Cuda device, ConstView dy, ConstView x, ConstView mix, ConstView extra, ConstView last, Sink dx,
                       Sink dmix, Sink dextra) {
  check_time_mix_backward(dy, x, mix, extra, last, dx, dmix, dextra);
  dispatch_floating(x.dtype, "time_mix_backward", [&](auto element) {
    using T = decltype(element);
    constexpr int kCount = kPackOf<T>;
    const Rows<T> rows = rows_of<T>(x, mix, extra, last);
    const auto g = elements<T>(dy);
    if (dmix)
      dispatch_floating(dmix.view.dtype, "time_mix_backward", [&](auto sum_element) {
        using To = decltype(sum_element);
        column_chain<common_t<T, To>>("time_mix_dmix", device, x.rows(), rows.d, MixTerm<T>{rows, g}, target<To>(dmix));
      });
    const Target<T> to_x = target<T>(dx), to_extra = target<T>(dextra);
    if (x.numel() == 0 || !(dx || dextra))
      return;
    const bool packs = rows.template hold<kCount>() && all_hold_packs<kCount>(g, to_x.data, to_extra.data);
    dispatch_pack<kCount>(packs, [&](auto pack) {
      const Plane plane(x.rows(), rows.d / pack);
      launch("time_mix_backward", time_mix_backward_kernel<pack, T>, plane.grid, plane.block, 0, device, x.rows(), rows,
             g, to_x, to_extra);
    });
  });
}

}  // namespace osteon::kernels
