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

/// The numbers of a head at a token, which lie one behind the other, [n] each: what it does to the state, and behind
/// these what a backward reads and sums.
template <class C>
struct Token {
  static constexpr std::int64_t kForward = 4, kAll = 9;
  C* data;
  std::int64_t n;

  C* r() const { return data; }
  C* w() const { return data + n; }
  C* k() const { return data + 2 * n; }
  C* v() const { return data + 3 * n; }
  C* dy() const { return data + 4 * n; }
  C* dr() const { return data + 5 * n; }
  C* dw() const { return data + 6 * n; }
  C* dk() const { return data + 7 * n; }
  C* dv() const { return data + 8 * n; }
};

template <class T>
void load_token(const Wkv6Inputs& in, std::int64_t at, const Token<compute_t<T>>& to) {
  using C = compute_t<T>;
  const T *r = in.r.as<T>() + at, *decay = in.decay.as<T>() + at, *k = in.k.as<T>() + at, *v = in.v.as<T>() + at;
  each_vector<C>(0, to.n, [&](std::int64_t j, std::int64_t lanes) {
    store_lanes(to.r() + j, load_lanes<C>(r + j, lanes), lanes);
    store_lanes(to.w() + j, kept_share<C>(load_lanes<C>(decay + j, lanes)), lanes);
    store_lanes(to.k() + j, load_lanes<C>(k + j, lanes), lanes);
    store_lanes(to.v() + j, load_lanes<C>(v + j, lanes), lanes);
  });
}

/// kVectors vectors of columns of S from one token to the next; y's into `out`.
template <std::int64_t kVectors, std::int64_t kHead, class T>
[[gnu::always_inline]] inline void advance(const Token<compute_t<T>>& token, std::int64_t column, compute_t<T>* state,
                                           T* out, std::int64_t lanes) {
  using C = compute_t<T>;
  using V = Vector<C>;
  const std::int64_t n = kHead > 0 ? kHead : token.n;
  const Token<C> at{token.data, n};
  V v[kVectors], sum[kVectors]{};
  for (std::int64_t j = 0; j < kVectors; ++j)
    v[j] = load_lanes<C>(at.v() + column + j * kLanes<C>, lanes);
  for (std::int64_t i = 0; i < n; ++i) {
    const V r = broadcast<V>(at.r()[i]), w = broadcast<V>(at.w()[i]), k = broadcast<V>(at.k()[i]);
    for (std::int64_t j = 0; j < kVectors; ++j) {
      C* const place = state + i * n + column + j * kLanes<C>;
      const V s = load_lanes<C>(place, lanes);
      sum[j] = fused(r, s, sum[j]);
      store_lanes(place, fused(k, v[j], s * w), lanes);
    }
  }
  for (std::int64_t j = 0; j < kVectors; ++j)
    store_lanes(out + column + j * kLanes<C>, sum[j], lanes);
}

/// Columns [begin, end) of one head through the whole sequence; `state` goes from the first to the last.
template <std::int64_t kHead, class T>
void forward(const WkvExtents& of, const Wkv6Inputs& in, std::int64_t item, std::int64_t begin, std::int64_t end, T* y,
             compute_t<T>* state, compute_t<T>* states) {
  using C = compute_t<T>;
  constexpr std::int64_t kVectors = 4;
  alignas(64) C numbers[Token<C>::kForward * kWkvHeadSize];
  const std::int64_t n = kHead > 0 ? kHead : of.n, square = n * n;
  const Token<C> token{numbers, n};
  for (std::int64_t t = 0; t < of.seq_len; ++t) {
    const std::int64_t at = of.at(item, t);
    if (states != nullptr && t % kWkvChunk == 0)
      for (std::int64_t i = 0; i < n; ++i)
        std::copy(state + i * n + begin, state + i * n + end, states + t / kWkvChunk * square + i * n + begin);
    load_token<T>(in, at, token);
    std::int64_t j = begin;
    for (; j + kVectors * kLanes<C> <= end; j += kVectors * kLanes<C>)
      advance<kVectors, kHead>(token, j, state, y + at, kLanes<C>);
    for (; j < end; j += kLanes<C>)
      advance<1, kHead>(token, j, state, y + at, std::min(kLanes<C>, end - j));
  }
}

/// One head going back: what it works with lies in its part of the workspace.
template <std::int64_t kHead, class T>
class Backward {
  using C = compute_t<T>;
  using V = Vector<C>;

 public:
  Backward(const WkvExtents& extents, C* memory)
      : of_(extents),
        n_(kHead > 0 ? kHead : extents.n),
        gradient_(memory),
        states_(gradient_ + n_ * n_),
        tokens_(states_ + (kWkvChunk + 1) * kWkvRows * n_) {}

  void run(std::int64_t item, const T* dy, const Wkv6Inputs& in, const C* states, const Wkv6Gradients& grad) {
    const Targets targets{Target<T>(grad.r), Target<T>(grad.decay), Target<T>(grad.k), Target<T>(grad.v)};
    std::fill_n(gradient_, n_ * n_, C(0));
    for (std::int64_t chunk = wkv_states(of_.seq_len) - 1; chunk >= 0; --chunk) {
      const std::int64_t begin = chunk * kWkvChunk, steps = std::min(kWkvChunk, of_.seq_len - begin);
      for (std::int64_t t = 0; t < steps; ++t) {
        const std::int64_t at = of_.at(item, begin + t);
        load_token<T>(in, at, token(t));
        widen(dy + at, n_, token(t).dy());
        std::fill_n(token(t).dv(), n_, C(0));
      }
      for (std::int64_t row = 0; row < n_; row += kWkvRows)
        go_back(states + chunk * n_ * n_, row, std::min(kWkvRows, n_ - row), steps);
      for (std::int64_t t = 0; t < steps; ++t)
        write(of_.at(item, begin + t), token(t), in, targets);
    }
    put_state<C>(grad.first, item, n_, gradient_);
  }

 private:
  struct Targets {
    Target<T> r, decay, k, v;
  };

  Token<C> token(std::int64_t t) const { return {tokens_ + t * Token<C>::kAll * n_, n_}; }

  /// Rows [row, row + count) of the state through a chunk, forth and back.
  void go_back(const C* first, std::int64_t row, std::int64_t count, std::int64_t steps) {
    std::copy_n(first + row * n_, count * n_, states_);
    const auto state = [&](std::int64_t t, std::int64_t i) { return states_ + (t * kWkvRows + i) * n_; };
    for (std::int64_t t = 0; t + 1 < steps; ++t)
      each_group(0, count, [&](std::int64_t i, auto rows) { again<rows()>(token(t), row + i, state(t, i)); });
    for (std::int64_t t = steps - 1; t >= 0; --t)
      each_group(0, count, [&](std::int64_t i, auto rows) {
        step_back<rows()>(token(t), row + i, gradient_ + (row + i) * n_, state(t, i));
      });
  }

  /// kRows rows of S from one token to the next, which stand kWkvRows rows further on.
  template <std::int64_t kRows>
  static void again(const Token<C>& token, std::int64_t row, C* from) {
    const std::int64_t n = kHead > 0 ? kHead : token.n;
    const Token<C> at{token.data, n};
    const C *const w = at.w() + row, *const k = at.k() + row;
    C* const to = from + kWkvRows * n;
    each_of_row<C, kHead>(n, [&](std::int64_t j, std::int64_t lanes) {
      const V v = load_lanes<C>(at.v() + j, lanes);
      for (std::int64_t i = 0; i < kRows; ++i)
        store_lanes(to + i * n + j,
                    fused(broadcast<V>(k[i]), v, load_lanes<C>(from + i * n + j, lanes) * broadcast<V>(w[i])), lanes);
    });
  }

  /// One step of kRows rows: P is `before`.
  template <std::int64_t kRows>
  static void step_back(const Token<C>& token, std::int64_t row, C* gradient, const C* before) {
    const std::int64_t n = kHead > 0 ? kHead : token.n;
    const Token<C> at{token.data, n};
    const C *const r = at.r() + row, *const w = at.w() + row, *const k = at.k() + row;
    V to_r[kRows]{}, to_k[kRows]{}, to_w[kRows]{};
    each_of_row<C, kHead>(n, [&](std::int64_t j, std::int64_t lanes) {
      const V dy = load_lanes<C>(at.dy() + j, lanes), v = load_lanes<C>(at.v() + j, lanes);
      V dv = load_lanes<C>(at.dv() + j, lanes);
      for (std::int64_t i = 0; i < kRows; ++i) {
        C* const place = gradient + i * n + j;
        const V g = load_lanes<C>(place, lanes), p = load_lanes<C>(before + i * n + j, lanes);
        to_r[i] = fused(dy, p, to_r[i]);
        to_k[i] = fused(v, g, to_k[i]);
        to_w[i] = fused(p, g, to_w[i]);
        dv = fused(broadcast<V>(k[i]), g, dv);
        store_lanes(place, fused(broadcast<V>(r[i]), dy, g * broadcast<V>(w[i])), lanes);
      }
      store_lanes(at.dv() + j, dv, lanes);
    });
    lane_sums<kRows, C>(to_r, at.dr() + row);
    lane_sums<kRows, C>(to_k, at.dk() + row);
    lane_sums<kRows, C>(to_w, at.dw() + row);
  }

  /// One token's gradients to where they are wanted.
  static void write(std::int64_t at, const Token<C>& token, const Wkv6Inputs& in, const Targets& to) {
    const T* const decay = in.decay.as<T>() + at;
    each_vector<C>(0, token.n, [&](std::int64_t j, std::int64_t lanes) {
      const auto load_own = [&](const C* x) { return load_lanes<C>(x + j, lanes); };
      const V rate = exp_lanes(load_lanes<C>(decay + j, lanes));
      to.r.put(at + j, load_own(token.dr()), lanes);
      to.k.put(at + j, load_own(token.dk()), lanes);
      to.v.put(at + j, load_own(token.dv()), lanes);
      to.decay.put(at + j, -load_own(token.dw()) * load_own(token.w()) * rate, lanes);
    });
  }

  const WkvExtents& of_;
  std::int64_t n_;
  C *gradient_, *states_, *tokens_;  ///< [n, n]; [chunk + 1, rows, n]; [chunk, 9, n]
};

}  // namespace

std::int64_t wkv_workspace(Cpu, std::int64_t n, DType /*states*/) {
  constexpr std::int64_t kSequences = 14;  // of RWKV-7: 8 that are read, 6 gradients
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
                             compute_t<T>* all) {
                  with_head_size(of.n, [&](auto n) { forward<n(), T>(of, in, item, begin, end, out, last, all); });
                });
}

void wkv6_backward(Cpu, ConstView dy, const Wkv6Inputs& in, ConstView states, View workspace,
                   const Wkv6Gradients& grad) {
  const WkvExtents of("wkv6_backward", in.r, states);
  expect_like("wkv6_backward", "dy", dy, in.r);
  backward_heads("wkv6_backward", of, 3, dy, states, workspace,
                 [&]<class T>(std::int64_t item, const T* grad_y, const compute_t<T>* all, compute_t<T>* memory) {
                   with_head_size(of.n, [&](auto n) { Backward<n(), T>(of, memory).run(item, grad_y, in, all, grad); });
                 });
}

}  // namespace osteon::kernels
