#include "backends/cuda/attention_simt.hpp"
#include "backends/cuda/attention_tensor_core.hpp"
#include "backends/gpu_workspace.hpp"
#include "backends/kernels/attention.hpp"
#include "backends/scratch.hpp"

namespace osteon::kernels {
namespace {

using namespace cuda;

template <class T>
struct Operands {
  using C = compute_t<T>;
  PanelSource<T> q, k, v;
  C scale;  ///< of the scores
};

/// Where a block writes: the results, or its part of them, which are one after the other.
template <class R>
struct Outputs {
  using C = compute_t<R>;
  Global<R> o;
  Global<C> lse;
  bool packs;
  int parts = 1;
  std::int64_t o_size = 0, lse_size = 0;  ///< of a part

  __device__ Target<R> o_of(int part) const { return {o + part * o_size}; }
  __device__ Global<C> lse_of(int part) const { return lse + part * lse_size; }
  /// Those of the keys that belong to a part.
  __device__ KeyRange keys_of(const KeyRange& range, int part) const {
    constexpr int kKeys = static_cast<int>(AttentionParts::kKeys);
    return parts == 1 ? range : KeyRange{std::max(range.begin, part * kKeys), std::min(range.end, (part + 1) * kKeys)};
  }
};

template <int kDim, class T, class R>
__global__ void attention_kernel(AttentionProblem p, Operands<T> x, Outputs<R> out, Global<unsigned long long> report) {
  using C = compute_t<T>;
  using P = Panel<C>;
  auto&& panels = dynamic_shared<C>();
  constexpr int kOther = P::kSize, kWeights = 2 * P::kSize;
  const TileOfBlock tile(p, P::kSide, true, out.parts);
  const Rows rows{p, tile.b, tile.kv};
  const Keys keys{p, tile.b, tile.kv};
  const KeyRange all = out.keys_of(range_of_tile<P::kSide>(p, tile.b, tile.first, report), tile.part);
  KeyRange seen[P::kEach];
  for (int i = 0; i < P::kEach; ++i)
    seen[i] = out.keys_of(p.range_of(tile.b, tile.first + panel_y() * P::kEach + i), tile.part);
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
  sums.store(rows, tile.first, out.o_of(tile.part), out.packs,
             [&](int i) { return seen[i].begin < seen[i].end ? C(1) / softmax[i].total : C(0); });
  const Global<C> lse = out.lse_of(tile.part);
  for (int i = 0; i < P::kEach; ++i)
    if (const int row = tile.first + panel_y() * P::kEach + i; panel_x() == 0 && row < p.rows())
      lse[p.row_index(tile.b, tile.kv, row)] = softmax[i].log_sum(x.scale);
}

/// Rows of a block, and keys that it meets at a time.
constexpr int kCoreRows = 64;
template <int kDim>
constexpr int kCoreKeys = kDim <= 128 ? 64 : 32;  // registers and shared memory for several blocks at a time

template <int kDim, class R>
__global__ void attention_core_kernel(AttentionProblem p, Operands<bf16> x, Outputs<R> out,
                                      Global<unsigned long long> report) {
  using C = CoreTile<kDim>;
  constexpr int kKeys = kCoreKeys<kDim>, kKeysAt = kCoreRows * C::kStride, kValuesAt = kKeysAt + kKeys * C::kStride;
  auto&& tiles = dynamic_shared<bf16>();
  const TileOfBlock tile(p, kCoreRows, true, out.parts);
  const Rows rows{p, tile.b, tile.kv};
  const Keys keys{p, tile.b, tile.kv};
  const int warp = static_cast<int>(threadIdx.x) / kWarp, own = tile.first + 16 * warp;
  const KeyRange all = out.keys_of(range_of_tile<kCoreRows>(p, tile.b, tile.first, report), tile.part);
  const KeyRange seen[2] = {out.keys_of(p.range_of(tile.b, own + own_of_lane(0)), tile.part),
                            out.keys_of(p.range_of(tile.b, own + own_of_lane(1)), tile.part)};
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
  store_core_sums<kDim>(rows, own, 0, sums, out.o_of(tile.part),
                        [&](int half) { return sees_any(half) ? 1 / softmax[half].total : 0.0F; });
  const Global<float> lse = out.lse_of(tile.part);
  unrolled<2>([&](int half) {
    if (const int row = own + own_of_lane(half); column_of_lane() == 0 && row < p.rows())
      lse[p.row_index(tile.b, tile.kv, row)] = softmax[half].log_sum(x.scale);
  });
}

/// o = sum_i w_i o_i / sum_i w_i with w_i = exp(lse_i - max lse), over the parts i in order; a row in each block.
template <class T>
__global__ void attention_merge_kernel(std::int64_t rows, int head_dim, int parts, Global<const compute_t<T>> o_parts,
                                       Global<const compute_t<T>> lse_parts, Global<T> o, Global<compute_t<T>> lse) {
  using C = compute_t<T>;
  constexpr C kNone = -std::numeric_limits<C>::infinity(), kExponent = static_cast<C>(kLog2E);
  for (std::int64_t row = blockIdx.x; row < rows; row += gridDim.x) {
    C top = kNone;
    for (int part = 0; part < parts; ++part) {
      const C log_sum = lse_parts[part * rows + row];
      top = log_sum > top ? log_sum : top;  // passes over NaN: its weight is
    }
    // A row that sees nothing has the top -inf; 0 instead keeps inf - inf out.
    const C base = top == kNone ? C(0) : top;
    for (int column = static_cast<int>(threadIdx.x); column < head_dim; column += static_cast<int>(blockDim.x)) {
      C sum = 0, total = 0;
      for (int part = 0; part < parts; ++part) {
        const C weight = exp2((lse_parts[part * rows + row] - base) * kExponent);
        total += weight;
        sum += weight * o_parts[(part * rows + row) * head_dim + column];
      }
      o[row * head_dim + column] = static_cast<T>(total == C(0) ? C(0) : sum / total);
      if (column == 0)
        lse[row] = base + log(total);
    }
  }
}

template <int kDim, class T, class R>
void attend(Cuda device, const AttentionProblem& p, const Operands<T>& x, bool on_tensor_cores, const Outputs<R>& out,
            const Global<unsigned long long>& report) {
  using C = compute_t<T>;
  using P = Panel<C>;
  if constexpr (std::is_same_v<T, bf16>)
    if (on_tensor_cores) {
      constexpr int kVectors = kCoreRows + 2 * kCoreKeys<kDim>;
      launch("attention", attention_core_kernel<kDim, R>, tile_blocks(p, p.row_count(), kCoreRows, out.parts),
             CoreTile<kDim>::kThreads, kVectors * CoreTile<kDim>::kStride * std::int64_t{sizeof(bf16)}, device, p, x,
             out, report);
      return;
    }
  launch("attention", attention_kernel<kDim, T, R>, tile_blocks(p, p.row_count(), P::kSide, out.parts), P::kThreads,
         3 * P::kSize * static_cast<std::int64_t>(sizeof(C)), device, p, x, out, report);
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
  const AttentionParts split(q.shape, k.shape, q.dtype);
  dispatch_floating(q.dtype, "attention", [&]<class T>(T) {
    using C = compute_t<T>;
    const Operands<T> x{panel_source<T>(q), panel_source<T>(k), panel_source<T>(v), static_cast<C>(scale)};
    const bool on_tensor_cores = fits_tensor_cores(q, k, v, o);
    dispatch_head_dim(p.head_dim, [&](auto dim) {
      constexpr int kDim = decltype(dim)::value;
      if (split.parts == 1)
        return attend<kDim>(device, p, x, on_tensor_cores,
                            Outputs<T>{elements<T>(o), elements<C>(lse), panel_source<T>(o).packs}, report);
      std::byte* const memory = scratch(split.bytes, Device::cuda);
      const View o_parts{memory, accumulator(q.dtype), {split.parts, o.numel()}, true};
      const View lse_parts{memory + split.outputs_bytes, accumulator(q.dtype), {split.parts, lse.numel()}, true};
      const bool packs = p.head_dim % Panel<C>::kEach == 0;  // the block's address is a multiple of 64
      attend<kDim>(device, p, x, on_tensor_cores,
                   Outputs<C>{elements<C>(o_parts), elements<C>(lse_parts), packs, split.parts, o.numel(), lse.numel()},
                   report);
      launch("attention_merge", attention_merge_kernel<T>, blocks_for(lse.numel(), 1), threads_for(p.head_dim), 0,
             device, lse.numel(), p.head_dim, split.parts, elements<C>(ConstView(o_parts)),
             elements<C>(ConstView(lse_parts)), elements<T>(o), elements<C>(lse));
    });
  });
}

}  // namespace osteon::kernels
