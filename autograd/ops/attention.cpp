#include "backends/kernels/attention.hpp"

#include "autograd/node.hpp"
#include "autograd/ops.hpp"
#include "backends/flops.hpp"

namespace osteon {

Tensor attention(const Tensor& q, const Tensor& k, const Tensor& v, const Tensor& key_range, double scale) {
  check(q.shape().rank() == 4, "attention: q: expected [batch, queries, heads, head_dim], got ", q.shape());
  check(
      k.shape().rank() == 4 && k.dim(0) == q.dim(0) && k.dim(3) == q.dim(3) && k.dim(2) > 0 && q.dim(2) % k.dim(2) == 0,
      "attention: k: expected [", q.dim(0), ", keys, a divisor of ", q.dim(2), ", ", q.dim(3), "], got ", k.shape());
  check(v.shape() == k.shape(), "attention: v: expected ", k.shape(), ", got ", v.shape());
  check(q.dtype() == k.dtype() && q.dtype() == v.dtype(), "attention: k, v: expected the dtype of q, got ", q.dtype(),
        ", ", k.dtype(), ", ", v.dtype());
  const Shape range_shape = {q.dim(0), q.dim(1), 2};
  check(!key_range.defined() || (key_range.shape() == range_shape && key_range.dtype() == DType::i32),
        "attention: key_range: expected i32 ", range_shape, ", got ", key_range);
  check(key_range.defined() || k.dim(1) >= q.dim(1), "attention: keys: expected at least ", q.dim(1), ", got ",
        k.dim(1));

  const Tensor o = empty_like(q), lse = empty({q.dim(0), q.dim(1), q.dim(2)}, accumulator(q.dtype()), q.device());
  const CountAs work(Work::attention);
  on_any_device(q.device(), [&](auto dev) {
    kernels::attention(dev, q.view(), k.view(), v.view(), key_range.view(), scale, o.mut(), lse.mut());
  });
  return record("attention", o, {q, k, v},
                [sq = save("q", q), sk = save("k", k), sv = save("v", v), so = save("o", o), slse = save("lse", lse),
                 range = key_range.detach(), scale](const Tensor& dy, Grads& grad) {
                  std::int64_t bytes = 0;
                  on_any_device(dy.device(), [&](auto dev) {
                    bytes = kernels::attention_backward_workspace(dev, sq.view().shape, sk.view().shape, dy.dtype());
                  });
                  const Sink dq = grad.narrow(0), dk = grad.narrow(1), dv = grad.narrow(2);
                  const Tensor workspace = empty({bytes}, DType::u8, dy.device(), Category::workspace);
                  const CountAs work_back(Work::attention);
                  on_any_device(dy.device(), [&](auto dev) {
                    kernels::attention_backward(dev, dy.view(), sq.view(), sk.view(), sv.view(), so.view(), slse.view(),
                                                range.view(), scale, dq, dk, dv, workspace.mut());
                  });
                });
}

}  // namespace osteon
