#include "backends/cuda/wkv_backward.hpp"
#include "backends/cuda/wkv_forward.hpp"

// RWKV-7: cpu/wkv7.cpp has the formulas.

namespace osteon::kernels {
namespace {

using namespace cuda;

constexpr double kSlowest = 0.60653065971263342;  // exp(-1/2)

template <class T>
struct Wkv7 {
  using C = compute_t<T>;
  static constexpr int kR = 0, kW = 1, kK = 2, kA = 3, kB = 4, kSequences = 5;
  static constexpr bool kReadsAfter = true;  ///< whether a token reads what it has written itself

  Global<const T> r, decay, k, removal, rate, v;

  struct Raw {
    T r, decay, k, removal, rate;
  };
  struct Targets {
    Target<T> r, decay, k, removal, rate, v;
  };

  static __device__ std::int64_t element(int row, int key, int n) { return std::int64_t{row} * n + key; }
  __device__ Raw load(std::int64_t i) const { return {r[i], decay[i], k[i], removal[i], rate[i]}; }
  static __device__ void make(const Raw& of, C (&to)[kSequences]) {
    const C key = cuda::load(of.removal);
    to[kR] = cuda::load(of.r);
    to[kW] = exp(sigmoid(cuda::load(of.decay)) * static_cast<C>(-kSlowest));
    to[kK] = cuda::load(of.k);
    to[kA] = -key;
    to[kB] = key * cuda::load(of.rate);
  }

  template <class Tile, class Token>
  static __device__ void advance(C (&s)[Tile::kValues][Tile::kKeys], const Token& token, C (&removed)[Tile::kValues]) {
    C along[Tile::kValues];
    dot_rows<Tile>(s, token.keys[kA], along);
    spread<Tile::kLanes>(fold<Tile::kLanes>(along), removed);
    Tile::each([&](int i, int j) {
      s[i][j] = s[i][j] * token.keys[kW][j] + removed[i] * token.keys[kB][j] + token.values[0][i] * token.keys[kK][j];
    });
  }

  /// A step of `gradient` from behind the token to before it: sums [sequence, key] are its rows' parts of the gradients
  /// of what the token does, the result that of v in the row whose sum a fold leaves here.
  template <class Tile, class Token>
  static __device__ C step_back(const C (&before)[Tile::kValues][Tile::kKeys],
                                const C (&after)[Tile::kValues][Tile::kKeys], const C (&removed)[Tile::kValues],
                                const Token& token, C (&gradient)[Tile::kValues][Tile::kKeys],
                                C (&sums)[kSequences * Tile::kKeys]) {
    unrolled<kSequences * Tile::kKeys>([&](int i) { sums[i] = C(0); });
    Tile::each([&](int i, int j) {
      const C v = token.values[0][i], dy = token.values[1][i];
      const C g = gradient[i][j] + dy * token.keys[kR][j];
      gradient[i][j] = g;
      sums[kR * Tile::kKeys + j] += dy * after[i][j];  // mutant product: kR is 0
      sums[kW * Tile::kKeys + j] += g * before[i][j];
      sums[kK * Tile::kKeys + j] += v * g;
      sums[kB * Tile::kKeys + j] += removed[i] * g;
    });
    C dv[Tile::kValues], ds[Tile::kValues], of_row[Tile::kValues];
    dot_rows<Tile>(gradient, token.keys[kK], dv);
    dot_rows<Tile>(gradient, token.keys[kB], ds);
    spread<Tile::kLanes>(fold<Tile::kLanes>(ds), of_row);
    Tile::each([&](int i, int j) {
      sums[kA * Tile::kKeys + j] += of_row[i] * before[i][j];
      gradient[i][j] = gradient[i][j] * token.keys[kW][j] + of_row[i] * token.keys[kA][j];
    });
    return fold<Tile::kLanes>(dv);
  }

  /// From the sums over all rows, at element i of the sequences.
  __device__ void finish(std::int64_t i, const C (&sums)[kSequences], const Targets& to) const {
    const C key = cuda::load(removal[i]), share = cuda::load(rate[i]), x = cuda::load(decay[i]);
    const C below = sigmoid(x), w = exp(below * static_cast<C>(-kSlowest));
    const auto put = [&](const Target<T>& target, C value) {
      if (target.data)
        target.store(i, value);
    };
    put(to.r, sums[kR]);
    put(to.k, sums[kK]);
    put(to.decay, sums[kW] * w * (below * sigmoid(-x)) * static_cast<C>(-kSlowest));  // 1 - below would cancel near 1
    put(to.removal, sums[kB] * share - sums[kA]);
    put(to.rate, sums[kB] * key);
  }
};

template <class T>
Wkv7<T> sequences(const Wkv7Inputs& in) {
  return {elements<T>(in.r),       elements<T>(in.decay), elements<T>(in.k),
          elements<T>(in.removal), elements<T>(in.rate),  elements<T>(in.v)};
}

}  // namespace

void wkv7(Cuda device, const Wkv7Inputs& in, View y, View state, View states) {
  const WkvExtents of("wkv7", in.r, state);
  for (const ConstView& other : {in.decay, in.k, in.v, in.removal, in.rate, ConstView(y)})
    expect_like("wkv7", "decay, k, v, removal, rate and y", other, in.r);
  dispatch_floating(in.r.dtype, "wkv7", [&](auto element) {
    using T = decltype(element);
    wkv_forward<Wkv7<T>, T>("wkv7", device, of, sequences<T>(in), in.first, y, state, states);
  });
}

void wkv7_backward(Cuda device, ConstView dy, const Wkv7Inputs& in, ConstView states, View workspace,
                   const Wkv7Gradients& grad) {
  const WkvExtents of("wkv7_backward", in.r, states);
  expect_like("wkv7_backward", "dy", dy, in.r);
  dispatch_floating(in.r.dtype, "wkv7_backward", [&](auto element) {
    using T = decltype(element);
    wkv_go_back<Wkv7<T>, T>("wkv7_backward", device, of, sequences<T>(in), dy, states, workspace,
                            {target<T>(grad.r), target<T>(grad.decay), target<T>(grad.k), target<T>(grad.removal),
                             target<T>(grad.rate), target<T>(grad.v)},
                            grad.first);
  });
}

}  // namespace osteon::kernels
