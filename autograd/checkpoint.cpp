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

/// A region's input, kept for its second run.
class Input {
 public:
  Input(std::string_view name, const Tensor& x) : saved_(save_if(x.defined(), name, x)) {}

  /// A place for its gradient, which goes on from what has arrived of `i`'s: the same sums as without the region.
  Tensor again(Grads& grad, std::size_t i) const {
    if (!saved_)
      return {};
    const Tensor x = saved_.tensor().detach().set_requires_grad(grad.wanted(i));
    x.grad_state()->intermediate = true;  // its gradient is the input's, in the input's dtype
    x.grad_state()->gradient = grad.take(i);
    return x;
  }

 private:
  Saved saved_;
};

}  // namespace

Tensor checkpoint(const std::function<Tensor(const Tensor&)>& region, const Tensor& x) {
  const auto carrying = [region](const Carried& at) { return Carried{region(at.x), {}}; };
  return checkpoint(carrying, Carried{x, {}}).x;
}

Carried checkpoint(const std::function<Carried(const Carried&)>& region, const Carried& at) {
  if (!grad_enabled())
    return region(at);
  const RandomState before = random_state();
  Carried made;
  bool reaches_parameters = false, makes_side = false;
  {
    const FirstRun first_run;
    const Carried from{at.x.detach(), at.side.detach()};
    made = region(from);
    makes_side = made.side.defined() && !(at.side.defined() && made.side.storage().id() == from.side.storage().id());
    reaches_parameters = first_run.reaches_parameters();
  }
  made = {made.x.detach(), makes_side ? made.side.detach() : at.side};
  if (!wants_grad(at.x) && !(at.side.defined() && wants_grad(at.side)) && !reaches_parameters)
    return made;
  const auto side_gradient = std::make_shared<Tensor>();  // of the side that it made, complete before its turn comes
  made.x = record_always("checkpoint", made.x, {at.x, at.side},
                         [region, before, x = Input("x", at.x), side = Input("side", at.side), side_gradient](
                             const Tensor& dy, Grads& grad) {
                           const Replay replay(before);
                           const AuditPause pause;
                           const EnableGrad recording;
                           const Carried again{x.again(grad, 0), side.again(grad, 1)};
                           const Carried result = region(again);
                           if (Tensor arrived = std::exchange(*side_gradient, {});
                               arrived.defined() && result.side.requires_grad())
                             result.side.grad_state()->gradient = std::move(arrived);
                           if (result.x.grad_state() == again.x.grad_state())
                             grad.pass(0, dy);  // the region hands its input on
                           else if (result.x.requires_grad())
                             result.x.backward(dy);
                           if (again.x.grad().defined())
                             grad.pass(0, again.x.grad());
                           if (again.side.defined() && again.side.grad().defined())
                             grad.pass(1, again.side.grad());
                         });
  if (makes_side)
    made.side = record_always("checkpoint side", made.side, {made.side},
                              [side_gradient](const Tensor& dy, Grads&) { *side_gradient = dy; });
  return made;
}

}  // namespace osteon
