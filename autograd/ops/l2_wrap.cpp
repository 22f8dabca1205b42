#include "backends/kernels/l2_wrap.hpp"

#include "autograd/node.hpp"
#include "autograd/rwkv_ops.hpp"

namespace osteon {

Tensor l2_wrap(const Tensor& loss, const Tensor& logits, std::int64_t positions) {
  check(loss.numel() == 1, "l2_wrap: loss: expected a scalar, got ", loss);
  check(logits.shape().rank() >= 1 && logits.numel() > 0, "l2_wrap: logits: expected [..., vocab_size], got ", logits);
  check(positions >= 0, "l2_wrap: positions: expected 0 or more, got ", positions);
  const std::int64_t rows = positions > 0 ? positions : logits.shape().rows();
  return record("l2_wrap", loss.alias(loss.shape()), {loss, logits},
                [rows, slogits = save_if(wants_grad(logits), "logits", logits)](const Tensor& dy, Grads& grad) {
                  grad.pass(0, dy);
                  if (!slogits)
                    return;
                  const Sink dlogits = grad.narrow(1);
                  const double factor = dy.item() * kL2WrapPull / static_cast<double>(rows);
                  on_device(dy.device(),
                            [&](auto dev) { kernels::l2_wrap_backward(dev, slogits.view(), factor, dlogits); });
                });
}

}  // namespace osteon
