#include "backends/cuda/simt.hpp"
#include "backends/kernels/rotary.hpp"

namespace osteon::kernels {
namespace {

using namespace cuda;

struct Extents {
  std::int64_t tokens, seq_len, max_positions;
  int heads, half;
};

/// A block turns all heads of a token: they share the angles.
template <int kCount, class T, class A>
__global__ void rotary_kernel(Extents extents, Global<const T> x, Global<const A> table,
                              Global<const std::int32_t> positions, compute_t<T> sign, Target<T> y,
                              Global<unsigned long long> report) {
  using C = compute_t<T>;
  const int half = extents.half, per_head = half / kCount;
  for (std::int64_t token = blockIdx.x; token < extents.tokens; token += gridDim.x) {
    const std::int64_t position = positions ? positions[token] : token % extents.seq_len;
    if (position < 0 || position >= extents.max_positions) {
      report_index(report, token, static_cast<std::int32_t>(position));
      continue;
    }
    for (int item = static_cast<int>(threadIdx.x); item < extents.heads * per_head;
         item += static_cast<int>(blockDim.x)) {
      const int head = item / per_head, j = item % per_head * kCount;
      const std::int64_t angle = position * 2 * half + j, at = (token * extents.heads + head) * 2 * half + j;
      const auto cosine = load_pack<kCount>(table, angle), sine = load_pack<kCount>(table, angle + half);
      const auto first = load_pack<kCount>(x, at), second = load_pack<kCount>(x, at + half);  // y may be x
      Pack<C, kCount> turned_first, turned_second;
      for (int k = 0; k < kCount; ++k) {
        const C a = load(first[k]), b = load(second[k]);
        const C c = static_cast<C>(cosine[k]), s = sign * static_cast<C>(sine[k]);
        turned_first[k] = a * c - b * s;
        turned_second[k] = b * c + a * s;
      }
      y.store_pack(at, turned_first);
      y.store_pack(at + half, turned_second);
    }
  }
}

}  // namespace

void rotary(Cuda device, ConstView x, ConstView table, ConstView positions, bool inverse, Sink y) {
  check(x.shape.rank() == 4, "rotary: x: expected [batch, seq_len, heads, head_dim], got ", x.shape);
  const std::int64_t batch = x.dim(0), seq_len = x.dim(1), heads = x.dim(2), head_dim = x.dim(3), half = head_dim / 2;
  check(head_dim % 2 == 0, "rotary: x: expected an even head_dim, got ", x.shape);
  check(table.shape.rank() == 3, "rotary: table: expected [max_positions, 2, head_dim/2], got ", table.shape);
  const std::int64_t max_positions = table.dim(0);
  expect_shape("rotary", "table", table, {max_positions, 2, half});
  expect_like("rotary", "y", y.view, x);
  Global<unsigned long long> report{};
  if (positions) {
    expect_numel("rotary", "positions", positions, batch * seq_len);
    expect_dtype("rotary", "positions", positions, DType::i32);
    report = report_of(IndexCheck(device, [max_positions](std::int64_t at, std::int64_t position) {
      fail<IndexError>("rotary: positions: expected positions in [0, ", max_positions, "), got ", position, " at ", at);
    }));
  } else {
    check<IndexError>(batch == 0 || seq_len <= max_positions, "rotary: table: expected at least ", seq_len,
                      " positions, got ", max_positions);
  }
  dispatch_floating(x.dtype, "rotary", [&](auto element) {
    dispatch_floating(table.dtype, "rotary", [&](auto table_element) {
      using T = decltype(element);
      using A = decltype(table_element);
      constexpr int kCount = kPackOf<T, A>;
      const Extents extents{batch * seq_len, seq_len, max_positions, static_cast<int>(heads), static_cast<int>(half)};
      if (x.numel() == 0)
        return;
      const auto in = elements<T>(x);
      const auto angles = elements<A>(table);
      const Target<T> out = target<T>(y);
      const bool packs =
          half % kCount == 0 && holds_packs<kCount>(in) && holds_packs<kCount>(angles) && holds_packs<kCount>(out.data);
      dispatch_pack<kCount>(packs, [&](auto pack) {
        launch("rotary", rotary_kernel<pack, T, A>, blocks_for(extents.tokens, 1), threads_for(heads * half / pack), 0,
               device, extents, in, angles, elements<std::int32_t>(positions), compute_t<T>(inverse ? -1 : 1), out,
               report);
      });
    });
  });
}

}  // namespace osteon::kernels
