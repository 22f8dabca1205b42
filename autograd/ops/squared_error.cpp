#include "autograd/node.hpp"
#include "autograd/ops.hpp"
#include "autograd/shared_step.hpp"
#include "backends/kernels/elementwise.hpp"
#include "backends/kernels/reduce.hpp"

namespace osteon {

Tensor squared_error(const Tensor& prediction, const Tensor& target, const Normalizer& normalizer) {
  check(target.shape() == prediction.shape(), "squared_error: target: expected ", prediction.shape(), ", got ",
        target.shape());
  check(is_floating(target.dtype()), "squared_error: target: expected a floating dtype, got ", target.dtype());
  check<NumericError>(normalizer.value() > 0,
                      "squared_error: normalizer: expected a number above 0 (a loss over no rows?), got ",
                      normalizer.value());
  const DType wide = accumulator(prediction.dtype());
  const Device device = prediction.device();
  const auto workspace = [&] { return empty(prediction.shape(), wide, device, Category::workspace); };
  const Tensor difference = workspace(), squares = workspace(), loss = empty({}, wide, device);
  on_device(device, [&](auto dev) {
    kernels::scale(dev, prediction.view(), 1.0, {difference.mut(), false});
    kernels::scale(dev, target.view(), -1.0, {difference.mut(), true});
    kernels::mul(dev, difference.view(), difference.view(), {squares.mut(), false});
  });
  if (SharedStep* const step = SharedStep::active())
    step->losses(squares);
  on_any_device(device, [&](auto dev) { kernels::sum(dev, squares.view(), normalizer.factor(), {loss.mut(), false}); });

  // The gradient is 2 (p - t) / n. Where only the device knows 1 / n, it is spread over the rows there.
  const Factor factor = normalizer.factor(2.0);
  const Tensor gradient = wants_grad(prediction) ? empty_like(prediction) : Tensor{};
  if (gradient.defined() && factor.memory) {
    const Tensor inverse = workspace(), divided = workspace();
    on_device(device, [&](auto dev) {
      kernels::repeat_rows(dev, factor.memory.reshape({1}), inverse.mut().reshape({inverse.numel(), 1}));
      kernels::mul(dev, difference.view(), inverse.view(), {divided.mut(), false});
      kernels::scale(dev, divided.view(), factor.value, {gradient.mut(), false});
    });
  } else if (gradient.defined()) {
    on_device(device, [&](auto dev) { kernels::scale(dev, difference.view(), factor.value, {gradient.mut(), false}); });
  }
  return record("squared_error", loss, {prediction},
                [d = save_if(gradient.defined(), "gradient", gradient)](const Tensor& dy, Grads& grad) {
                  const Sink dp = grad[0];
                  on_device(dy.device(), [&](auto dev) { kernels::scale(dev, d.view(), dy.item(), dp); });
                });
}

}  // namespace osteon
