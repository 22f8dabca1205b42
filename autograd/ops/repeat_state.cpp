#include "autograd/node.hpp"
#include "autograd/rwkv_ops.hpp"
#include "backends/kernels/elementwise.hpp"
#include "backends/kernels/reduce.hpp"

namespace osteon {
namespace {

/// to (+)= the matrices [n, n] that lie one behind the other in `from`, each transposed.
void transpose_each(Device device, const ConstView& from, const Sink& to) {
  const std::int64_t n = from.dim(-1);
  for (std::int64_t row = 0; row < from.rows(); row += n)
    on_device(device, [&](auto dev) {
      kernels::transpose(dev, from.slice_rows(row, row + n), {to.view.slice_rows(row, row + n), to.add});
    });
}

}  // namespace

Tensor repeat_state(const Tensor& state, std::int64_t batch, bool transposed) {
  check(state.shape().rank() == 3 && state.dim(1) == state.dim(2), "repeat_state: state: expected [heads, n, n], got ",
        state.shape());
  const Shape& one = state.shape();
  const Tensor y = empty({batch, one[0], one[1], one[2]}, state.dtype(), state.device());
  Tensor turned = state;
  if (transposed) {
    turned = empty(one, state.dtype(), state.device(), Category::workspace);
    transpose_each(state.device(), state.view(), {turned.mut(), false});
  }
  const std::int64_t numbers = state.numel();
  on_device(state.device(), [&](auto dev) {
    kernels::repeat_rows(dev, turned.view().reshape({numbers}), y.mut().reshape({batch, numbers}));
  });
  return record("repeat_state", y, {state}, [one, transposed](const Tensor& dy, Grads& grad) {
    // Sequence by sequence onto the sum, as all gradients of parameters.
    const Sink dstate = grad[0];
    const std::int64_t sequences = dy.dim(0), rows = one[0] * one[1];
    if (!transposed) {
      on_device(dy.device(), [&](auto dev) {
        kernels::column_sum(dev, dy.view().reshape({sequences, one.numel()}),
                            {dstate.view.reshape({one.numel()}), dstate.add});
      });
      return;
    }
    for (std::int64_t b = 0; b < sequences; ++b)
      transpose_each(dy.device(), dy.view().slice_rows(b * rows, (b + 1) * rows),
                     {dstate.view.reshape({rows, one[2]}), dstate.add || b > 0});
  });
}

}  // namespace osteon
