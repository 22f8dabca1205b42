#include "backends/kernels/block_sum.hpp"

#include "autograd/node.hpp"
#include "autograd/ops.hpp"

namespace osteon {
namespace {

Tensor summed(const Tensor& x, std::int64_t rank) {
  const Tensor y = empty(x.shape().with_last(rank), x.dtype(), x.device());
  on_device(x.device(), [&](auto dev) { kernels::block_sum(dev, x.view(), {y.mut(), false}); });
  return y;
}

}  // namespace

Tensor block_sum(const Tensor& x, std::int64_t rank) {
  check(rank >= 1, "block_sum: rank: expected at least 1, got ", rank);
  check(x.shape().rank() >= 1 && x.dim(-1) >= 1, "block_sum: x: expected [..., at least 1 feature], got ", x.shape());
  return x.derive(join("block_sum ", rank), [&] {
    const Tensor y = record("block_sum", summed(x, rank), {x}, [](const Tensor& dy, Grads& grad) {
      const Sink dx = grad.narrow(0);
      on_device(dy.device(), [&](auto dev) { kernels::block_tile(dev, dy.view(), dx); });
    });
    return cheap("block_sum", y, {x}, [sx = Saved(x), rank] { return summed(sx.tensor(), rank); });
  });
}

Tensor block_tile(const Tensor& x, std::int64_t features) {
  check(features >= 1, "block_tile: features: expected at least 1, got ", features);
  check(x.shape().rank() >= 1 && x.dim(-1) >= 1, "block_tile: x: expected [..., at least 1 feature], got ", x.shape());
  const Tensor y = empty(x.shape().with_last(features), x.dtype(), x.device());
  on_device(x.device(), [&](auto dev) { kernels::block_tile(dev, x.view(), {y.mut(), false}); });
  return record("block_tile", y, {x}, [](const Tensor& dy, Grads& grad) {
    const Sink dx = grad.narrow(0);
    on_device(dy.device(), [&](auto dev) { kernels::block_sum(dev, dy.view(), dx); });
  });
}

}  // namespace osteon
