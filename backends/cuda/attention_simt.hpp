#pragma once

#include "backends/cuda/attention_tiles.hpp"

namespace osteon::cuda {

// Attention's products without tensor cores, for f32 and f64 and for head sizes that those do not take. A block of
// 16 x 16 threads has square panels in shared memory: kSide vectors of kSide features, or the weights of kSide rows and
// keys. A thread has kEach x kEach scores, those of the block's own vectors y kEach + i with the others' x + 16 j, and
// the sums of its own vectors for the features of a pack.

template <class C>
struct Panel {
  static constexpr int kThreads = 256, kAcross = 16;
  static constexpr int kEach = kPackOf<C>;
  static constexpr int kSide = kAcross * kEach;       ///< 64 for f32, 32 for f64
  static constexpr int kStride = kSide + kPackOf<C>;  ///< 16 bytes more, for vectors of rows that lie in other banks
  static constexpr int kSize = kSide * kStride;

  using Tile = C[kEach][kEach];
  using Vector = Pack<C, kEach>;
};

__device__ inline int panel_x() { return static_cast<int>(threadIdx.x) % 16; }
__device__ inline int panel_y() { return static_cast<int>(threadIdx.x) / 16; }

/// Whether any of the thread's own vectors is there: where few are, as in decoding, most warps have nothing to
/// multiply.
template <class Own>
__device__ bool panel_is_mine(const Own& own, int first, int each) {
  return first + panel_y() * each < own.count();  // mutant: sums that are not stored
}

/// Elements of which a thread loads one vector; `packs`: whether every vector of a row is aligned.
template <class T>
struct PanelSource {
  Global<const T> data;
  bool packs;
};
template <class T>
PanelSource<T> panel_source(const ConstView& view) {
  constexpr int kCount = Panel<compute_t<T>>::kEach;
  const auto data = elements<T>(view);
  return {data, view.dim(3) % kCount == 0 && holds_packs<kCount>(data)};
}

/// Features [feature, feature + kSide) of the vectors first + r into the panel at `to`; zeros for vectors outside of
/// [begin, end) and features beyond the last.
template <class Side, class T, class Panels>
__device__ void load_panel(Panels& panels, int to, const Side& side, const PanelSource<T>& from, int first, int begin,
                           int end, int feature) {
  using C = compute_t<T>;
  using P = Panel<C>;
  const int column = feature + panel_x() * P::kEach, features = side.p.head_dim;
  for (int i = 0; i < P::kEach; ++i) {
    const int r = panel_y() + P::kAcross * i, n = first + r;
    typename P::Vector values{};
    if (begin <= n && n < end) {
      const std::int64_t at = side.offset(n) + column;
      if (from.packs && column < features) {
        const auto in = load_pack<P::kEach>(from.data, at);
        for (int k = 0; k < P::kEach; ++k)
          values[k] = load(in[k]);
      } else {
        for (int k = 0; k < P::kEach && column + k < features; ++k)
          values[k] = load(from.data[at + k]);
      }
    }
    store_pack(panels, to + r * P::kStride + panel_x() * P::kEach, values);
  }
}

/// scores += own panel times other panel, over `features` of them.
template <class C, class Panels>
__device__ void add_scores(Panels& panels, int own, int other, int features, typename Panel<C>::Tile& scores) {
  using P = Panel<C>;
  for (int c = 0; c < features; c += P::kEach) {  // mutant: the panels end in zeros
    typename P::Vector a[P::kEach], b[P::kEach];
    for (int i = 0; i < P::kEach; ++i) {
      a[i] = load_pack<P::kEach>(panels, own + (panel_y() * P::kEach + i) * P::kStride + c);
      b[i] = load_pack<P::kEach>(panels, other + (panel_x() + P::kAcross * i) * P::kStride + c);
    }
    for (int i = 0; i < P::kEach; ++i)
      for (int j = 0; j < P::kEach; ++j)
        for (int k = 0; k < P::kEach; ++k)
          scores[i][j] += a[i][k] * b[j][k];
  }
}

/// The scores of the block's own vectors with those from `first` on. All threads must call; the panels at `own` and
/// `other` are overwritten.
template <class Own, class Other, class T, class Panels>
__device__ void panel_scores(Panels& panels, int own, int other, const Own& own_side, const PanelSource<T>& own_data,
                             int own_first, const Other& other_side, const PanelSource<T>& other_data, int first,
                             int begin, int end, typename Panel<compute_t<T>>::Tile& scores) {
  using P = Panel<compute_t<T>>;
  for (auto& row : scores)
    for (auto& score : row)
      score = 0;
  for (int feature = 0; feature < own_side.p.head_dim; feature += P::kSide) {  // mutant: zeros
    __syncthreads();
    load_panel(panels, own, own_side, own_data, own_first, 0, own_side.count(), feature);
    load_panel(panels, other, other_side, other_data, first, begin, end, feature);
    __syncthreads();
    if (panel_is_mine(own_side, own_first, P::kEach))
      add_scores<compute_t<T>>(panels, own, other, std::min(own_side.p.head_dim - feature, int{P::kSide}), scores);
  }
}

/// Sums of a thread's own vectors: kEach of them, a pack of features for every panel of features.
template <class C, int kDim>
struct PanelSums {
  using P = Panel<C>;
  static constexpr int kChunks = kDim / P::kSide;
  typename P::Vector sums[kChunks][P::kEach] = {};

  __device__ void scale(const C (&factors)[P::kEach]) {
    unrolled<kChunks>([&](int chunk) {
      for (int i = 0; i < P::kEach; ++i)
        for (int k = 0; k < P::kEach; ++k)
          sums[chunk][i][k] *= factors[i];
    });
  }

  /// sums += weights times the vectors from `first` on, in threads whose own vectors are there (`mine`). All must call;
  /// the panels at `weights_at` and `other` are overwritten.
  template <class Other, class T, class Panels>
  __device__ void add(Panels& panels, int weights_at, int other, const typename P::Tile& weights, bool mine,
                      const Other& other_side, const PanelSource<T>& data, int first, int begin, int end) {
    const int x = panel_x(), y = panel_y();
    unrolled<kChunks>([&](int chunk) {
      const int feature = chunk * P::kSide, features = other_side.p.head_dim;
      if (feature >= features)
        return;
      __syncthreads();
      if (chunk == 0)
        for (int i = 0; i < P::kEach; ++i)
          for (int j = 0; j < P::kEach; ++j)
            panels[weights_at + (y * P::kEach + i) * P::kStride + x + P::kAcross * j] = weights[i][j];
      load_panel(panels, other, other_side, data, first, begin, end, feature);
      __syncthreads();
      const bool sums_any = mine && feature + x * P::kEach < features;  // mutant: sums that are not stored
      const int count = sums_any ? std::min(end - first, int{P::kSide}) : 0;
      for (int n = 0; n < count; n += P::kEach) {  // mutant: what follows the last vector is zeros
        typename P::Vector w[P::kEach];
        for (int i = 0; i < P::kEach; ++i)
          w[i] = load_pack<P::kEach>(panels, weights_at + (y * P::kEach + i) * P::kStride + n);
        for (int k = 0; k < P::kEach; ++k) {
          const typename P::Vector v = load_pack<P::kEach>(panels, other + (n + k) * P::kStride + x * P::kEach);
          for (int i = 0; i < P::kEach; ++i)
            for (int e = 0; e < P::kEach; ++e)
              sums[chunk][i][e] += w[i][k] * v[e];
        }
      }
    });
  }

  /// out (+)= factor(i) times the sums of the own vectors.
  template <class Own, class T, class Factor>
  __device__ void store(const Own& own, int first, const Target<T>& out, bool packs, const Factor& factor) const {
    unrolled<kChunks>([&](int chunk) {
      const int column = chunk * P::kSide + panel_x() * P::kEach;
      for (int i = 0; i < P::kEach; ++i) {
        const int n = first + panel_y() * P::kEach + i;
        if (n >= own.count() || column >= own.p.head_dim)
          continue;
        typename P::Vector values = sums[chunk][i];
        for (int k = 0; k < P::kEach; ++k)
          values[k] *= factor(i);
        const std::int64_t at = own.offset(n) + column;
        if (packs)
          out.store_pack(at, values);
        else
          for (int k = 0; k < P::kEach && column + k < own.p.head_dim; ++k)
            out.store(at + k, values[k]);
      }
    });
  }
};

}  // namespace osteon::cuda
