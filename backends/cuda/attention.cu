#include "backends/cuda/attention_simt.hpp"
#include "backends/cuda/attention_tensor_core.hpp"
#include "backends/kernels/attention.hpp"

namespace osteon::kernels {
namespace {

using namespace cuda;

template <class T>
struct Operands {
  using C = compute_t<T>;
  PanelSource<T> q, k, v;
  C scale;  ///< of the scores
};

template <int kDim, class T>
__global__ void attention_kernel(AttentionProblem p, Operands<T> x, Global<T> o, bool o_packs, Global<compute_t<T>> lse,
                                 Global<unsigned long long> report) {
  using C = compute_t<T>;
  using P = Panel<C>;
  auto&& panels = dynamic_shared<C>();
  constexpr int kOther = P::kSize, kWeights = 2 * P::kSize;
  const TileOfBlock tile(p, P::kSide, true);
  const Rows rows{p, tile.b, tile.kv};
  const Keys keys{p, tile.b, tile.kv};
  const KeyRange all = range_of_tile<P::kSide>(p, tile.b, tile.first, report);
  KeyRange seen[P::kEach];
  for (int i = 0; i < P::kEach; ++i)
    seen[i] = p.range_of(tile.b, tile.first + panel_y() * P::kEach + i);
  const C exponent = x.scale * static_cast<C>(kLog2E);
  RunningSoftmax<C, P::kAcross> softmax[P::kEach];
  PanelSums<C, kDim> sums;
  typename P::Tile scores;
  for (int first = all.begin / P::kSide * P::kSide; first < all.end; first += P::kSide) {  // mutant: an empty tile
    panel_scores(panels, 0, kOther, rows, x.q, tile.first, keys, x.k, first, all.begin, all.end, scores);
    C shrink[P::kEach];
    for (int i = 0; i < P::kEach; ++i) {
      for (int j = 0; j < P::kEach; ++j)
        if (const int key = first + panel_x() + P::kAcross * j; key < seen[i].begin || key >= seen[i].end)
          scores[i][j] = -std::numeric_limits<C>::infinity();
      shrink[i] = softmax[i].template update<P::kEach>(exponent, [&](int j) -> C& { return scores[i][j]; });
    }
    sums.scale(shrink);
    sums.add(panels, kWeights, kOther, scores, panel_is_mine(rows, tile.first, P::kEach), keys, x.v, first, all.begin,
             all.end);
  }
  sums.store(rows, tile.first, Target<T>{o}, o_packs,
             [&](int i) { return seen[i].begin < seen[i].end ? C(1) / softmax[i].total : C(0); });
  for (int i = 0; i < P::kEach; ++i)
    if (const int row = tile.first + panel_y() * P::kEach + i; panel_x() == 0 && row < p.rows())
      lse[p.row_index(tile.b, tile.kv, row)] = softmax[i].log_sum(x.scale);
}

/// Rows of a block, and keys that it meets at a time.
constexpr int kCoreRows = 64;
template <int kDim>
constexpr int kCoreKeys = kDim <= 128 ? 64 : 32;  // registers and shared memory for several blocks at a time

template <int kDim>
__global__ void attention_core_kernel(AttentionProblem p, Operands<bf16> x, Global<bf16> o, Global<float> lse,
                                      Global<unsigned long long> report) {
  using C = CoreTile<kDim>;
  constexpr int kKeys = kCoreKeys<kDim>, kKeysAt = kCoreRows * C::kStride, kValuesAt = kKeysAt + kKeys * C::kStride;
  auto&& tiles = dynamic_shared<bf16>();
  const TileOfBlock tile(p, kCoreRows, true);
  const Rows rows{p, tile.b, tile.kv};
  const Keys keys{p, tile.b, tile.kv};
  const int warp = static_cast<int>(threadIdx.x) / kWarp, own = tile.first + 16 * warp;
  const KeyRange all = range_of_tile<kCoreRows>(p, tile.b, tile.first, report);
  const KeyRange seen[2] = {p.range_of(tile.b, own + own_of_lane(0)), p.range_of(tile.b, own + own_of_lane(1))};
  const float exponent = x.scale * static_cast<float>(kLog2E);
  RunningSoftmax<float, 4> softmax[2];
  Accumulator scores[kKeys / 8], sums[kDim / 8] = {};
  int first = all.begin / kKeys * kKeys;
  if (first < all.end) {  // mutant: copies that nobody waits for
    copy_vectors<kDim, kCoreRows>(tiles, 0, rows, x.q.data, tile.first, 0, rows.count());
    copy_vectors<kDim, kKeys>(tiles, kKeysAt, keys, x.k.data, first, all.begin, all.end);
  }
  for (; first < all.end; first += kKeys) {  // mutant: a tile more, which is empty
    // Values come while scores are computed, the next keys while values are summed.
    wait_for_copies();
    __syncthreads();
    copy_vectors<kDim, kKeys>(tiles, kValuesAt, keys, x.v.data, first, all.begin, all.end);
    core_scores<kDim, kKeys>(tiles, 16 * warp * C::kStride, kKeysAt, scores);
    unrolled<2>([&](int half) {
      const KeyRange sees = seen[half];
      if (sees.begin > first || sees.end < first + kKeys)  // mutant: masks what is seen anyway: nothing
        unrolled<kKeys / 4>([&](int i) {
          const int key = first + i / 2 * 8 + column_of_lane() + i % 2;
          if (key < sees.begin || key >= sees.end)
            scores[i / 2].value[2 * half + i % 2] = -std::numeric_limits<float>::infinity();
        });
      const float shrink = softmax[half].template update<kKeys / 4>(
          exponent, [&](int i) -> float& { return scores[i / 2].value[2 * half + i % 2]; });
      unrolled<kDim / 8>([&](int n) {
        sums[n].value[2 * half] *= shrink;
        sums[n].value[2 * half + 1] *= shrink;
      });
    });
    const CoreWeights<kKeys> weights(scores);
    wait_for_copies();
    __syncthreads();
    if (first + kKeys < all.end)  // mutant: a tile more on its way, which is empty
      copy_vectors<kDim, kKeys>(tiles, kKeysAt, keys, x.k.data, first + kKeys, all.begin, all.end);
    add_core_values<kDim, kKeys, kDim>(tiles, kValuesAt, weights, sums);
  }
  const auto sees_any = [&](int half) { return seen[half].begin < seen[half].end; };
  store_core_sums<kDim>(rows, own, 0, sums, Target<bf16>{o},
                        [&](int half) { return sees_any(half) ? 1 / softmax[half].total : 0.0F; });
  unrolled<2>([&](int half) {
    if (const int row = own + own_of_lane(half); column_of_lane() == 0 && row < p.rows())
      lse[p.row_index(tile.b, tile.kv, row)] = softmax[half].log_sum(x.scale);
  });
}

}  // namespace

void attention(Cuda device, ConstView q, ConstView k, ConstView v, ConstView key_range, double scale, View o,
               View lse) {
  check_attention("attention", q, k, v, key_range, scale, o, lse);
  count_attention(Device::cuda, q.shape, k.shape, 4);
  const AttentionProblem p(q, k, key_range);
  if (p.row_count() == 0 || p.sequences() == 0)
    return;
  const auto report = report_ranges("attention", device, key_range, p.keys);
  dispatch_floating(q.dtype, "attention", [&]<class T>(T) {
    using C = compute_t<T>;
    using P = Panel<C>;
    const Operands<T> x{panel_source<T>(q), panel_source<T>(k), panel_source<T>(v), static_cast<C>(scale)};
    dispatch_head_dim(p.head_dim, [&](auto dim) {
      if constexpr (std::is_same_v<T, bf16>)
        if (fits_tensor_cores(q, k, v, o)) {
          constexpr int kVectors = kCoreRows + 2 * kCoreKeys<dim>;
          launch("attention", attention_core_kernel<dim>, tile_blocks(p, p.row_count(), kCoreRows),
                 CoreTile<dim>::kThreads, kVectors * CoreTile<dim>::kStride * std::int64_t{sizeof(bf16)}, device, p, x,
                 elements<T>(o), elements<C>(lse), report);
          return;
        }
      launch("attention", attention_kernel<dim, T>, tile_blocks(p, p.row_count(), P::kSide), P::kThreads,
             3 * P::kSize * static_cast<std::int64_t>(sizeof(C)), device, p, x, elements<T>(o),
             panel_source<T>(o).packs, elements<C>(lse), report);
    });
  });
}

}  // namespace osteon::kernels
