#include "backends/kernels/rotary.hpp"

#include "autograd/node.hpp"
#include "autograd/ops.hpp"

namespace osteon {

Tensor rotary(const Tensor& x, const Tensor& table, const Tensor& positions) {
  check(x.shape().rank() == 4 && x.dim(3) % 2 == 0, "rotary: x: expected [batch, seq_len, heads, even head_dim], got ",
        x.shape());
  check(table.shape().rank() == 3, "rotary: table: expected [max_positions, 2, head_dim / 2], got ", table.shape());
  const Shape expected = {table.dim(0), 2, x.dim(3) / 2};
  check(table.shape() == expected, "rotary: table: expected ", expected, ", got ", table.shape());
  check(positions.defined() || x.dim(1) <= table.dim(0), "rotary: seq_len: expected at most ", table.dim(0), ", got ",
        x.dim(1));
  const Shape tokens = {x.dim(0), x.dim(1)};
  check(!positions.defined() || (positions.shape() == tokens && positions.dtype() == DType::i32),
        "rotary: positions: expected i32 ", tokens, ", got ", positions);
  const Tensor y = empty_like(x);
  on_device(x.device(), [&](auto dev) {
    kernels::rotary(dev, x.view(), table.view(), positions.view(), false, {y.mut(), false});
  });
  return record("rotary", y, {x}, [t = table.detach(), p = positions.detach()](const Tensor& dy, Grads& grad) {
    const Sink dx = grad.narrow(0);
    on_device(dy.device(), [&](auto dev) { kernels::rotary(dev, dy.view(), t.view(), p.view(), true, dx); });
  });
}

}  // namespace osteon
