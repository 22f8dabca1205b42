#include "backends/kernels/time_mix.hpp"

#include "backends/cpu/column_chain.hpp"
#include "backends/cpu/lane_math.hpp"
#include "backends/rwkv_checks.hpp"

namespace osteon::kernels {
namespace {

using namespace cpu;

/// The operands as pointers, and rows as the recurrence over tokens sees them.
template <class T>
struct Rows {
  using C = compute_t<T>;
  using V = Vector<C>;
  const T *x, *mix, *extra, *last;
  std::int64_t seq_len, d;

  Rows(const ConstView& in, const ConstView& channel_mix, const ConstView& more, const ConstView& before)
      : x(in.as<T>()),
        mix(channel_mix.as<T>()),
        extra(more ? more.as<T>() : nullptr),
        last(before ? before.as<T>() : nullptr),
        seq_len(in.dim(1)),
        d(in.dim(2)) {}

  /// The row before `row`; null where that is 0.
  const T* before(std::int64_t row) const {
    if (row % seq_len != 0)
      return x + (row - 1) * d;
    return last != nullptr ? last + row / seq_len * d : nullptr;
  }
  /// x_{t-1} - x_t at channel j
  V way(std::int64_t row, const T* previous, std::int64_t j, std::int64_t lanes) const {
    const V here = load_lanes<C>(x + row * d + j, lanes);
    return previous != nullptr ? load_lanes<C>(previous + j, lanes) - here : -here;
  }
  /// m_t at channel j
  V share(std::int64_t row, std::int64_t j, std::int64_t lanes) const {
    const V own = load_lanes<C>(mix + j, lanes);
    return extra != nullptr ? own + load_lanes<C>(extra + row * d + j, lanes) : own;
  }
};

/// dmix (+)= sum over rows, in order, of dy (x_{t-1} - x_t): a chain for each column, columns in parallel.
template <class T>
void mix_gradient(const Rows<T>& rows, const T* dy, std::int64_t count, const Sink& dmix) {
  using C = compute_t<T>;
  dispatch_floating(dmix.view.dtype, "time_mix_backward", [&](auto element) {
    using W = decltype(element);
    W* out = dmix.view.as<W>();
    parallel_ranges(rows.d, count, 64, [=, add = dmix.add](std::int64_t begin, std::int64_t end) {
      each_vector<C>(begin, end, [=](std::int64_t j, std::int64_t lanes) {
        Vector<C> chain{};
        if (add)
          for (std::int64_t lane = 0; lane < lanes; ++lane)
            chain[lane] = static_cast<C>(out[j + lane]);
        for (std::int64_t row = 0; row < count; ++row)
          chain += load_lanes<C>(dy + row * rows.d + j, lanes) * rows.way(row, rows.before(row), j, lanes);
        for (std::int64_t lane = 0; lane < lanes; ++lane)
          store(out[j + lane], chain[lane]);
      });
    });
  });
}

}  // namespace

void time_mix(Cpu, ConstView x, ConstView mix, ConstView extra, ConstView last, View y) {
  check_time_mix(x, mix, extra, last, y);
  dispatch_floating(x.dtype, "time_mix", [&](auto element) {
    using T = decltype(element);
    using C = compute_t<T>;
    const Rows<T> rows(x, mix, extra, last);
    T* out = y.as<T>();
    parallel_rows(x.rows(), rows.d, [=](std::int64_t row) {
      const T* previous = rows.before(row);
      each_vector<C>(0, rows.d, [=](std::int64_t j, std::int64_t lanes) {
        const Vector<C> here = load_lanes<C>(rows.x + row * rows.d + j, lanes);
        store_lanes(out + row * rows.d + j, fused(rows.way(row, previous, j, lanes), rows.share(row, j, lanes), here),
                    lanes);
      });
    });
  });
}

void time_mix_backward(Cpu, ConstView dy, ConstView x, ConstView mix, ConstView extra, ConstView last, Sink dx,
                       Sink dmix, Sink dextra) {
  check_time_mix_backward(dy, x, mix, extra, last, dx, dmix, dextra);
  dispatch_floating(x.dtype, "time_mix_backward", [&](auto element) {
    using T = decltype(element);
    using C = compute_t<T>;
    const Rows<T> rows(x, mix, extra, last);
    const std::int64_t d = rows.d;
    const T* g = dy.as<T>();
    if (dmix)
      mix_gradient(rows, g, x.rows(), dmix);
    T* const to_x = dx ? dx.view.as<T>() : nullptr;
    T* const to_extra = dextra ? dextra.view.as<T>() : nullptr;
    if (to_x == nullptr && to_extra == nullptr)
      return;
    parallel_rows(x.rows(), d, [=, add_x = dx.add, add_extra = dextra.add](std::int64_t row) {
      const bool has_next = (row + 1) % rows.seq_len != 0;
      each_vector<C>(0, d, [=](std::int64_t j, std::int64_t lanes) {
        const Vector<C> here = load_lanes<C>(g + row * d + j, lanes);
        if (to_extra != nullptr)
          put_lanes(to_extra + row * d + j, here * rows.way(row, rows.before(row), j, lanes), lanes, add_extra);
        if (to_x == nullptr)
          return;
        Vector<C> value = here - here * rows.share(row, j, lanes);
        if (has_next)
          value = fused(load_lanes<C>(g + (row + 1) * d + j, lanes), rows.share(row + 1, j, lanes), value);
        put_lanes(to_x + row * d + j, value, lanes, add_x);
      });
    });
  });
}

}  // namespace osteon::kernels
