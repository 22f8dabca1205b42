#include "autograd/checkpoint.hpp"

#include <utility>

#include "autograd/audit.hpp"
#include "autograd/node.hpp"
#include "autograd/random_state.hpp"

namespace osteon {
namespace {

/// Draws the random numbers from `state` on, and afterwards goes on where it was.
class Replay {
 public:
  explicit Replay(const RandomState& state) : before_(std::exchange(random_state(), state)) {}
  ~Replay() { random_state() = before_; }
  Replay(const Replay&) = delete;
  Replay& operator=(const Replay&) = delete;

 private:
  RandomState before_;
};

}  // namespace

Tensor checkpoint(const std::function<Tensor(const Tensor&)>& region, const Tensor& x) {
  if (!grad_enabled())
    return region(x);
  const RandomState before = random_state();
  Tensor y;
  bool reaches_parameters = false;
  {
    const FirstRun first_run;
    y = region(x.detach()).detach();
    reaches_parameters = first_run.reaches_parameters();
  }
  if (!wants_grad(x) && !reaches_parameters)
    return y;
  return record_always("checkpoint", y, {x}, [region, before, sx = save("x", x)](const Tensor& dy, Grads& grad) {
    const Replay replay(before);
    const AuditPause pause;
    const EnableGrad recording;
    const Tensor again = sx.tensor().detach().set_requires_grad(grad.wanted(0));
    again.grad_state()->intermediate = true;  // its gradient is x's, in x's dtype
    const Tensor result = region(again);
    if (result.grad_state() == again.grad_state())
      grad.pass(0, dy);  // the region hands its input on
    else if (result.requires_grad())
      result.backward(dy);
    if (again.grad().defined())
      grad.pass(0, again.grad());
  });
}

}  // namespace osteon
