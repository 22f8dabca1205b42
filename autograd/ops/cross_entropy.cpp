#include "backends/kernels/cross_entropy.hpp"

#include <algorithm>

#include "autograd/compute_copy.hpp"
#include "autograd/node.hpp"
#include "autograd/ops.hpp"
#include "autograd/rwkv_ops.hpp"
#include "autograd/shared_step.hpp"
#include "backends/flops.hpp"
#include "backends/kernels/elementwise.hpp"
#include "backends/kernels/gemm.hpp"
#include "backends/kernels/l2_wrap.hpp"
#include "backends/kernels/reduce.hpp"

namespace osteon {
namespace {

/// Rows of logits at a time: few enough for little memory, many enough for the GEMM's full rate (64 rows lose 30%).
constexpr std::int64_t kChunkRows = 256;

void check_targets(const char* op, const Shape& expected, const Tensor& targets, const Normalizer& normalizer) {
  check(targets.dtype() == DType::i32, op, ": targets: expected i32, got ", targets.dtype());
  check(targets.shape() == expected, op, ": targets: expected ", expected, ", got ", targets.shape());
  check<NumericError>(normalizer.value() > 0, op,
                      ": normalizer: expected a number above 0 (a loss over no tokens?), got ", normalizer.value());
}

/// The logits of a chunk of rows and what becomes of them; buffers are reused from chunk to chunk. A chunk is some
/// whole sequences or a piece of one, so that sums over its tokens do not depend on how a batch is split.
class Chunks {
 public:
  /// `pull`: what l2_wrap adds to a gradient, as a share of the largest logit of its row; 0: nothing.
  Chunks(ConstView x, ConstView weight, ConstView targets, Device device, double pull)
      : x_(x.matrix()),
        weight_(weight),
        targets_(targets.reshape({x.rows(), 1})),
        device_(device),
        pull_(pull),
        seq_len_(std::max<std::int64_t>(x.shape.rank() >= 2 ? x.dim(-2) : 1, 1)) {
    const Shape chunk = {std::min(kChunkRows, x_.rows()), weight.dim(0)};
    const DType wide = accumulator(x.dtype);
    const auto buffer = [&](DType dtype) { return empty(chunk, dtype, device, Category::workspace); };
    logits_ = buffer(wide);
    dlogits_ = x.dtype == wide && pull == 0 ? logits_ : buffer(x.dtype);
    first_ = pull == 0 || x.dtype == wide ? dlogits_ : buffer(wide);
  }

  /// For every chunk the losses [tokens] f64; then, if there is a gradient, with_gradient(dlogits, first, last row)
  /// with dlogits [sequences, tokens of each, vocab_size].
  template <class F>
  void run(const Factor& factor, bool gradient, const Tensor& losses, F&& with_gradient) {
    const bool whole = seq_len_ <= kChunkRows;
    const std::int64_t step = whole ? kChunkRows / seq_len_ * seq_len_ : kChunkRows;
    for (std::int64_t begin = 0; begin < x_.rows();) {
      const std::int64_t limit = whole ? x_.rows() : (begin / seq_len_ + 1) * seq_len_;
      const std::int64_t end = std::min(begin + step, limit);
      const Shape grouped = {whole ? (end - begin) / seq_len_ : 1, whole ? seq_len_ : end - begin, weight_.dim(0)};
      const auto rows_of = [&](const Tensor& chunk) { return chunk.mut().slice_rows(0, end - begin); };
      const View logits = rows_of(logits_), first = rows_of(first_), dlogits = rows_of(dlogits_);
      const View rows = losses.mut().reshape({x_.rows(), 1}).slice_rows(begin, end).reshape({end - begin});
      const ConstView targets = targets_.slice_rows(begin, end).reshape({end - begin});
      const CountAs work(Work::head);
      on_any_device(device_, [&](auto dev) {
        kernels::gemm(dev, x_.slice_rows(begin, end), weight_, logits, {.transpose_b = true});
      });
      on_device(device_, [&](auto dev) {
        kernels::cross_entropy(dev, logits, targets, factor, rows, gradient ? first : View{});
      });
      if (gradient && pull_ != 0)
        add_pull(logits, first, dlogits);
      if (gradient) {
        const CountAs pass(Pass::backward);  // also where it is made ahead of the backward
        on_any_device(device_, [&](auto dev) { with_gradient(dev, ConstView(dlogits.reshape(grouped)), begin, end); });
      }
      begin = end;
    }
  }

 private:
  void add_pull(const View& logits, const View& first, const View& dlogits) const {
    on_device(device_, [&](auto dev) { kernels::l2_wrap_backward(dev, logits, pull_, {first, true}); });
    if (first_.dtype() != dlogits_.dtype())
      on_device(device_, [&](auto dev) { kernels::scale(dev, first, 1.0, {dlogits, false}); });
  }

  ConstView x_, weight_, targets_;
  Device device_;
  double pull_;
  std::int64_t seq_len_;
  Tensor logits_, dlogits_;
  Tensor first_;  ///< the loss's own gradient: where a pull is added to it, beside the logits and as wide as they
};

/// dw (+)= the sum over rows [begin, end) of x, whose logits' gradients [sequences, tokens, vocab_size] came.
template <class Dev>
void add_weight_gradient(Dev dev, const ConstView& dlogits, const ConstView& x, std::int64_t begin, std::int64_t end,
                         const Sink& dw) {
  const ConstView rows = x.matrix().slice_rows(begin, end);
  kernels::gemm_tokens(dev, dlogits, rows.reshape(dlogits.shape.with_last(rows.cols())), dw);
}

Tensor total(const Tensor& losses, const Normalizer& normalizer, DType dtype) {
  if (SharedStep* const step = SharedStep::active())
    step->losses(losses);
  Tensor loss = empty({}, dtype, losses.device());
  on_any_device(losses.device(), [&](auto dev) {
    kernels::sum(dev, losses.view(), normalizer.factor(), {loss.mut(), false});
  });
  return loss;
}

}  // namespace

Tensor cross_entropy(const Tensor& logits, const Tensor& targets, const Normalizer& normalizer) {
  check(logits.shape().rank() >= 1, "cross_entropy: logits: expected [..., vocab_size], got a scalar");
  check_targets("cross_entropy", logits.shape().leading(), targets, normalizer);
  const DType wide = accumulator(logits.dtype());
  const Tensor rows = logits.dtype() == wide ? logits.detach() : converted(logits, wide, Category::workspace);
  const Tensor losses = empty({logits.shape().rows()}, DType::f64, logits.device(), Category::workspace);
  const Tensor dlogits = wants_grad(logits) ? empty_like(logits) : Tensor{};
  on_device(logits.device(), [&](auto dev) {
    kernels::cross_entropy(dev, rows.view().matrix(), targets.view().reshape({logits.shape().rows()}),
                           normalizer.factor(), losses.mut(), dlogits.defined() ? dlogits.mut().matrix() : View{});
  });
  return record("cross_entropy", total(losses, normalizer, wide), {logits},
                [d = save_if(dlogits.defined(), "dlogits", dlogits)](const Tensor& dy, Grads& grad) {
                  const Sink dx = grad[0];
                  on_device(dy.device(), [&](auto dev) { kernels::scale(dev, d.view(), dy.item(), dx); });
                });
}

Tensor linear_cross_entropy(const Tensor& x, const Tensor& weight, const Tensor& targets, const Normalizer& normalizer,
                            bool pulls_largest) {
  check(x.shape().rank() >= 1, "linear_cross_entropy: x: expected [..., in_features], got a scalar");
  check(weight.shape().rank() == 2 && weight.dim(1) == x.dim(-1),
        "linear_cross_entropy: weight: expected [vocab_size, ", x.dim(-1), "], got ", weight.shape());
  check_targets("linear_cross_entropy", x.shape().leading(), targets, normalizer);
  const Tensor w = compute_copy(weight, x.dtype());
  const std::int64_t positions = normalizer.positions() > 0 ? normalizer.positions() : x.shape().rows();
  const double pull = pulls_largest ? kL2WrapPull / static_cast<double>(positions) : 0;
  const Tensor losses = empty({x.shape().rows()}, DType::f64, x.device(), Category::workspace);
  // Gradients are made here, from logits that need not be computed again; but not beside a gradient of the weight that
  // is there already: it would take as much memory once more.
  const bool trains = wants_grad(weight), again = trains && weight.grad().defined();
  const bool dx_now = wants_grad(x) && !again, dw_now = trains && !again;
  const Tensor dx = dx_now ? empty_like(x) : Tensor{};
  const Tensor dw =
      dw_now ? empty(weight.shape(), accumulator(weight.dtype()), weight.device(), Category::gradient) : Tensor{};
  Chunks(x.view(), w.view(), targets.view(), x.device(), dx_now || dw_now ? pull : 0)
      .run(normalizer.factor(), dx_now || dw_now, losses,
           [&](auto dev, ConstView dlogits, std::int64_t begin, std::int64_t end) {
             if (dx_now)
               kernels::gemm(dev, dlogits, w.view(), dx.mut().matrix().slice_rows(begin, end));
             if (dw_now)
               add_weight_gradient(dev, dlogits, x.view(), begin, end, {dw.mut(), begin > 0});
           });
  const Tensor loss = total(losses, normalizer, accumulator(x.dtype()));
  if (!again)
    return record("linear_cross_entropy", loss, {x, weight},
                  [sdx = save_if(dx_now, "dx", dx), dw](const Tensor& dy, Grads& grad) {
                    if (const Sink dx_sink = grad[0])
                      on_device(dy.device(), [&](auto dev) { kernels::scale(dev, sdx.view(), dy.item(), dx_sink); });
                    grad.give(1, dw, dy);
                  });
  return record("linear_cross_entropy", loss, {x, weight},
                [sx = save("x", x), w, st = save("targets", targets), normalizer, pull](const Tensor& dy, Grads& grad) {
                  const Tensor unused = empty({sx.view().rows()}, DType::f64, dy.device(), Category::workspace);
                  const Sink dx_sink = grad[0];
                  Sink dw_sink = grad[1];
                  Chunks(sx.view(), w.view(), st.view(), dy.device(), pull * dy.item())
                      .run(normalizer.factor(dy.item()), true, unused,
                           [&](auto dev, ConstView dlogits, std::int64_t begin, std::int64_t end) {
                             if (dx_sink)
                               kernels::gemm(dev, dlogits, w.view(), dx_sink.view.matrix().slice_rows(begin, end),
                                             {.add = dx_sink.add});
                             add_weight_gradient(dev, dlogits, sx.view(), begin, end, dw_sink);
                             dw_sink.add = true;
                           });
                });
}

}  // namespace osteon
