#include "backends/kernels/l2_wrap.hpp"

#include "autograd/node.hpp"
#include "autograd/rwkv_ops.hpp"

namespace osteon {

Tensor l2_wrap(const Tensor& loss, const Tensor& logits) {
  check(loss.numel() == 1, "l2_wrap: loss: expected a scalar, got ", loss);
  check(logits.shape().rank() >= 1 && logits.numel() > 0, "l2_wrap: logits: expected [..., vocab_size], got ", logits);
  constexpr double kPull = 1e-4;
  return record("l2_wrap", loss.alias(loss.shape()), {loss, logits},
                [slogits = save_if(wants_grad(logits), "logits", logits)](const Tensor& dy, Grads& grad) {
                  grad.pass(0, dy);
                  if (!slogits)
                    return;
                  const Sink dlogits = grad.narrow(1);
                  const double factor = dy.item() * kPull / static_cast<double>(slogits.view().rows());
                  on_device(dy.device(),
                            [&](auto dev) { kernels::l2_wrap_backward(dev, slogits.view(), factor, dlogits); });
                });
}

}  // namespace osteon
