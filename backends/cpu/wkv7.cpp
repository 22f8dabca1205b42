#include "backends/cpu/wkv.hpp"

// The recurrence of RWKV-7 (arXiv:2503.14456, "Goose"). A head has a state S [n, n], one row for each channel of its
// values, one column for each of its keys. Before a token writes its value at its key it removes, at a rate that the
// data decide, what stands at its removal key. With a = -removal, b = removal * rate, and
// w = exp(-exp(-1/2) sigmoid(decay)), which is exp(-exp(-softplus(-decay) - 1/2)), between 0.545 and 1:
//
//   S_t = S_{t-1} diag(w_t) + (S_{t-1} a_t^T) b_t + v_t^T k_t,    y_t = S_t r_t^T
//
// Backward, from the last token to the first, G = dL/dS_t, P = S_{t-1}, s = P a^T:
//   D = G + dy^T r            dr = dy S_t      dv = D k^T      dk = v D
//   dw_j = sum_i D_ij P_ij    db = s D         ds = D b^T      da = ds P
//   G <- D diag(w) + ds^T a
//   ddecay = -dw w exp(-1/2) sg (1 - sg),  dremoval = db rate - da,  drate = db removal
//
// The forward keeps every 16th state and the backward computes those of a chunk again: dividing by w would lose digits.
// Rows of S know nothing of each other: the backward takes a few of them through a chunk, forth and back.

namespace osteon::kernels {
namespace {

using namespace cpu;

constexpr double kSlowest = 0.60653065971263342;  // exp(-1/2)

/// The numbers of a head at a token, which lie one behind the other, [n] each: what it does to the state, and behind
/// these what a backward reads and sums.
template <class C>
struct Token {
  static constexpr std::int64_t kForward = 6, kAll = 14;
  C* data;
  std::int64_t n;

  C* r() const { return data; }
  C* w() const { return data + n; }
  C* k() const { return data + 2 * n; }
  C* a() const { return data + 3 * n; }
  C* b() const { return data + 4 * n; }
  C* v() const { return data + 5 * n; }
  C* slope() const { return data + 6 * n; }  ///< dw / ddecay
  C* dy() const { return data + 7 * n; }
  C* dr() const { return data + 8 * n; }
  C* dw() const { return data + 9 * n; }
  C* dk() const { return data + 10 * n; }
  C* da() const { return data + 11 * n; }
  C* db() const { return data + 12 * n; }
  C* dv() const { return data + 13 * n; }
};

template <class T>
void load_token(const Wkv7Inputs& in, std::int64_t at, const Token<compute_t<T>>& to, bool with_slope) {
  using C = compute_t<T>;
  const T *r = in.r.as<T>() + at, *decay = in.decay.as<T>() + at, *k = in.k.as<T>() + at, *v = in.v.as<T>() + at;
  const T *removal = in.removal.as<T>() + at, *rate = in.rate.as<T>() + at;
  each_vector<C>(0, to.n, [&](std::int64_t j, std::int64_t lanes) {
    const Vector<C> key = load_lanes<C>(removal + j, lanes), speed = load_lanes<C>(decay + j, lanes);
    const Vector<C> share = sigmoid_lanes(speed), w = exp_lanes(share * static_cast<C>(-kSlowest));
    store_lanes(to.r() + j, load_lanes<C>(r + j, lanes), lanes);
    store_lanes(to.w() + j, w, lanes);
    store_lanes(to.k() + j, load_lanes<C>(k + j, lanes), lanes);
    store_lanes(to.a() + j, -key, lanes);
    store_lanes(to.b() + j, key * load_lanes<C>(rate + j, lanes), lanes);
    store_lanes(to.v() + j, load_lanes<C>(v + j, lanes), lanes);
    if (with_slope)  // 1 - share would cancel near 1
      store_lanes(to.slope() + j, w * share * sigmoid_lanes(-speed) * static_cast<C>(-kSlowest), lanes);
  });
}

/// Rows [row, row + kRows) of S from one token to the next, what S a^T was into `removed`, y into `out` unless that is
/// null.
template <std::int64_t kRows, std::int64_t kHead, class C, class Out>
[[gnu::always_inline]] inline void advance(const Token<C>& token, std::int64_t row, const C* from, C* to, C* removed,
                                           Out out) {
  using V = Vector<C>;
  constexpr bool kReads = !std::is_null_pointer_v<Out>;
  const std::int64_t n = kHead > 0 ? kHead : token.n;
  const Token<C> at{token.data, n};
  V sum[kRows]{}, read[kRows]{};
  each_of_row<C, kHead>(n, [&](std::int64_t j, std::int64_t lanes) {
    const V a = load_lanes<C>(at.a() + j, lanes);
    for (std::int64_t i = 0; i < kRows; ++i)
      sum[i] = fused(load_lanes<C>(from + i * n + j, lanes), a, sum[i]);
  });
  lane_sums<kRows, C>(sum, removed);
  const C* const v = at.v() + row;
  each_of_row<C, kHead>(n, [&](std::int64_t j, std::int64_t lanes) {
    const V w = load_lanes<C>(at.w() + j, lanes), b = load_lanes<C>(at.b() + j, lanes);
    const V k = load_lanes<C>(at.k() + j, lanes), r = kReads ? load_lanes<C>(at.r() + j, lanes) : V{};
    for (std::int64_t i = 0; i < kRows; ++i) {
      const V kept = load_lanes<C>(from + i * n + j, lanes) * w;
      const V s = fused(broadcast<V>(v[i]), k, fused(broadcast<V>(removed[i]), b, kept));
      if constexpr (kReads)
        read[i] = fused(s, r, read[i]);
      store_lanes(to + i * n + j, s, lanes);
    }
  });
  if constexpr (kReads)
    lane_sums<kRows, C>(read, out);
}

/// Rows [begin, end) of one head through the whole sequence; `state` goes from the first to the last.
template <std::int64_t kHead, class T>
void forward(const WkvExtents& of, const Wkv7Inputs& in, std::int64_t item, std::int64_t begin, std::int64_t end, T* y,
             compute_t<T>* state, compute_t<T>* states) {
  using C = compute_t<T>;
  alignas(64) C numbers[Token<C>::kForward * kWkvHeadSize];
  const std::int64_t n = kHead > 0 ? kHead : of.n;
  const Token<C> token{numbers, n};
  for (std::int64_t t = 0; t < of.seq_len; ++t) {
    const std::int64_t at = of.at(item, t);
    if (states != nullptr && t % kWkvChunk == 0)
      std::copy(state + begin * n, state + end * n, states + (t / kWkvChunk * n + begin) * n);
    load_token<T>(in, at, token, false);
    each_group(begin, end, [&](std::int64_t row, auto rows) {
      C removed[rows()], out[rows()];
      advance<rows(), kHead>(token, row, state + row * n, state + row * n, removed, static_cast<C*>(out));
      for (std::int64_t i = 0; i < rows(); ++i)
        store(y[at + row + i], out[i]);
    });
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
        tokens_(states_ + (kWkvChunk + 1) * kWkvRows * n_),
        removed_(tokens_ + kWkvChunk * Token<C>::kAll * n_) {}

  void run(std::int64_t item, const T* dy, const Wkv7Inputs& in, const C* states, const Wkv7Gradients& grad) {
    const Targets targets{Target<T>(grad.r), Target<T>(grad.decay),   Target<T>(grad.k),
                          Target<T>(grad.v), Target<T>(grad.removal), Target<T>(grad.rate)};
    std::fill_n(gradient_, n_ * n_, C(0));
    for (std::int64_t chunk = wkv_states(of_.seq_len) - 1; chunk >= 0; --chunk) {
      const std::int64_t begin = chunk * kWkvChunk, steps = std::min(kWkvChunk, of_.seq_len - begin);
      for (std::int64_t t = 0; t < steps; ++t) {
        const std::int64_t at = of_.at(item, begin + t);
        load_token<T>(in, at, token(t), true);
        widen(dy + at, n_, token(t).dy());
        std::fill_n(token(t).dr(), token(t).dv() - token(t).dr(), C(0));
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
    Target<T> r, decay, k, v, removal, rate;
  };

  Token<C> token(std::int64_t t) const { return {tokens_ + t * Token<C>::kAll * n_, n_}; }

  /// Rows [row, row + count) of the state through a chunk, forth and back.
  void go_back(const C* first, std::int64_t row, std::int64_t count, std::int64_t steps) {
    std::copy_n(first + row * n_, count * n_, states_);
    const auto state = [&](std::int64_t t, std::int64_t i) { return states_ + (t * kWkvRows + i) * n_; };
    for (std::int64_t t = 0; t < steps; ++t)
      each_group(0, count, [&](std::int64_t i, auto rows) {
        advance<rows(), kHead>(token(t), row + i, state(t, i), state(t + 1, i), removed_ + t * kWkvRows + i, nullptr);
      });
    for (std::int64_t t = steps - 1; t >= 0; --t)
      each_group(0, count, [&](std::int64_t i, auto rows) {
        step_back<rows()>(token(t), row + i, gradient_ + (row + i) * n_, state(t, i), removed_ + t * kWkvRows + i);
      });
  }

  /// One step of kRows rows: P is `before`, S_t stands kWkvRows rows behind it, s is `removed`.
  template <std::int64_t kRows>
  static void step_back(const Token<C>& token, std::int64_t row, C* gradient, const C* before, const C* removed) {
    const std::int64_t n = kHead > 0 ? kHead : token.n;
    const Token<C> at{token.data, n};
    const C *const v = at.v() + row, *const dy = at.dy() + row, *const after = before + kWkvRows * n;
    V to_v[kRows]{}, to_s[kRows]{};
    each_of_row<C, kHead>(n, [&](std::int64_t j, std::int64_t lanes) {
      const V r = load_lanes<C>(at.r() + j, lanes), k = load_lanes<C>(at.k() + j, lanes),
              b = load_lanes<C>(at.b() + j, lanes);
      V dr = load_lanes<C>(at.dr() + j, lanes), dw = load_lanes<C>(at.dw() + j, lanes),
        dk = load_lanes<C>(at.dk() + j, lanes), db = load_lanes<C>(at.db() + j, lanes);
      for (std::int64_t i = 0; i < kRows; ++i) {
        const V grad = broadcast<V>(dy[i]), whole = fused(grad, r, load_lanes<C>(gradient + i * n + j, lanes));
        dr = fused(grad, load_lanes<C>(after + i * n + j, lanes), dr);
        dk = fused(broadcast<V>(v[i]), whole, dk);
        dw = fused(whole, load_lanes<C>(before + i * n + j, lanes), dw);
        db = fused(broadcast<V>(removed[i]), whole, db);
        to_v[i] = fused(whole, k, to_v[i]);
        to_s[i] = fused(whole, b, to_s[i]);
        store_lanes(gradient + i * n + j, whole, lanes);
      }
      store_lanes(at.dr() + j, dr, lanes);
      store_lanes(at.dw() + j, dw, lanes);
      store_lanes(at.dk() + j, dk, lanes);
      store_lanes(at.db() + j, db, lanes);
    });
    C ds[kRows];
    lane_sums<kRows, C>(to_v, at.dv() + row);
    lane_sums<kRows, C>(to_s, ds);
    each_of_row<C, kHead>(n, [&](std::int64_t j, std::int64_t lanes) {
      const V w = load_lanes<C>(at.w() + j, lanes), a = load_lanes<C>(at.a() + j, lanes);
      V da = load_lanes<C>(at.da() + j, lanes);
      for (std::int64_t i = 0; i < kRows; ++i) {
        C* const place = gradient + i * n + j;
        const V s = broadcast<V>(ds[i]);
        da = fused(s, load_lanes<C>(before + i * n + j, lanes), da);
        store_lanes(place, fused(s, a, load_lanes<C>(place, lanes) * w), lanes);
      }
      store_lanes(at.da() + j, da, lanes);
    });
  }

  /// One token's gradients to where they are wanted.
  static void write(std::int64_t at, const Token<C>& token, const Wkv7Inputs& in, const Targets& to) {
    const T *removal = in.removal.as<T>() + at, *rate = in.rate.as<T>() + at;
    each_vector<C>(0, token.n, [&](std::int64_t j, std::int64_t lanes) {
      const auto load_own = [&](const C* x) { return load_lanes<C>(x + j, lanes); };
      const V db = load_own(token.db());
      to.r.put(at + j, load_own(token.dr()), lanes);
      to.k.put(at + j, load_own(token.dk()), lanes);
      to.v.put(at + j, load_own(token.dv()), lanes);
      to.decay.put(at + j, load_own(token.dw()) * load_own(token.slope()), lanes);
      to.removal.put(at + j, db * load_lanes<C>(rate + j, lanes) - load_own(token.da()), lanes);
      to.rate.put(at + j, db * load_lanes<C>(removal + j, lanes), lanes);
    });
  }

  const WkvExtents& of_;
  std::int64_t n_;
  C *gradient_, *states_, *tokens_, *removed_;  ///< [n, n]; [chunk + 1, rows, n]; [chunk, 14, n]; [chunk, rows]
};

}  // namespace

void wkv7(Cpu, const Wkv7Inputs& in, View y, View state, View states) {
  const WkvExtents of("wkv7", in.r, state);
  for (const ConstView& other : {in.decay, in.k, in.v, in.removal, in.rate, ConstView(y)})
    expect_like("wkv7", "decay, k, v, removal, rate and y", other, in.r);
  forward_heads("wkv7", of, in.first, y, state, states,
                [&]<class T>(std::int64_t item, std::int64_t begin, std::int64_t end, T* out, compute_t<T>* last,
                             compute_t<T>* all) {
                  with_head_size(of.n, [&](auto n) { forward<n(), T>(of, in, item, begin, end, out, last, all); });
                });
}

void wkv7_backward(Cpu, ConstView dy, const Wkv7Inputs& in, ConstView states, View workspace,
                   const Wkv7Gradients& grad) {
  const WkvExtents of("wkv7_backward", in.r, states);
  expect_like("wkv7_backward", "dy", dy, in.r);
  backward_heads("wkv7_backward", of, 4, dy, states, workspace,
                 [&]<class T>(std::int64_t item, const T* grad_y, const compute_t<T>* all, compute_t<T>* memory) {
                   with_head_size(of.n, [&](auto n) { Backward<n(), T>(of, memory).run(item, grad_y, in, all, grad); });
                 });
}

}  // namespace osteon::kernels
