#include "backends/cpu/wkv.hpp"
#include "backends/gpu_workspace.hpp"

// The recurrence of RWKV-6 (arXiv:2404.05892, "Finch"). A head has a state S [n, n], one row for each channel of its
// keys, one column for each of its values. With w = exp(-exp(decay)), which the data decide channel by channel:
//
//   y_t = r_t S_{t-1}                                 (what the token itself adds, r (u k) v, is the op head_bonus)
//   S_t = diag(w_t) S_{t-1} + k_t^T v_t
//
// Backward, from the last token to the first, G = dL/dS_t, P = S_{t-1}:
//   dr_i = sum_j dy_j P_ij    dk_i = sum_j v_j G_ij    dv_j = sum_i k_i G_ij
//   dw_i = sum_j P_ij G_ij    ddecay = -dw w exp(decay)
//   G_ij <- w_i G_ij + r_i dy_j
//
// w may be 0, so P is not what S_t would give back: the forward keeps every 16th state, and the backward computes those
// of a chunk again. Columns of S know nothing of each other in the forward, rows nothing in the backward.

namespace osteon::kernels {
namespace {

using namespace cpu;

/// w = exp(-exp(decay))
template <class C>
Vector<C> kept_share(const Vector<C>& decay) {
  return exp_lanes(-exp_lanes(decay));
}

template <class T>
void load_decay(const T* decay, std::int64_t n, compute_t<T>* w) {
  using C = compute_t<T>;
  each_vector<C>(0, n, [=](std::int64_t j, std::int64_t lanes) {
    store_lanes(w + j, kept_share<C>(load_lanes<C>(decay + j, lanes)), lanes);
  });
}

/// Columns [begin, end) of one head through the whole sequence; `state` goes from the first to the last.
template <class T>
void forward(const WkvExtents& of, const Wkv6Inputs& in, std::int64_t item, std::int64_t begin, std::int64_t end, T* y,
             compute_t<T>* state, compute_t<T>* states) {
  using C = compute_t<T>;
  alignas(64) C r[kWkvHeadSize], w[kWkvHeadSize], k[kWkvHeadSize];
  const std::int64_t n = of.n, square = n * n;
  for (std::int64_t t = 0; t < of.seq_len; ++t) {
    const std::int64_t at = of.at(item, t);
    if (states != nullptr && t % kWkvChunk == 0)
      for (std::int64_t i = 0; i < n; ++i)
        std::copy(state + i * n + begin, state + i * n + end, states + t / kWkvChunk * square + i * n + begin);
    widen(in.r.as<T>() + at, n, r);
    widen(in.k.as<T>() + at, n, k);
    load_decay(in.decay.as<T>() + at, n, w);
    each_vector<C>(begin, end, [&](std::int64_t j, std::int64_t lanes) {
      const Vector<C> v = load_lanes<C>(in.v.as<T>() + at + j, lanes);
      Vector<C> sum{};
      for (std::int64_t i = 0; i < n; ++i) {
        const Vector<C> s = load_lanes<C>(state + i * n + j, lanes);
        sum = fused(broadcast<Vector<C>>(r[i]), s, sum);
        store_lanes(state + i * n + j, fused(broadcast<Vector<C>>(k[i]), v, s * w[i]), lanes);
      }
      store_lanes(y + at + j, sum, lanes);
    });
  }
}

/// One head going back: what it works with lies in its part of the workspace.
template <class T>
class Backward {
  using C = compute_t<T>;
  using V = Vector<C>;

 public:
  Backward(const WkvExtents& extents, C* memory) : of_(extents), n_(extents.n) {
    const auto take = [&](std::int64_t count) {
      C* const taken = memory;
      memory += count;
      return taken;
    };
    gradient_ = take(n_ * n_);
    states_ = take((kWkvChunk + 1) * kWkvRows * n_);
    for (C** sequence : {&r_, &w_, &k_, &v_, &dy_, &dr_, &dw_, &dk_, &dv_})
      *sequence = take(kWkvChunk * n_);
  }

  void run(std::int64_t item, const T* dy, const Wkv6Inputs& in, const C* states, const Wkv6Gradients& grad) {
    std::fill_n(gradient_, n_ * n_, C(0));
    for (std::int64_t chunk = wkv_states(of_.seq_len) - 1; chunk >= 0; --chunk) {
      const std::int64_t begin = chunk * kWkvChunk, steps = std::min(kWkvChunk, of_.seq_len - begin);
      for (std::int64_t t = 0; t < steps; ++t) {
        const std::int64_t at = of_.at(item, begin + t);
        widen(in.r.as<T>() + at, n_, r_ + t * n_);
        widen(in.k.as<T>() + at, n_, k_ + t * n_);
        widen(in.v.as<T>() + at, n_, v_ + t * n_);
        widen(dy + at, n_, dy_ + t * n_);
        load_decay(in.decay.as<T>() + at, n_, w_ + t * n_);
      }
      std::fill_n(dv_, steps * n_, C(0));
      for (std::int64_t row = 0; row < n_; row += kWkvRows)
        go_back(states + chunk * n_ * n_, row, std::min(kWkvRows, n_ - row), steps);
      for (std::int64_t t = 0; t < steps; ++t)
        write(of_.at(item, begin + t), t * n_, in, grad);
    }
    if (grad.first)
      each_vector<C>(0, n_ * n_, [&](std::int64_t i, std::int64_t lanes) {
        put(grad.first.view.as<C>() + item * n_ * n_ + i, load_lanes<C>(gradient_ + i, lanes), lanes, grad.first.add);
      });
  }

 private:
  /// Rows [row, row + count) of the state through a chunk, forth and back.
  void go_back(const C* first, std::int64_t row, std::int64_t count, std::int64_t steps) {
    std::copy_n(first + row * n_, count * n_, states_);
    for (std::int64_t t = 0; t + 1 < steps; ++t)
      for (std::int64_t i = 0; i < count; ++i) {
        const C *from = states_ + (t * kWkvRows + i) * n_, *v = v_ + t * n_;
        C* const to = states_ + ((t + 1) * kWkvRows + i) * n_;
        const V w = broadcast<V>(w_[t * n_ + row + i]), k = broadcast<V>(k_[t * n_ + row + i]);
        each_vector<C>(0, n_, [&](std::int64_t j, std::int64_t lanes) {
          store_lanes(to + j, fused(k, load_lanes<C>(v + j, lanes), load_lanes<C>(from + j, lanes) * w), lanes);
        });
      }
    for (std::int64_t t = steps - 1; t >= 0; --t)
      each_group(0, count, [&](std::int64_t i, auto rows) {
        step_back<rows()>(t * n_, row + i, states_ + (t * kWkvRows + i) * n_);
      });
  }

  /// One step of kRows rows: P -> `before`, at `t` among the numbers of the chunk.
  template <std::int64_t kRows>
  void step_back(std::int64_t t, std::int64_t row, const C* before) {
    V r[kRows]{}, k[kRows]{}, w[kRows]{};
    each_vector<C>(0, n_, [&](std::int64_t j, std::int64_t lanes) {
      const V dy = load_lanes<C>(dy_ + t + j, lanes), v = load_lanes<C>(v_ + t + j, lanes);
      V dv = load_lanes<C>(dv_ + t + j, lanes);
      for (std::int64_t i = 0; i < kRows; ++i) {
        C* const place = gradient_ + (row + i) * n_ + j;
        const V g = load_lanes<C>(place, lanes), p = load_lanes<C>(before + i * n_ + j, lanes);
        r[i] = fused(dy, p, r[i]);
        k[i] = fused(v, g, k[i]);
        w[i] = fused(p, g, w[i]);
        dv = fused(broadcast<V>(k_[t + row + i]), g, dv);
        store_lanes(place, fused(broadcast<V>(r_[t + row + i]), dy, g * w_[t + row + i]), lanes);
      }
      store_lanes(dv_ + t + j, dv, lanes);
    });
    for (std::int64_t i = 0; i < kRows; ++i) {
      dr_[t + row + i] = lane_sum<C>(r[i]);
      dk_[t + row + i] = lane_sum<C>(k[i]);
      dw_[t + row + i] = lane_sum<C>(w[i]);
    }
  }

  /// One token's gradients to where they are wanted.
  void write(std::int64_t at, std::int64_t t, const Wkv6Inputs& in, const Wkv6Gradients& grad) {
    each_vector<C>(0, n_, [&](std::int64_t j, std::int64_t lanes) {
      const auto to = [&](const Sink& sink, const V& value) {
        if (sink)
          put(sink.view.as<T>() + at + j, value, lanes, sink.add);
      };
      const V rate = exp_lanes(load_lanes<C>(in.decay.as<T>() + at + j, lanes));
      to(grad.r, load_lanes<C>(dr_ + t + j, lanes));
      to(grad.k, load_lanes<C>(dk_ + t + j, lanes));
      to(grad.v, load_lanes<C>(dv_ + t + j, lanes));
      to(grad.decay, -load_lanes<C>(dw_ + t + j, lanes) * load_lanes<C>(w_ + t + j, lanes) * rate);
    });
  }

  const WkvExtents& of_;
  std::int64_t n_;
  C *gradient_, *states_;                              ///< [n, n]; [chunk + 1, rows, n]
  C *r_, *w_, *k_, *v_, *dy_, *dr_, *dw_, *dk_, *dv_;  ///< of the chunk, [chunk, n]
};

}  // namespace

std::int64_t wkv_workspace(Cpu, std::int64_t n, DType /*states*/) {
  constexpr std::int64_t kSequences = 13;  // of RWKV-7: 7 that are read, 6 gradients
  return n * n + (kWkvChunk + 1) * kWkvRows * n + kSequences * kWkvChunk * n + kWkvChunk * kWkvRows;
}
std::int64_t wkv_workspace(Meta, std::int64_t n, DType states) {
  return planned_device() == Device::cuda ? WkvWorkspace(n, states).numbers : wkv_workspace(Cpu{}, n, states);
}

void wkv6(Cpu, const Wkv6Inputs& in, View y, View state, View states) {
  const WkvExtents of("wkv6", in.r, state);
  for (const ConstView& other : {in.decay, in.k, in.v, ConstView(y)})
    expect_like("wkv6", "decay, k, v and y", other, in.r);
  forward_heads("wkv6", of, in.first, y, state, states,
                [&]<class T>(std::int64_t item, std::int64_t begin, std::int64_t end, T* out, compute_t<T>* last,
                             compute_t<T>* all) { forward<T>(of, in, item, begin, end, out, last, all); });
}

void wkv6_backward(Cpu, ConstView dy, const Wkv6Inputs& in, ConstView states, View workspace,
                   const Wkv6Gradients& grad) {
  const WkvExtents of("wkv6_backward", in.r, states);
  expect_like("wkv6_backward", "dy", dy, in.r);
  backward_heads("wkv6_backward", of, 3, dy, states, workspace,
                 [&]<class T>(std::int64_t item, const T* grad_y, const compute_t<T>* all, compute_t<T>* memory) {
                   Backward<T>(of, memory).run(item, grad_y, in, all, grad);
                 });
}

}  // namespace osteon::kernels
