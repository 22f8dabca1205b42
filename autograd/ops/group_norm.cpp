#include "backends/kernels/group_norm.hpp"

#include "autograd/node.hpp"
#include "autograd/rwkv_ops.hpp"
#include "backends/kernels/reduce.hpp"

namespace osteon {
namespace {

void check_heads(const char* op, const Tensor& x, std::int64_t heads) {
  check(x.shape().rank() >= 1 && heads >= 1 && x.dim(-1) % heads == 0, op, ": x: expected a last extent in ", heads,
        " equal parts, got ", x.shape());
}

struct Normalised {
  Tensor y, statistics;
};

Normalised normalised(const Tensor& x, std::int64_t groups, const Tensor& weight, const Tensor& bias, double eps) {
  const Normalised made{empty_like(x), empty({x.shape().rows(), groups, 2}, accumulator(x.dtype()), x.device())};
  on_device(x.device(), [&](auto dev) {
    kernels::group_norm(dev, x.view(), weight.view(), bias.view(), eps, made.y.mut(), made.statistics.mut());
  });
  return made;
}

}  // namespace

Tensor group_norm(const Tensor& x, std::int64_t groups, const Tensor& weight, const Tensor& bias, double eps) {
  check_heads("group_norm", x, groups);
  for (const Tensor& vector : {weight, bias})
    check(vector.shape() == Shape{x.dim(-1)} && vector.dtype() == x.dtype(), "group_norm: weight and bias: expected ",
          x.dtype(), ' ', Shape{x.dim(-1)}, ", got ", vector);
  const Tensor w = weight.detach(), b = bias.detach();
  const Normalised made = normalised(x, groups, w, b, eps);
  const Saved sx = save("x", x), kept = save("statistics", made.statistics);
  const Tensor y = record("group_norm", made.y, {x, weight, bias}, [sx, w, kept](const Tensor& dy, Grads& grad) {
    const Sink dx = grad.narrow(0), dweight = grad[1], dbias = grad[2];
    on_device(dy.device(), [&](auto dev) {
      kernels::group_norm_backward(dev, dy.view(), sx.view(), w.view(), kept.view(), dx, dweight);
      if (dbias)
        kernels::column_sum(dev, dy.view(), dbias);
    });
  });
  return cheap("group_norm", y, {x}, [sx, groups, w, b, eps] { return normalised(sx.tensor(), groups, w, b, eps).y; });
}

Tensor head_normalize(const Tensor& x, std::int64_t heads, double eps) {
  check_heads("head_normalize", x, heads);
  const Tensor y = empty_like(x), norm = empty({x.shape().rows(), heads}, accumulator(x.dtype()), x.device());
  on_device(x.device(), [&](auto dev) { kernels::head_normalize(dev, x.view(), eps, y.mut(), norm.mut()); });
  return record(
      "head_normalize", y, {x}, [sy = save("y", y), snorm = save("norm", norm)](const Tensor& dy, Grads& grad) {
        const Sink dx = grad.narrow(0);
        on_device(dy.device(),
                  [&](auto dev) { kernels::head_normalize_backward(dev, dy.view(), sy.view(), snorm.view(), dx); });
      });
}

Tensor head_bonus(const Tensor& r, const Tensor& k, const Tensor& v, const Tensor& bonus, std::int64_t heads) {
  check_heads("head_bonus", r, heads);
  check(bonus.numel() == r.dim(-1), "head_bonus: bonus: expected ", r.dim(-1), " numbers, got ", bonus);
  const Tensor y = empty_like(r), u = bonus.detach();
  on_device(r.device(),
            [&](auto dev) { kernels::head_bonus(dev, r.view(), k.view(), v.view(), u.view(), heads, y.mut()); });
  return record("head_bonus", y, {r, k, v, bonus},
                [sr = save("r", r), sk = save("k", k), sv = save("v", v), u, heads](const Tensor& dy, Grads& grad) {
                  const Sink dr = grad.narrow(0), dk = grad.narrow(1), dv = grad.narrow(2), dbonus = grad[3];
                  const Tensor terms =
                      dbonus ? empty(dy.shape(), accumulator(dy.dtype()), dy.device(), Category::workspace) : Tensor{};
                  on_device(dy.device(), [&](auto dev) {
                    kernels::head_bonus_backward(dev, dy.view(), sr.view(), sk.view(), sv.view(), u.view(), heads, dr,
                                                 dk, dv, terms.defined() ? terms.mut() : View{});
                    if (dbonus)
                      kernels::column_sum(dev, terms.view(), dbonus);
                  });
                });
}

}  // namespace osteon
