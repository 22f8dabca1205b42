#include <queue>
#include <utility>

#include "autograd/node.hpp"
#include "autograd/op_costs.hpp"
#include "autograd/tensor.hpp"
#include "autograd/watchdog.hpp"
#include "backends/flops.hpp"
#include "backends/kernels/elementwise.hpp"
#include "backends/trace.hpp"

namespace osteon {
namespace {

struct RecordedLater {
  bool operator()(const std::shared_ptr<GradState>& a, const std::shared_ptr<GradState>& b) const {
    return a->producer->sequence < b->producer->sequence;
  }
};

/// The states whose gradient is complete once everything recorded after them is done: last recorded first.
using Frontier =
    std::priority_queue<std::shared_ptr<GradState>, std::vector<std::shared_ptr<GradState>>, RecordedLater>;

void enqueue(Frontier& frontier, const std::shared_ptr<GradState>& state) {
  if (state == nullptr || !state->gradient.defined() || state->queued)
    return;
  check<Error>(!state->released, "backward: the graph was released by an earlier backward");
  if (state->producer == nullptr)
    return;  // a leaf: its gradient stays
  state->queued = true;
  frontier.push(state);
}

/// Bytes of the gradients of a node's inputs, but for those that are dy itself, handed on.
std::int64_t gradient_bytes(const Node& node, const Tensor& dy) {
  std::int64_t bytes = 0;
  for (const auto& input : node.inputs)
    if (input != nullptr && input->gradient.defined() && input->gradient.storage().id() != dy.storage().id())
      bytes += input->gradient.bytes();
  return bytes;
}

void run_backward(const Node& node, const Tensor& dy, Grads& grads) {
  TraceScope scope({.kind = TraceEvent::Kind::op, .name = node.op, .phase = Phase::backward, .dtype = dy.dtype()});
  for (const auto& recipe : node.recipes)
    recipe->result();
  const std::int64_t before = tracing() ? gradient_bytes(node, dy) : 0;  // read by what adds to them
  node.backward(dy, grads);
  grads.finish();
  if (!tracing())
    return;
  if (const std::int64_t written = gradient_bytes(node, dy); written > 0)
    scope.count_bytes(static_cast<double>(dy.bytes() + node.saved_bytes + before + written));
}

}  // namespace

void Tensor::backward() const {
  check(numel() == 1, "backward: expected a scalar, got ", shape());
  backward(one(dtype(), device()).alias(shape()));
}

void Tensor::backward(const Tensor& dy) const {
  check<Error>(requires_grad(), "backward: nothing was recorded for this tensor");
  check<Error>(!grad_state()->released, "backward: the graph was released by an earlier backward");
  check<Error>(grad_state()->producer != nullptr, "backward: expected the result of an op, got a leaf");
  check(dy.shape() == shape() && dy.dtype() == dtype(), "backward: expected a gradient ", shape(), " ", dtype(),
        ", got ", dy.shape(), " ", dy.dtype());
  const NoGrad no_grad;
  const CountAs pass(Pass::backward);
  Frontier frontier;
  watch(state_->producer->op, "gradient given to backward", dy);
  state_->gradient = dy;
  enqueue(frontier, state_);
  while (!frontier.empty()) {
    const std::shared_ptr<GradState> state = frontier.top();
    frontier.pop();
    // Taking the node out of the graph releases what it saved as soon as this round ends.
    const std::shared_ptr<Node> node = std::exchange(state->producer, nullptr);
    state->released = true;
    state->queued = false;
    const Tensor gradient = std::exchange(state->gradient, {});
    Grads grads(node->inputs);
    run_backward(*node, gradient, grads);
    OpCosts::note(node->op, node->module);
    for (std::size_t i = 0; i < node->inputs.size(); ++i)
      if (grads.wanted(i)) {
        watch(node->op, "backward", node->inputs[i]->gradient);
        enqueue(frontier, node->inputs[i]);
      }
  }
}

}  // namespace osteon
