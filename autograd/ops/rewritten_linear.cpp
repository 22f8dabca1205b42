#include <algorithm>

#include "autograd/compute_copy.hpp"
#include "autograd/ops/linear.hpp"
#include "autograd/weight_rewrite.hpp"
#include "backends/kernels/elementwise.hpp"
#include "backends/kernels/gemm.hpp"
#include "backends/kernels/reduce.hpp"

namespace osteon {
namespace {

Tensor workspace(const Shape& shape, DType dtype, Device device) {
  return empty(shape, dtype, device, Category::workspace);
}

Tensor as(const Tensor& x, DType dtype) {
  return x.dtype() == dtype ? x.detach() : converted(x, dtype, Category::workspace);
}

std::vector<Tensor> as(const std::vector<Tensor>& all, DType dtype) {
  std::vector<Tensor> converted_all;
  for (const Tensor& one : all)
    converted_all.push_back(as(one, dtype));
  return converted_all;
}

}  // namespace

Tensor rewritten_weight(const WeightRewrite& rewrite, const Tensor& weight, const std::vector<Tensor>& parameters) {
  const CountAs work(Work::adapter);
  const DType wide = accumulator(weight.dtype());
  const Tensor rewritten = workspace(weight.shape(), wide, weight.device());
  rewrite.apply(as(weight, wide), as(parameters, wide), rewritten);
  return rewritten;
}

Tensor rewritten_linear(const Tensor& x, const Tensor& weight, const Tensor& bias,
                        const std::vector<Tensor>& parameters, const std::shared_ptr<const WeightRewrite>& rewrite) {
  check(parameters.size() == 1 || parameters.size() == 2, "rewritten_linear: parameters: expected one or two, got ",
        parameters.size());
  check(weight.dtype() == x.dtype(), "rewritten_linear: weight: expected ", x.dtype(), ", got ", weight.dtype());
  check(!wants_grad(weight), "rewritten_linear: weight: expected a frozen base weight, got a trainable one");
  std::vector<Tensor> values;
  for (const Tensor& one : parameters)
    values.push_back(one.detach());
  const bool trains = std::any_of(parameters.begin(), parameters.end(), [](const Tensor& p) { return wants_grad(p); });
  const Tensor w = weight.detach();
  const BaseLinear adapted("rewritten_linear", x, as(rewritten_weight(*rewrite, w, values), x.dtype()), bias);
  const Tensor second = parameters.size() == 2 ? parameters[1] : Tensor{};
  return record("rewritten_linear", adapted.forward(x), {x, bias, parameters[0], second},
                [sx = save_if(trains, "x", x), w, values, rewrite](const Tensor& dy, Grads& grad) {
                  const Sink dx = grad[0], dbias = grad[1];
                  std::vector<Sink> gradients;
                  for (std::size_t i = 0; i < values.size(); ++i)
                    gradients.push_back(grad[2 + i]);
                  if (dx) {
                    const Tensor again = as(rewritten_weight(*rewrite, w, values), dy.dtype());
                    on_any_device(dy.device(), [&](auto dev) { gemm_into(dev, dy.view(), again.view(), dx); });
                  }
                  if (dbias)
                    on_device(dy.device(), [&](auto dev) { kernels::column_sum(dev, dy.view(), dbias); });
                  if (std::none_of(gradients.begin(), gradients.end(), [](const Sink& s) { return bool(s); }))
                    return;
                  // Sequence by sequence, so that the sums do not depend on how a batch is split.
                  const CountAs work(Work::adapter);
                  const DType wide = accumulator(w.dtype());
                  const Tensor w_wide = as(w, wide), drewritten = workspace(w.shape(), wide, w.device());
                  const std::vector<Tensor> wide_values = as(values, wide);
                  const std::int64_t tokens = dy.shape().rows(), seq_len = dy.shape().rank() >= 2 ? dy.dim(-2) : 1;
                  for (std::int64_t t = 0; t < tokens; t += seq_len) {
                    on_any_device(dy.device(), [&](auto dev) {
                      kernels::gemm_tokens(dev, dy.view().slice_rows(t, t + seq_len),
                                           sx.view().slice_rows(t, t + seq_len), {drewritten.mut(), false});
                    });
                    rewrite->gradient(w_wide, wide_values, drewritten, gradients);
                    for (Sink& sink : gradients)
                      sink.add = true;
                  }
                });
}

}  // namespace osteon
