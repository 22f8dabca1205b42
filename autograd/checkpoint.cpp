#include "autograd/checkpoint.hpp"

#include <utility>

#include "autograd/node.hpp"
#include "autograd/random_state.hpp"

namespace osteon {

Tensor checkpoint(const std::function<Tensor(const Tensor&)>& region, const Tensor& x) {
  const RandomState before = random_state();
  Tensor y;
  {
    const NoGrad no_grad;
    y = region(x.detach());
  }
  return record_always("checkpoint", y.detach(), {x},
                       [region, before, sx = save("x", x)](const Tensor& dy, Grads& grad) {
                         const RandomState now = std::exchange(random_state(), before);
                         {
                           const EnableGrad recording;
                           Tensor again = sx.tensor().detach();
                           again.set_requires_grad(grad.wanted(0));
                           again.grad_state()->intermediate = true;  // its gradient is x's, in x's dtype
                           const Tensor result = region(again);
                           if (result.requires_grad())
                             result.backward(dy);
                           if (again.grad().defined())
                             grad.pass(0, again.grad());
                         }
                         random_state() = now;
                       });
}

}  // namespace osteon
