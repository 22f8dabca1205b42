#include "backends/cuda/block_chain.hpp"
#include "backends/kernels/block_sum.hpp"

namespace osteon::kernels {
namespace {

using namespace cuda;

template <int kCount, class T>
__global__ void block_tile_kernel(std::int64_t rows, std::int64_t features, std::int64_t rank, Global<const T> x,
                                  Target<T> y) {
  for (std::int64_t row = first_row(); row < rows; row += row_step())
    for_packs<kCount>(features, [&]<int kPack>(std::int64_t i) {
      const auto pack = load_pack<kPack>(x, row * rank + i % rank);
      Pack<compute_t<T>, kPack> values;
      for (int k = 0; k < kPack; ++k)
        values[k] = load(pack[k]);
      y.store_pack(row * features + i, values);
    });
}

}  // namespace

void block_sum(Cuda device, ConstView x, Sink y) {
  check(y.view.cols() >= 1, "block_sum: rank: expected at least 1, got ", y.view.cols());
  check(x.rows() == y.view.rows(), "block_sum: expected as many rows of y as of x, got x ", x.shape, " and y ",
        y.view.shape);
  dispatch_floating(x.dtype, "block_sum", [&]<class T>(T) {
    if (y.view.dtype != accumulator(x.dtype))
      expect_dtype("block_sum", "y", y.view, x.dtype);
    if (x.rows() == 0)
      return;
    const auto sum_to = [&](auto wanted) {
      sum_blocks("block_sum", device, x.rows(), x.cols(), y.view.cols(), elements<T>(x), target<decltype(wanted)>(y));
    };
    if (y.view.dtype == accumulator(x.dtype))
      sum_to(compute_t<T>{});
    else
      sum_to(T{});
  });
}

void block_tile(Cuda device, ConstView x, Sink y) {
  check(x.cols() >= 1, "block_tile: rank: expected at least 1, got ", x.cols());
  check(x.rows() == y.view.rows(), "block_tile: expected as many rows of y as of x, got x ", x.shape, " and y ",
        y.view.shape);
  const std::int64_t rows = x.rows(), features = y.view.cols(), rank = x.cols();
  dispatch_floating(x.dtype, "block_tile", [&]<class T>(T) {
    expect_dtype("block_tile", "y", y.view, x.dtype);
    if (rows == 0)
      return;
    constexpr int kCount = kPackOf<T>;
    const auto in = elements<T>(x);
    const Target<T> out = target<T>(y);
    const bool packs =
        features % kCount == 0 && rank % kCount == 0 && holds_packs<kCount>(in) && holds_packs<kCount>(out.data);
    dispatch_pack<kCount>(packs, [&](auto pack) {
      const Plane plane(rows, features / pack);
      launch("block_tile", block_tile_kernel<pack, T>, plane.grid, plane.block, 0, device, rows, features, rank, in,
             out);
    });
  });
}

}  // namespace osteon::kernels
