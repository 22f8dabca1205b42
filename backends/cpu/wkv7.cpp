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

/// What a token does to a head, [n] each.
template <class C>
struct Step {
  C *r, *w, *k, *a, *b;
};

template <class T>
void load_step(const Wkv7Inputs& in, std::int64_t at, std::int64_t n, const Step<compute_t<T>>& to) {
  using C = compute_t<T>;
  const T *r = in.r.as<T>() + at, *decay = in.decay.as<T>() + at, *k = in.k.as<T>() + at;
  const T *removal = in.removal.as<T>() + at, *rate = in.rate.as<T>() + at;
  each_vector<C>(0, n, [&](std::int64_t j, std::int64_t lanes) {
    const Vector<C> key = load_lanes<C>(removal + j, lanes);
    store_lanes(to.r + j, load_lanes<C>(r + j, lanes), lanes);
    store_lanes(to.k + j, load_lanes<C>(k + j, lanes), lanes);
    store_lanes(to.w + j, exp_lanes(sigmoid_lanes(load_lanes<C>(decay + j, lanes)) * static_cast<C>(-kSlowest)), lanes);
    store_lanes(to.a + j, -key, lanes);
    store_lanes(to.b + j, key * load_lanes<C>(rate + j, lanes), lanes);
  });
}

/// kRows rows of S from one token to the next; `read(i, y_i)` and `removed(i, s_i)` get what they give. Rows share the
/// loads of what the token does.
template <std::int64_t kRows, class C, class Read, class Removed>
void advance(const C* from, C* to, std::int64_t n, const Step<C>& at, const C* v, const Read& read,
             const Removed& removed) {
  using V = Vector<C>;
  V sum[kRows]{}, out[kRows]{}, removes[kRows], writes[kRows];
  each_vector<C>(0, n, [&](std::int64_t j, std::int64_t lanes) {
    const V a = load_lanes<C>(at.a + j, lanes);
    for (std::int64_t i = 0; i < kRows; ++i)
      sum[i] = fused(load_lanes<C>(from + i * n + j, lanes), a, sum[i]);
  });
  for (std::int64_t i = 0; i < kRows; ++i) {
    const C s = lane_sum<C>(sum[i]);
    removed(i, s);
    removes[i] = broadcast<V>(s), writes[i] = broadcast<V>(v[i]);
  }
  each_vector<C>(0, n, [&](std::int64_t j, std::int64_t lanes) {
    const V w = load_lanes<C>(at.w + j, lanes), b = load_lanes<C>(at.b + j, lanes);
    const V k = load_lanes<C>(at.k + j, lanes), r = load_lanes<C>(at.r + j, lanes);
    for (std::int64_t i = 0; i < kRows; ++i) {
      const V s = fused(writes[i], k, fused(removes[i], b, load_lanes<C>(from + i * n + j, lanes) * w));
      out[i] = fused(s, r, out[i]);
      store_lanes(to + i * n + j, s, lanes);
    }
  });
  for (std::int64_t i = 0; i < kRows; ++i)
    read(i, lane_sum<C>(out[i]));
}

/// Rows [begin, end) of one head through the whole sequence; `state` goes from the first to the last.
template <class T>
void forward(const WkvExtents& of, const Wkv7Inputs& in, std::int64_t item, std::int64_t begin, std::int64_t end, T* y,
             compute_t<T>* state, compute_t<T>* states) {
  using C = compute_t<T>;
  alignas(64) C r[kWkvHeadSize], w[kWkvHeadSize], k[kWkvHeadSize], a[kWkvHeadSize], b[kWkvHeadSize], v[kWkvHeadSize];
  const Step<C> step{r, w, k, a, b};
  const std::int64_t n = of.n;
  for (std::int64_t t = 0; t < of.seq_len; ++t) {
    const std::int64_t at = of.at(item, t);
    if (states != nullptr && t % kWkvChunk == 0)
      std::copy(state + begin * n, state + end * n, states + (t / kWkvChunk * n + begin) * n);
    load_step<T>(in, at, n, step);
    widen(in.v.as<T>() + at, n, v);
    each_group(begin, end, [&](std::int64_t row, auto rows) {
      advance<rows()>(
          state + row * n, state + row * n, n, step, v + row,
          [&](std::int64_t i, C value) { store(y[at + row + i], value); }, [](std::int64_t, C) {});
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
    removed_ = take(kWkvChunk * kWkvRows);
    for (C** sequence : {&in_.r, &in_.w, &in_.k, &in_.a, &in_.b, &v_, &dy_, &d_.r, &d_.w, &d_.k, &d_.a, &d_.b, &dv_})
      *sequence = take(kWkvChunk * n_);
  }

  void run(std::int64_t item, const T* dy, const Wkv7Inputs& in, const C* states, const Wkv7Gradients& grad) {
    std::fill_n(gradient_, n_ * n_, C(0));
    for (std::int64_t chunk = wkv_states(of_.seq_len) - 1; chunk >= 0; --chunk) {
      const std::int64_t begin = chunk * kWkvChunk, steps = std::min(kWkvChunk, of_.seq_len - begin);
      for (std::int64_t t = 0; t < steps; ++t) {
        const std::int64_t at = of_.at(item, begin + t);
        load_step<T>(in, at, n_, step(in_, t));
        widen(in.v.as<T>() + at, n_, v_ + t * n_);
        widen(dy + at, n_, dy_ + t * n_);
      }
      for (C* sequence : {d_.r, d_.w, d_.k, d_.a, d_.b})
        std::fill_n(sequence, steps * n_, C(0));
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
  Step<C> step(const Step<C>& of, std::int64_t t) const {
    return {of.r + t * n_, of.w + t * n_, of.k + t * n_, of.a + t * n_, of.b + t * n_};
  }

  /// Rows [row, row + count) of the state through a chunk, forth and back.
  void go_back(const C* first, std::int64_t row, std::int64_t count, std::int64_t steps) {
    std::copy_n(first + row * n_, count * n_, states_);
    const auto state = [&](std::int64_t t, std::int64_t i) { return states_ + (t * kWkvRows + i) * n_; };
    for (std::int64_t t = 0; t < steps; ++t)
      each_group(0, count, [&](std::int64_t i, auto rows) {
        advance<rows()>(
            state(t, i), state(t + 1, i), n_, step(in_, t), v_ + t * n_ + row + i, [](std::int64_t, C) {},
            [&](std::int64_t own, C value) { removed_[t * kWkvRows + i + own] = value; });
      });
    for (std::int64_t t = steps - 1; t >= 0; --t)
      each_group(0, count, [&](std::int64_t i, auto rows) {
        step_back<rows()>(t, row + i, state(t, i), state(t + 1, i), removed_ + t * kWkvRows + i);
      });
  }

  /// One step of kRows rows: P and S_t are `before` and `after`, s is `removed`.
  template <std::int64_t kRows>
  void step_back(std::int64_t t, std::int64_t row, const C* before, const C* after, const C* removed) {
    const Step<C> in = step(in_, t), d = step(d_, t);
    const C *v = v_ + t * n_ + row, *dy = dy_ + t * n_ + row;
    C* const gradient = gradient_ + row * n_;
    V to_v[kRows]{}, to_s[kRows]{};
    each_vector<C>(0, n_, [&](std::int64_t j, std::int64_t lanes) {
      const V r = load_lanes<C>(in.r + j, lanes), k = load_lanes<C>(in.k + j, lanes),
              b = load_lanes<C>(in.b + j, lanes);
      V dr = load_lanes<C>(d.r + j, lanes), dw = load_lanes<C>(d.w + j, lanes), dk = load_lanes<C>(d.k + j, lanes),
        db = load_lanes<C>(d.b + j, lanes);
      for (std::int64_t i = 0; i < kRows; ++i) {
        const V grad = broadcast<V>(dy[i]), whole = fused(grad, r, load_lanes<C>(gradient + i * n_ + j, lanes));
        dr = fused(grad, load_lanes<C>(after + i * n_ + j, lanes), dr);
        dk = fused(broadcast<V>(v[i]), whole, dk);
        dw = fused(whole, load_lanes<C>(before + i * n_ + j, lanes), dw);
        db = fused(broadcast<V>(removed[i]), whole, db);
        to_v[i] = fused(whole, k, to_v[i]);
        to_s[i] = fused(whole, b, to_s[i]);
        store_lanes(gradient + i * n_ + j, whole, lanes);
      }
      store_lanes(d.r + j, dr, lanes);
      store_lanes(d.w + j, dw, lanes);
      store_lanes(d.k + j, dk, lanes);
      store_lanes(d.b + j, db, lanes);
    });
    V ds[kRows];
    for (std::int64_t i = 0; i < kRows; ++i) {
      dv_[t * n_ + row + i] = lane_sum<C>(to_v[i]);
      ds[i] = broadcast<V>(lane_sum<C>(to_s[i]));
    }
    each_vector<C>(0, n_, [&](std::int64_t j, std::int64_t lanes) {
      const V w = load_lanes<C>(in.w + j, lanes), a = load_lanes<C>(in.a + j, lanes);
      V da = load_lanes<C>(d.a + j, lanes);
      for (std::int64_t i = 0; i < kRows; ++i) {
        C* const place = gradient + i * n_ + j;
        da = fused(ds[i], load_lanes<C>(before + i * n_ + j, lanes), da);
        store_lanes(place, fused(ds[i], a, load_lanes<C>(place, lanes) * w), lanes);
      }
      store_lanes(d.a + j, da, lanes);
    });
  }

  /// One token's gradients to where they are wanted.
  void write(std::int64_t at, std::int64_t t, const Wkv7Inputs& in, const Wkv7Gradients& grad) {
    each_vector<C>(0, n_, [&](std::int64_t j, std::int64_t lanes) {
      const auto to = [&](const Sink& sink, const V& value) {
        if (sink)
          put(sink.view.as<T>() + at + j, value, lanes, sink.add);
      };
      const auto load_in = [&](const ConstView& x) { return load_lanes<C>(x.as<T>() + at + j, lanes); };
      const auto load_own = [&](const C* x) { return load_lanes<C>(x + t + j, lanes); };
      const V removal = load_in(in.removal), rate = load_in(in.rate), decay = load_in(in.decay);
      const V slope = sigmoid_lanes(decay) * sigmoid_lanes(-decay);  // 1 - sg would cancel near 1
      const V db = load_own(d_.b), dw = load_own(d_.w) * load_own(in_.w);
      to(grad.r, load_own(d_.r));
      to(grad.k, load_own(d_.k));
      to(grad.v, load_own(dv_));
      to(grad.decay, dw * slope * static_cast<C>(-kSlowest));
      to(grad.removal, db * rate - load_own(d_.a));
      to(grad.rate, db * removal);
    });
  }

  const WkvExtents& of_;
  std::int64_t n_;
  C *gradient_, *states_, *removed_;  ///< [n, n]; [chunk + 1, rows, n]; [chunk, rows]
  Step<C> in_, d_;                    ///< of the chunk, [chunk, n] each: inputs, and their gradients
  C *v_, *dy_, *dv_;
};

}  // namespace

void wkv7(Cpu, const Wkv7Inputs& in, View y, View state, View states) {
  const WkvExtents of("wkv7", in.r, state);
  for (const ConstView& other : {in.decay, in.k, in.v, in.removal, in.rate, ConstView(y)})
    expect_like("wkv7", "decay, k, v, removal, rate and y", other, in.r);
  forward_heads("wkv7", of, in.first, y, state, states,
                [&]<class T>(std::int64_t item, std::int64_t begin, std::int64_t end, T* out, compute_t<T>* last,
                             compute_t<T>* all) { forward<T>(of, in, item, begin, end, out, last, all); });
}

void wkv7_backward(Cpu, ConstView dy, const Wkv7Inputs& in, ConstView states, View workspace,
                   const Wkv7Gradients& grad) {
  const WkvExtents of("wkv7_backward", in.r, states);
  expect_like("wkv7_backward", "dy", dy, in.r);
  backward_heads("wkv7_backward", of, 4, dy, states, workspace,
                 [&]<class T>(std::int64_t item, const T* grad_y, const compute_t<T>* all, compute_t<T>* memory) {
                   Backward<T>(of, memory).run(item, grad_y, in, all, grad);
                 });
}

}  // namespace osteon::kernels
