#include "backends/cuda/largest.hpp"
#include "backends/kernels/elementwise.hpp"
#include "backends/kernels/l2_wrap.hpp"

namespace osteon::kernels {
namespace {

using namespace cuda;

/// A block has a row at a time.
template <class T>
__global__ void l2_wrap_kernel(std::int64_t rows, std::int64_t columns, Global<const T> logits, compute_t<T> factor,
                               Target<T> dlogits) {
  for (std::int64_t row = blockIdx.x; row < rows; row += gridDim.x) {
    const auto largest = largest_of(logits + row * columns, columns);
    if (threadIdx.x == 0)
      dlogits.store(row * columns + largest.index, largest.value * factor);
  }
}

}  // namespace

void l2_wrap_backward(Cuda device, ConstView logits, double factor, Sink dlogits) {
  const std::int64_t rows = logits.rows(), columns = logits.cols();
  expect_like("l2_wrap_backward", "dlogits", dlogits.view, logits);
  check(columns > 0, "l2_wrap_backward: logits: expected at least one column, got shape ", logits.shape);
  if (rows == 0)
    return;
  if (!dlogits.add)
    fill(device, dlogits.view, 0.0);
  dispatch_floating(logits.dtype, "l2_wrap_backward", [&](auto element) {
    using T = decltype(element);
    launch("l2_wrap_backward", l2_wrap_kernel<T>, blocks_for(rows, 1), threads_for(columns), 0, device, rows, columns,
           elements<T>(logits), static_cast<compute_t<T>>(factor), target<T>(dlogits));
  });
}

}  // namespace osteon::kernels
