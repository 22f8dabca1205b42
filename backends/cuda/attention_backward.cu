#include "backends/cuda/attention_extents.hpp"
#include "backends/cuda/attention_simt.hpp"
#include "backends/cuda/attention_tensor_core.hpp"
#include "backends/cuda/block_chain.hpp"
#include "backends/gpu_workspace.hpp"
#include "backends/kernels/attention.hpp"

namespace osteon::kernels {
namespace {

using namespace cuda;

// p = exp(scale q k^T - lse) is computed again, once for dq by blocks that own rows and once for dk and dv by blocks
// that own keys: sums of a block alone need no atomics, and have one order. Where many heads read a kv head, its keys
// meet so many rows that the blocks would be few and long: `parts` blocks share a tile of keys, part i has every
// parts-th tile of rows from the i-th on, and their sums are added in order.

/// delta = rowsum(do o), a warp for each (sequence, query, head).
template <class T>
__global__ void attention_delta_kernel(std::int64_t count, std::int64_t head_dim, Global<const T> dout,
                                       Global<const T> o, Global<compute_t<T>> delta) {
  using C = compute_t<T>;
  const int lane = static_cast<int>(threadIdx.x) % kWarp, warp = static_cast<int>(threadIdx.x) / kWarp;
  for (std::int64_t row = std::int64_t{blockIdx.x} * (kMaxThreads / kWarp) + warp; row < count;
       row += std::int64_t{gridDim.x} * (kMaxThreads / kWarp)) {
    C sum = 0;
    for (std::int64_t c = lane; c < head_dim; c += kWarp)
      sum += load(dout[row * head_dim + c]) * load(o[row * head_dim + c]);
    sum = warp_reduce(sum, Plus{});
    if (lane == 0)
      delta[row] = sum;
  }
}

template <class T>
struct Operands {
  using C = compute_t<T>;
  PanelSource<T> q, k, v, dout;
  Global<const C> lse, delta;
  Global<const std::int32_t> extents;
  C scale;
};

/// Own = Rows: first = dq. Own = Keys: first = dk, second = dv.
template <int kDim, class T, class Own, class R>
__global__ void attention_gradient_kernel(AttentionProblem p, Operands<T> x, int parts, Target<R> first,
                                          Target<R> second, std::int64_t part_size, bool packs) {
  using C = compute_t<T>;
  using P = Panel<C>;
  using Other = std::conditional_t<Own::kAreRows, Keys, Rows>;
  auto&& panels = dynamic_shared<C>();
  OSTEON_SHARED(RowFacts<C>, facts, P::kSide);
  constexpr int kOther = P::kSize, kWeights = 2 * P::kSize;
  const TileOfBlock tile(p, P::kSide, Own::kAreRows, parts);
  const Own own{p, tile.b, tile.kv};
  const Other other{p, tile.b, tile.kv};
  const Rows rows{p, tile.b, tile.kv};
  const Others<Own, P::kSide> others(p, x.extents, tile, P::kSide, parts);
  const PanelSource<T>&own_scored = Own::kAreRows ? x.q : x.k, &own_valued = Own::kAreRows ? x.dout : x.v;
  const PanelSource<T>&other_scored = Own::kAreRows ? x.k : x.q, &other_valued = Own::kAreRows ? x.v : x.dout;
  const C exponent = x.scale * static_cast<C>(kLog2E);
  const int thread = static_cast<int>(threadIdx.x);
  const auto note_facts = [&](int row) {
    if (thread < P::kSide)
      facts[thread] = facts_of(rows, row + thread, x.lse, x.delta);
  };
  if constexpr (Own::kAreRows)
    note_facts(tile.first);
  const bool mine = panel_is_mine(own, tile.first, P::kEach);
  PanelSums<C, kDim> of_first, of_second;
  typename P::Tile weights, dscores;
  for (int at = others.first(); at < others.end; at = others.next(at)) {  // mutant: a tile more, which is empty
    if constexpr (!Own::kAreRows)
      note_facts(at);
    panel_scores(panels, 0, kOther, own, own_scored, tile.first, other, other_scored, at, others.begin, others.end,
                 weights);
    panel_scores(panels, 0, kOther, own, own_valued, tile.first, other, other_valued, at, others.begin, others.end,
                 dscores);
    for (int i = 0; i < P::kEach; ++i)
      for (int j = 0; j < P::kEach; ++j) {
        const int of_own = panel_y() * P::kEach + i, of_other = panel_x() + P::kAcross * j;
        const RowFacts<C> row = facts[Own::kAreRows ? of_own : of_other];
        const bool sees = row.sees(Own::kAreRows ? at + of_other : tile.first + of_own);
        // 0 even where a key or value that the row does not see is not finite
        weights[i][j] = sees ? exp2(weights[i][j] * exponent - row.log_sum) : C(0);
        dscores[i][j] = sees ? weights[i][j] * (dscores[i][j] - row.delta) : C(0);
      }
    if (!Own::kAreRows && second.data)
      of_second.add(panels, kWeights, kOther, weights, mine, other, other_valued, at, others.begin, others.end);
    if (first.data)
      of_first.add(panels, kWeights, kOther, dscores, mine, other, other_scored, at, others.begin, others.end);
  }
  if (first.data)
    of_first.store(own, tile.first, first.from(tile.part * part_size), packs, [&](int) { return x.scale; });
  if (!Own::kAreRows && second.data)
    of_second.store(own, tile.first, second.from(tile.part * part_size), packs, [](int) { return C(1); });
}

/// The same on tensor cores. The next tile of others comes while this one is computed with.
template <int kDim, class Own, class R>
__global__ void attention_core_gradient_kernel(AttentionProblem p, Operands<bf16> x, int parts, Target<R> first,
                                               Target<R> second, std::int64_t part_size) {
  using G = CoreGradient<kDim>;
  using Other = std::conditional_t<Own::kAreRows, Keys, Rows>;
  constexpr int kOwn = G::kOwn, kOther = G::kOther;
  constexpr int kValuedOwn = kOwn * G::kStride, kOthersAt = 2 * kValuedOwn, kValuedOther = kOther * G::kStride;
  auto&& tiles = dynamic_shared<bf16>();
  OSTEON_SHARED(RowFacts<float>, facts, (Own::kAreRows ? kOwn : 2 * kOther));
  const TileOfBlock tile(p, kOwn, Own::kAreRows, parts);
  const Own own{p, tile.b, tile.kv};
  const Other other{p, tile.b, tile.kv};
  const Rows rows{p, tile.b, tile.kv};
  const Others<Own, kOther> others(p, x.extents, tile, kOwn, parts);
  const Global<const bf16>&own_scored = Own::kAreRows ? x.q.data : x.k.data,
                     &own_valued = Own::kAreRows ? x.dout.data : x.v.data;
  const Global<const bf16>&other_scored = Own::kAreRows ? x.k.data : x.q.data,
                     &other_valued = Own::kAreRows ? x.v.data : x.dout.data;
  const float exponent = x.scale * static_cast<float>(kLog2E);
  const int thread = static_cast<int>(threadIdx.x), warp = thread / kWarp;
  const int own_of_warp = warp % G::kGroups * 16, column = warp / G::kGroups * G::kColumns;
  const auto copy_others = [&](int at, int to) {
    copy_vectors<kDim, kOther>(tiles, to, other, other_scored, at, others.begin, others.end);
    copy_vectors<kDim, kOther>(tiles, to + kValuedOther, other, other_valued, at, others.begin, others.end);
  };
  Accumulator of_first[G::kColumns / 8] = {}, of_second[G::kColumns / 8] = {};
  Accumulator weights[kOther / 8], dscores[kOther / 8];
  int at = others.first(), half = 0;
  if (at < others.end) {  // mutant: copies that nobody waits for
    copy_vectors<kDim, kOwn>(tiles, 0, own, own_scored, tile.first, 0, own.count());
    copy_vectors<kDim, kOwn>(tiles, kValuedOwn, own, own_valued, tile.first, 0, own.count());
    copy_others(at, kOthersAt);
    if (thread < (Own::kAreRows ? kOwn : kOther))
      facts[thread] = facts_of(rows, (Own::kAreRows ? tile.first : at) + thread, x.lse, x.delta);
  }
  while (at < others.end) {
    wait_for_copies();
    __syncthreads();
    const int next = others.next(at), next_half = 1 - half;
    RowFacts<float> next_facts{};
    if (next < others.end) {  // mutant: a tile more on its way, which is empty
      copy_others(next, kOthersAt + 2 * next_half * kValuedOther);
      if (!Own::kAreRows && thread < kOther)                         // mutant: facts that are not stored
        next_facts = facts_of(rows, next + thread, x.lse, x.delta);  // used later: the loads have time
    }
    const int scored = kOthersAt + 2 * half * kValuedOther, valued = scored + kValuedOther;
    core_scores<kDim, kOther>(tiles, own_of_warp * G::kStride, scored, weights);
    core_scores<kDim, kOther>(tiles, kValuedOwn + own_of_warp * G::kStride, valued, dscores);
    unrolled<kOther / 8 * 4>([&](int i) {
      const int of_own = own_of_warp + own_of_lane(i % 4 / 2), of_other = i / 4 * 8 + column_of_lane() + i % 2;
      const RowFacts<float> row = facts[Own::kAreRows ? of_own : half * kOther + of_other];
      const bool sees = row.sees(Own::kAreRows ? at + of_other : tile.first + of_own);
      float &weight = weights[i / 4].value[i % 4], &dscore = dscores[i / 4].value[i % 4];
      weight = sees ? exp2(weight * exponent - row.log_sum) : 0.0F;
      dscore = sees ? weight * (dscore - row.delta) : 0.0F;
    });
    const CoreWeights<kOther> rounded_weights(weights), rounded_dscores(dscores);
    if (!Own::kAreRows && second.data)
      add_core_values<kDim, kOther, G::kColumns>(tiles, valued + column, rounded_weights, of_second);
    if (first.data)
      add_core_values<kDim, kOther, G::kColumns>(tiles, scored + column, rounded_dscores, of_first);
    if (!Own::kAreRows && thread < kOther)
      facts[next_half * kOther + thread] = next_facts;
    at = next;
    half = next_half;
  }
  if (first.data)
    store_core_sums<G::kColumns>(own, tile.first + own_of_warp, column, of_first, first.from(tile.part * part_size),
                                 [&](int) { return x.scale; });
  if (!Own::kAreRows && second.data)
    store_core_sums<G::kColumns>(own, tile.first + own_of_warp, column, of_second, second.from(tile.part * part_size),
                                 [](int) { return 1.0F; });
}

static_assert(AttentionWorkspace::kRowsOfExtent == kWarp);

}  // namespace

std::int64_t attention_backward_workspace(Cuda, const Shape& q, const Shape& k, DType dtype) {
  return AttentionWorkspace(q, k, dtype).bytes;
}

void attention_backward(Cuda device, ConstView dout, ConstView q, ConstView k, ConstView v, ConstView o, ConstView lse,
                        ConstView key_range, double scale, Sink dq, Sink dk, Sink dv, View workspace) {
  check_attention("attention_backward", q, k, v, key_range, scale, o, lse);
  count_attention(Device::cuda, q.shape, k.shape, 10);
  const AttentionWorkspace w(q.shape, k.shape, q.dtype);
  check_attention_backward(dout, q, k, dq, dk, dv, workspace, w.bytes);
  const AttentionProblem p(q, k, key_range);
  if (p.sequences() == 0)
    return;
  const auto report = report_ranges("attention_backward", device, key_range, p.keys);
  auto* const memory = static_cast<std::byte*>(workspace.data);
  dispatch_floating(q.dtype, "attention_backward", [&]<class T>(T) {
    using C = compute_t<T>;
    using P = Panel<C>;
    std::byte* const behind_sums = memory + 2 * w.sums_bytes;
    const auto delta = elements<C>(View{behind_sums, accumulator(q.dtype), w.delta, true});
    const auto extents = elements<std::int32_t>(View{behind_sums + w.delta_bytes, DType::i32, w.extents, true});
    if (const std::int64_t rows = w.delta.numel(); rows > 0) {
      launch("attention_delta", attention_delta_kernel<T>, blocks_for(rows, kMaxThreads / kWarp), kMaxThreads, 0,
             device, rows, q.dim(3), elements<T>(dout), elements<T>(o), delta);
      launch("attention_extents", attention_extents_kernel, blocks_for(w.extents.numel() / 2, 1), kWarp, 0, device, p,
             extents, report);
    }
    const Operands<T> x{panel_source<T>(q),
                        panel_source<T>(k),
                        panel_source<T>(v),
                        panel_source<T>(dout),
                        elements<C>(lse),
                        delta,
                        extents,
                        static_cast<C>(scale)};
    dispatch_head_dim(p.head_dim, [&](auto dim) {
      // `parts` blocks to a tile of own vectors, whose sums are k.numel() apart.
      const auto run = [&]<class Own, class R>(const char* name, Own*, int count, int parts, const Target<R>& first,
                                               const Target<R>& second) {
        if constexpr (std::is_same_v<T, bf16>)
          if (fits_tensor_cores(q, k, v, dout) && holds_core_sums(first) && holds_core_sums(second)) {
            using G = CoreGradient<decltype(dim)::value>;
            launch(name, attention_core_gradient_kernel<decltype(dim)::value, Own, R>,
                   tile_blocks(p, count, G::kOwn, parts), G::kThreads,
                   G::kVectors * G::kStride * std::int64_t{sizeof(bf16)}, device, p, x, parts, first, second,
                   k.numel());
            return;
          }
        const auto packs = [&](const Target<R>& out) {
          return !out.data || (q.dim(3) % P::kEach == 0 && holds_packs<P::kEach>(out.data));
        };
        launch(name, attention_gradient_kernel<decltype(dim)::value, T, Own, R>, tile_blocks(p, count, P::kSide, parts),
               P::kThreads, 3 * P::kSize * static_cast<std::int64_t>(sizeof(C)), device, p, x, parts, first, second,
               k.numel(), packs(first) && packs(second));
      };
      if (dq && p.row_count() > 0)
        run("attention_dq", static_cast<Rows*>(nullptr), p.row_count(), 1, target<T>(dq), Target<T>{});
      if ((!dk && !dv) || p.keys == 0)
        return;
      auto* const keys = static_cast<Keys*>(nullptr);
      if (w.parts == 1)
        return run("attention_dk_dv", keys, p.keys, 1, target<T>(dk), target<T>(dv));
      const Shape of_parts{w.parts, k.numel()};
      const auto sums_of = [&](const Sink& sink, std::byte* at) {
        return sink ? elements<C>(View{at, accumulator(q.dtype), of_parts, true}) : Global<C>{};
      };
      const Global<C> dk_sums = sums_of(dk, memory), dv_sums = sums_of(dv, memory + w.sums_bytes);
      run("attention_dk_dv", keys, p.keys, w.parts, Target<C>{dk_sums}, Target<C>{dv_sums});
      const auto add_parts = [&](const Global<C>& sums, const Sink& out) {
        if (out)
          sum_blocks("attention_parts", device, 1, w.parts * k.numel(), k.numel(), Global<const C>(sums),
                     target<T>(out));
      };
      add_parts(dk_sums, dk);
      add_parts(dv_sums, dv);
    });
  });
}

}  // namespace osteon::kernels
