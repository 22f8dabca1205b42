#include "backends/cuda/wkv_backward.hpp"
#include "backends/cuda/wkv_forward.hpp"

// RWKV-6: cpu/wkv6.cpp has the formulas. The state's rows here are the columns there.

namespace osteon::kernels {
namespace {

using namespace cuda;

/// exp(decay), finite also where exp of its negative is 0 long since. NaN stays.
template <class C>
__device__ C decay_rate(C decay) {
  return exp(decay > C(87) ? C(87) : decay);
}

template <class T>
struct Wkv6 {
  using C = compute_t<T>;
  static constexpr int kR = 0, kW = 1, kK = 2, kSequences = 3;
  static constexpr bool kReadsAfter = false;  ///< whether a token reads what it has written itself

  Global<const T> r, decay, k, v;

  struct Raw {
    T r, decay, k;
  };
  struct Targets {
    Target<T> r, decay, k, v;
  };

  static __device__ std::int64_t element(int row, int key, int n) { return std::int64_t{key} * n + row; }
  __device__ Raw load(std::int64_t i) const { return {r[i], decay[i], k[i]}; }
  static __device__ void make(const Raw& of, C (&to)[kSequences]) {
    to[kR] = cuda::load(of.r);
    to[kW] = exp(-decay_rate(cuda::load(of.decay)));
    to[kK] = cuda::load(of.k);
  }

  template <class Tile, class Token>
  static __device__ void advance(C (&s)[Tile::kValues][Tile::kKeys], const Token& token, C (&)[Tile::kValues]) {
    Tile::each([&](int i, int j) { s[i][j] = s[i][j] * token.keys[kW][j] + token.values[0][i] * token.keys[kK][j]; });
  }

  /// A step of `gradient` from behind the token to before it: sums [sequence, key] are its rows' parts of the gradients
  /// of what the token does, the result that of v in the row whose sum a fold leaves here.
  template <class Tile, class Token>
  static __device__ C step_back(const C (&before)[Tile::kValues][Tile::kKeys], const C (&)[Tile::kValues][Tile::kKeys],
                                const C (&)[Tile::kValues], const Token& token,
                                C (&gradient)[Tile::kValues][Tile::kKeys], C (&sums)[kSequences * Tile::kKeys]) {
    C dv[Tile::kValues];
    dot_rows<Tile>(gradient, token.keys[kK], dv);
    unrolled<kSequences * Tile::kKeys>([&](int i) { sums[i] = C(0); });
    Tile::each([&](int i, int j) {
      const C v = token.values[0][i], dy = token.values[1][i], p = before[i][j], g = gradient[i][j];
      sums[kR * Tile::kKeys + j] += dy * p;  // mutant product: kR is 0
      sums[kW * Tile::kKeys + j] += p * g;
      sums[kK * Tile::kKeys + j] += v * g;
      gradient[i][j] = token.keys[kW][j] * g + token.keys[kR][j] * dy;
    });
    return fold<Tile::kLanes>(dv);
  }

  /// From the sums over all rows, at element i of the sequences.
  __device__ void finish(std::int64_t i, const C (&sums)[kSequences], const Targets& to) const {
    const C rate = decay_rate(cuda::load(decay[i]));
    const auto put = [&](const Target<T>& target, C value) {
      if (target.data)
        target.store(i, value);
    };
    put(to.r, sums[kR]);
    put(to.k, sums[kK]);
    put(to.decay, -sums[kW] * exp(-rate) * rate);
  }
};

template <class T>
Wkv6<T> sequences(const Wkv6Inputs& in) {
  return {elements<T>(in.r), elements<T>(in.decay), elements<T>(in.k), elements<T>(in.v)};
}

}  // namespace

std::int64_t wkv_workspace(Cuda, std::int64_t n, DType states) { return WkvWorkspace(n, states).numbers; }

void wkv6(Cuda device, const Wkv6Inputs& in, View y, View state, View states) {
  const WkvExtents of("wkv6", in.r, state);
  for (const ConstView& other : {in.decay, in.k, in.v, ConstView(y)})
    expect_like("wkv6", "decay, k, v and y", other, in.r);
  dispatch_floating(in.r.dtype, "wkv6", [&](auto element) {
    using T = decltype(element);
    wkv_forward<Wkv6<T>, T>("wkv6", device, of, sequences<T>(in), in.first, y, state, states);
  });
}

void wkv6_backward(Cuda device, ConstView dy, const Wkv6Inputs& in, ConstView states, View workspace,
                   const Wkv6Gradients& grad) {
  const WkvExtents of("wkv6_backward", in.r, states);
  expect_like("wkv6_backward", "dy", dy, in.r);
  dispatch_floating(in.r.dtype, "wkv6_backward", [&](auto element) {
    using T = decltype(element);
    wkv_go_back<Wkv6<T>, T>("wkv6_backward", device, of, sequences<T>(in), dy, states, workspace,
                            {target<T>(grad.r), target<T>(grad.decay), target<T>(grad.k), target<T>(grad.v)},
                            grad.first);
  });
}

}  // namespace osteon::kernels
