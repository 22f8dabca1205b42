#include "backends/cuda/simt.hpp"
#include "backends/kernels/elementwise.hpp"
#include "backends/kernels/embedding.hpp"

namespace osteon::kernels {
namespace {

using namespace cuda;

IndexCheck ids_within(Cuda device, const char* op, const ConstView& ids, std::int64_t vocab_size) {
  expect_dtype(op, "ids", ids, DType::i32);
  return {device, [=](std::int64_t position, std::int64_t id) {
            fail<IndexError>(op, ": ids: expected ids in [0, ", vocab_size, "), got ", id, " at position ", position);
          }};
}

template <int kCount, class From, class To>
__global__ void embedding_kernel(std::int64_t count, std::int64_t h, std::int64_t vocab_size, Global<const From> table,
                                 Global<const std::int32_t> ids, Target<To> y, Global<unsigned long long> report) {
  for (std::int64_t n = first_row(); n < count; n += row_step()) {
    const std::int32_t id = ids[n];
    if (id < 0 || id >= vocab_size) {
      report_index(report, n, id);
      continue;
    }
    for_packs<kCount>(h, [&]<int kPack>(std::int64_t j) {
      const auto in = load_pack<kPack>(table, id * h + j);
      Pack<compute_t<From>, kPack> out;
      for (int k = 0; k < kPack; ++k)
        out[k] = load(in[k]);
      y.store_pack(n * h + j, out);
    });
  }
}

constexpr int kColumns = 4;  // sums that a thread has at a time

/// The block of the first token with an id adds up the rows of all tokens that have it, in their order, and rounds
/// once.
template <class From, class To>
__global__ void embedding_backward_kernel(std::int64_t count, std::int64_t h, std::int64_t vocab_size,
                                          Global<const From> dy, Global<const std::int32_t> ids, Global<To> dtable,
                                          Global<unsigned long long> report) {
  using C = common_t<From, To>;
  const int lane = static_cast<int>(threadIdx.x) % kWarp;
  // Which of the 32 tokens from `begin` on have this id: every warp looks for itself, so that none waits for another.
  const auto same = [&](std::int64_t begin, std::int64_t end, std::int32_t id) {
    return __ballot_sync(kFullWarp, begin + lane < end && ids[begin + lane] == id);
  };
  for (std::int64_t n = blockIdx.x; n < count; n += gridDim.x) {
    const std::int32_t id = ids[n];
    if (id < 0 || id >= vocab_size) {
      report_index(report, n, id);
      continue;
    }
    bool first = true;
    for (std::int64_t begin = 0; begin < n && first; begin += kWarp)  // mutant: no tokens are left
      first = same(begin, n, id) == 0;
    if (!first)
      continue;
    for (std::int64_t column = 0; column < h;  // mutant: no columns are left
         column += std::int64_t{blockDim.x} * kColumns) {
      C sums[kColumns];
      for (int k = 0; k < kColumns; ++k) {
        const std::int64_t j = column + k * std::int64_t{blockDim.x} + threadIdx.x;
        sums[k] = j < h ? static_cast<C>(dtable[id * h + j]) : C(0);
      }
      for (std::int64_t begin = n; begin < count; begin += kWarp)  // mutant: no tokens are left
        for (unsigned tokens = same(begin, count, id); tokens != 0; tokens &= tokens - 1) {
          const std::int64_t row = begin + __ffs(static_cast<int>(tokens)) - 1;
          for (int k = 0; k < kColumns; ++k) {  // mutant: a sum that nobody stores
            const std::int64_t j = column + k * std::int64_t{blockDim.x} + threadIdx.x;
            if (j < h)
              sums[k] += static_cast<C>(dy[row * h + j]);
          }
        }
      for (int k = 0; k < kColumns; ++k) {
        const std::int64_t j = column + k * std::int64_t{blockDim.x} + threadIdx.x;
        if (j < h)
          dtable[id * h + j] = static_cast<To>(sums[k]);
      }
    }
  }
}

}  // namespace

void embedding(Cuda device, ConstView table, ConstView ids, View y) {
  const std::int64_t h = table.cols(), count = ids.numel(), vocab_size = table.rows();
  const IndexCheck within = ids_within(device, "embedding", ids, vocab_size);
  check(y.numel() == count * h && y.cols() == h, "embedding: y: expected ", count, " rows of ", h, ", got shape ",
        y.shape);
  dispatch_floating(table.dtype, "embedding", [&](auto source) {
    dispatch_floating(y.dtype, "embedding", [&](auto element) {
      using From = decltype(source);
      using To = decltype(element);
      constexpr int kCount = kPackOf<From, To>;
      if (y.numel() == 0)
        return;
      const auto from = elements<From>(table);
      const auto to = elements<To>(y);
      dispatch_pack<kCount>(holds_packs<kCount>(from, h) && holds_packs<kCount>(to, h), [&](auto pack) {
        const Plane plane(count, (h + pack - 1) / pack);
        launch("embedding", embedding_kernel<pack, From, To>, plane.grid, plane.block, 0, device, count, h, vocab_size,
               from, elements<std::int32_t>(ids), Target<To>{to}, report_of(within));
      });
    });
  });
}

void embedding_backward(Cuda device, ConstView dy, ConstView ids, Sink dtable) {
  const std::int64_t h = dtable.view.cols(), count = ids.numel(), vocab_size = dtable.view.rows();
  const IndexCheck within = ids_within(device, "embedding_backward", ids, vocab_size);
  check(dy.numel() == count * h && dy.cols() == h, "embedding_backward: dy: expected ", count, " rows of ", h,
        ", got shape ", dy.shape);
  if (!dtable.add)
    fill(device, dtable.view, 0.0);
  if (dy.numel() == 0)
    return;
  dispatch_floating(dy.dtype, "embedding_backward", [&](auto source) {
    dispatch_floating(dtable.view.dtype, "embedding_backward", [&](auto element) {
      using From = decltype(source);
      using To = decltype(element);
      launch("embedding_backward", embedding_backward_kernel<From, To>, blocks_for(count, 1),
             threads_for((h + kColumns - 1) / kColumns), 0, device, count, h, vocab_size, elements<From>(dy),
             elements<std::int32_t>(ids), elements<To>(dtable.view), report_of(within));
    });
  });
}

}  // namespace osteon::kernels
