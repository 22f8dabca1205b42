#include "autograd/compute_copy.hpp"
#include "autograd/node.hpp"
#include "autograd/ops.hpp"
#include "backends/flops.hpp"
#include "backends/kernels/elementwise.hpp"
#include "backends/kernels/gemm.hpp"

namespace osteon {
namespace {

/// Piece b of x as a dense tensor.
Tensor piece(const Tensor& x, std::int64_t b, std::int64_t rank) {
  const Tensor part = empty(x.shape().with_last(rank), x.dtype(), x.device(), Category::workspace);
  on_device(x.device(), [&](auto dev) {
    kernels::copy_columns(dev, x.view(), b * rank, {part.mut(), false}, 0, rank);
  });
  return part;
}

/// Every piece of x times its block, or its block transposed.
void multiply(const Tensor& x, const Tensor& blocks, bool transposed, Sink y) {
  const CountAs work(Work::adapter);
  const std::int64_t rank = blocks.dim(1);
  const Tensor z = empty(x.shape().with_last(rank), x.dtype(), x.device(), Category::workspace);
  for (std::int64_t b = 0; b < blocks.dim(0); ++b) {
    const Tensor part = piece(x, b, rank), block = blocks.slice(b, b + 1).alias({rank, rank});
    on_any_device(x.device(), [&](auto dev) {
      kernels::gemm(dev, part.view(), block.view(), z.mut(), {.transpose_b = transposed});
    });
    on_device(x.device(), [&](auto dev) { kernels::copy_columns(dev, z.view(), 0, y, b * rank, rank); });
  }
}

}  // namespace

Tensor block_linear(const Tensor& x, const Tensor& blocks) {
  check(x.shape().rank() >= 1, "block_linear: x: expected [..., in_features], got a scalar");
  const std::int64_t in = x.dim(-1);
  check(blocks.shape().rank() == 3 && blocks.dim(2) >= 1 && in >= 1 && in % blocks.dim(2) == 0 &&
            blocks.shape() == Shape{in / blocks.dim(2), blocks.dim(2), blocks.dim(2)},
        "block_linear: blocks: expected [in / rank, rank, rank] with in ", in, " a multiple of rank, got ",
        blocks.shape());
  const Tensor y = empty(x.shape(), x.dtype(), x.device()), used = compute_copy(blocks, x.dtype());
  multiply(x, used, true, {y.mut(), false});
  return record("block_linear", y, {x, blocks},
                [sx = save_if(wants_grad(blocks), "x", x), used](const Tensor& dy, Grads& grad) {
                  // dx_b = dy_b B_b,  dB_b = dy_b^T x_b, sequence by sequence as all gradients of weights
                  if (const Sink dx = grad.narrow(0))
                    multiply(dy, used, false, dx);
                  const Sink db = grad[1];
                  if (!db)
                    return;
                  const CountAs work(Work::adapter);
                  const Tensor saved = sx.tensor();
                  const std::int64_t count = used.dim(0), rank = used.dim(1), rows = dy.shape().rows();
                  const std::int64_t seq_len = dy.shape().rank() >= 2 ? dy.dim(-2) : 1;
                  for (std::int64_t b = 0; b < count; ++b) {
                    const Tensor g = piece(dy, b, rank), part = piece(saved, b, rank);
                    const View place = db.view.reshape({count, rank * rank}).slice_rows(b, b + 1).reshape({rank, rank});
                    on_any_device(dy.device(), [&](auto dev) {
                      for (std::int64_t t = 0; t < rows; t += seq_len)
                        kernels::gemm_tokens(dev, g.view().slice_rows(t, t + seq_len),
                                             part.view().slice_rows(t, t + seq_len), {place, db.add || t > 0});
                    });
                  }
                });
}

}  // namespace osteon
