#include "backends/kernels/wkv.hpp"

#include "autograd/node.hpp"
#include "autograd/rwkv_ops.hpp"
#include "backends/flops.hpp"

namespace osteon {
namespace {

ConstView view(const Tensor& x) { return x.defined() ? x.view() : ConstView{}; }

/// What both recurrences make: the result, the last state, and the states that a backward will start from.
struct Made {
  Made(const char* op, std::initializer_list<Tensor> inputs, std::int64_t heads, const Tensor& state) {
    const Tensor& r = *inputs.begin();
    check(r.shape().rank() == 3 && heads >= 1 && r.dim(2) % heads == 0 && r.dim(2) / heads <= kernels::kWkvHeadSize, op,
          ": r: expected [batch, seq_len, d] in ", heads, " heads of at most ", kernels::kWkvHeadSize,
          " channels, got ", r.shape());
    bool kept = wants_grad(state);
    for (const Tensor& input : inputs) {
      check(input.shape() == r.shape() && input.dtype() == r.dtype(), op, ": expected inputs like r, ", r, ", got ",
            input);
      kept = kept || wants_grad(input);
    }
    const std::int64_t batch = r.dim(0), n = r.dim(2) / heads;
    const DType wide = accumulator(r.dtype());
    const Shape shape{batch, heads, n, n};
    check(!state.defined() || (state.shape() == shape && state.dtype() == wide), op, ": state: expected ", wide, ' ',
          shape, ", got ", state);
    y = empty_like(r);
    last = empty(shape, wide, r.device());
    if (kept)
      states = empty({batch, heads, kernels::wkv_states(r.dim(1)), n, n}, wide, r.device());
  }

  View states_view() const { return states.defined() ? states.mut() : View{}; }

  Tensor y, last, states;
};

/// The backward's working memory: for each head of each sequence its own, so that threads decide nothing.
Tensor workspace_for(const Tensor& dy, const Saved& states) {
  const ConstView kept = states.view();
  std::int64_t numbers = 0;
  on_any_device(dy.device(), [&](auto dev) { numbers = kernels::wkv_workspace(dev, kept.dim(-1), kept.dtype); });
  return empty({kept.dim(0) * kept.dim(1) * numbers}, kept.dtype, dy.device(), Category::workspace);
}

/// Counts the formulas' operations of an element of the states at each token; r [batch, seq_len, d].
void count_recurrence(Device device, const ConstView& r, std::int64_t heads, double flops) {
  const CountAs work(Work::recurrence);
  const std::int64_t head_size = r.dim(2) / heads;
  count_flops(device, flops * static_cast<double>(r.numel() * head_size));
}

Saved save_given(const char* name, const Tensor& x) { return x.defined() ? save(name, x) : Saved{}; }

}  // namespace

Recurrent wkv6(const Tensor& r, const Tensor& decay, const Tensor& k, const Tensor& v, std::int64_t heads,
               const Tensor& state) {
  const Made made("wkv6", {r, decay, k, v}, heads, state);
  count_recurrence(r.device(), r.view(), heads, kernels::kWkv6Flops);
  on_device(r.device(), [&](auto dev) {
    kernels::wkv6(dev, {r.view(), decay.view(), k.view(), v.view(), view(state)}, made.y.mut(), made.last.mut(),
                  made.states_view());
  });
  const Tensor y =
      record("wkv6", made.y, {r, decay, k, v, state},
             [heads, sr = save("r", r), sd = save("decay", decay), sk = save("k", k), sv = save("v", v),
              states = save_given("states", made.states)](const Tensor& dy, Grads& grad) {
               const kernels::Wkv6Gradients to{grad.narrow(0), grad.narrow(1), grad.narrow(2), grad.narrow(3), grad[4]};
               const Tensor workspace = workspace_for(dy, states);
               count_recurrence(dy.device(), dy.view(), heads, kernels::kWkv6BackwardFlops);
               on_device(dy.device(), [&](auto dev) {
                 kernels::wkv6_backward(dev, dy.view(), {sr.view(), sd.view(), sk.view(), sv.view(), {}}, states.view(),
                                        workspace.mut(), to);
               });
             });
  return {y, made.last};
}

Recurrent wkv7(const Tensor& r, const Tensor& decay, const Tensor& k, const Tensor& v, const Tensor& removal,
               const Tensor& rate, std::int64_t heads, const Tensor& state) {
  const Made made("wkv7", {r, decay, k, v, removal, rate}, heads, state);
  count_recurrence(r.device(), r.view(), heads, kernels::kWkv7Flops);
  on_device(r.device(), [&](auto dev) {
    kernels::wkv7(dev, {r.view(), decay.view(), k.view(), v.view(), removal.view(), rate.view(), view(state)},
                  made.y.mut(), made.last.mut(), made.states_view());
  });
  const Tensor y =
      record("wkv7", made.y, {r, decay, k, v, removal, rate, state},
             [heads, sr = save("r", r), sd = save("decay", decay), sk = save("k", k), sv = save("v", v),
              sremoval = save("removal", removal), srate = save("rate", rate),
              states = save_given("states", made.states)](const Tensor& dy, Grads& grad) {
               const kernels::Wkv7Gradients to{grad.narrow(0), grad.narrow(1), grad.narrow(2), grad.narrow(3),
                                               grad.narrow(4), grad.narrow(5), grad[6]};
               const Tensor workspace = workspace_for(dy, states);
               count_recurrence(dy.device(), dy.view(), heads, kernels::kWkv7BackwardFlops);
               on_device(dy.device(), [&](auto dev) {
                 kernels::wkv7_backward(dev, dy.view(),
                                        {sr.view(), sd.view(), sk.view(), sv.view(), sremoval.view(), srate.view(), {}},
                                        states.view(), workspace.mut(), to);
               });
             });
  return {y, made.last};
}

}  // namespace osteon
