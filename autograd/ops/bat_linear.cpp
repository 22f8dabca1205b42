#include <algorithm>

#include "autograd/compute_copy.hpp"
#include "autograd/ops.hpp"
#include "autograd/ops/linear.hpp"
#include "autograd/shared_step.hpp"
#include "backends/flops.hpp"
#include "backends/kernels/bat.hpp"
#include "backends/kernels/elementwise.hpp"
#include "backends/kernels/gemm.hpp"
#include "backends/kernels/reduce.hpp"

namespace osteon {
namespace {

/// Rows of W that its W' exists for at a time: a GPU's kernels want to be filled; on a CPU the products with x run
/// well, and dW' [rows, in] stays near the caches.
std::int64_t slab_rows(std::int64_t in, Device device) {
  constexpr std::int64_t kElements = 1 << 20;
  return deciding_device(device) == Device::cuda
             ? 1024
             : std::max<std::int64_t>(256, kElements / std::max<std::int64_t>(in, 1));
}

struct Slab {
  std::int64_t begin, end;  ///< rows of W = output features
};

/// Slabs of whole block rows, of about one size.
std::vector<Slab> slabs(std::int64_t out, std::int64_t in, std::int64_t rank, Device device) {
  const std::int64_t most = slab_rows(in, device), count = (out + most - 1) / most;
  const std::int64_t rows = (out / rank + count - 1) / count * rank;
  std::vector<Slab> all;
  for (std::int64_t begin = 0; begin < out; begin += rows)
    all.push_back({begin, std::min(begin + rows, out)});
  return all;
}

Tensor workspace(const Shape& shape, DType dtype, Device device) {
  return empty(shape, dtype, device, Category::workspace);
}

/// Columns [begin, end) of dy as a dense tensor; dy itself if these are all.
Tensor columns(const Tensor& dy, Slab slab) {
  if (slab.end - slab.begin == dy.dim(-1))
    return dy;
  Tensor part = workspace(dy.shape().with_last(slab.end - slab.begin), dy.dtype(), dy.device());
  on_device(dy.device(), [&](auto dev) {
    kernels::copy_columns(dev, dy.view(), slab.begin, {part.mut(), false}, 0, slab.end - slab.begin);
  });
  return part;
}

/// W' of a slab; the product with it is the base's, turned into another.
template <class Dev>
void adapt(Dev dev, ConstView w, ConstView b, View adapted) {
  const CountAs work(Work::adapter);
  kernels::bat_weight(dev, w, b, adapted);
}

}  // namespace

Tensor bat_linear(const Tensor& x, const Tensor& weight, const Tensor& bias, const Tensor& blocks) {
  check(x.shape().rank() >= 1, "bat_linear: x: expected [..., in_features], got a scalar");
  check(weight.shape().rank() == 2 && weight.dim(1) == x.dim(-1), "bat_linear: weight: expected [out, ", x.dim(-1),
        "], got ", weight.shape());
  check(blocks.shape().rank() == 3, "bat_linear: blocks: expected [out / rank, rank, rank], got ", blocks.shape());
  const std::int64_t out = weight.dim(0), in = weight.dim(1), rank = blocks.dim(2);
  check(rank >= 1 && out >= 1 && out % rank == 0 && in % rank == 0 && blocks.shape() == Shape{out / rank, rank, rank},
        "bat_linear: blocks: expected [out / rank, rank, rank] with in ", in, " and out ", out,
        " multiples of rank, got ", blocks.shape());
  check(weight.dtype() == x.dtype(), "bat_linear: weight: expected ", x.dtype(), ", got ", weight.dtype());
  check(!wants_grad(weight), "bat_linear: weight: expected a frozen base weight, got a trainable one");
  check(!bias.defined() || bias.shape() == Shape{out}, "bat_linear: bias: expected [", out, "], got ", bias);

  const Tensor w = weight.detach(), b = blocks.detach();
  const Tensor y = empty(x.shape().with_last(out), x.dtype(), x.device());
  const std::vector<Slab> all = slabs(out, in, rank, x.device());
  const bool one_slab = all.size() == 1;
  {
    const std::int64_t rows = all[0].end;
    const Tensor adapted = workspace({rows, in}, x.dtype(), x.device());
    const Tensor part = one_slab ? y : workspace(x.shape().with_last(rows), x.dtype(), x.device());
    for (const Slab slab : all) {
      const std::int64_t count = slab.end - slab.begin;
      const View p = adapted.mut().slice_rows(0, count);
      const View z = {part.mut().data, part.dtype(), x.shape().with_last(count), true};
      if (bias.defined())
        on_device(x.device(), [&](auto dev) { kernels::repeat_rows(dev, bias.slice(slab.begin, slab.end).view(), z); });
      on_any_device(x.device(), [&](auto dev) {
        adapt(dev, w.view().slice_rows(slab.begin, slab.end), b.slice(slab.begin / rank, slab.end / rank).view(), p);
        kernels::gemm(dev, x.view(), p, z, {.transpose_b = true, .add = bias.defined()});
      });
      if (!one_slab)
        on_device(x.device(), [&](auto dev) { kernels::copy_columns(dev, z, 0, {y.mut(), false}, slab.begin, count); });
    }
  }

  return record(
      "bat_linear", y, {x, bias, blocks},
      [sx = save_if(wants_grad(blocks), "x", x), w, b, rank](const Tensor& dy, Grads& grad) {
        const std::int64_t d = w.dim(0), k = w.dim(1);
        // dB follows from dW' by a product with W: one for the batch, or one a sequence.
        const std::int64_t tokens = dy.shape().rows(), seq_len = dy.shape().rank() >= 2 ? dy.dim(-2) : 1,
                           summed = batch_invariant ? seq_len : tokens;
        const DType wide = accumulator(dy.dtype());
        const std::vector<Slab> parts = slabs(d, k, rank, dy.device());
        const std::int64_t rows = parts[0].end;
        const Sink dx = grad[0], dbias = grad[1], db = grad[2];
        const Tensor adapted = workspace({rows, k}, dy.dtype(), dy.device());
        const Tensor dadapted = db ? workspace({rows, k}, wide, dy.device()) : Tensor{};
        // Sums over slabs are kept wide: a bf16 dx would be rounded once a slab.
        const bool direct = !dx || dx.view.dtype == wide || parts.size() == 1;
        const Tensor dx_wide = direct ? Tensor{} : workspace(dx.view.shape, wide, dy.device());
        bool dx_add = direct && dx.add;
        for (const Slab slab : parts) {
          const std::int64_t count = slab.end - slab.begin;
          const Tensor g = columns(dy, slab);
          on_any_device(dy.device(), [&](auto dev) {
            const ConstView w_slab = w.view().slice_rows(slab.begin, slab.end);
            const ConstView b_slab = b.slice(slab.begin / rank, slab.end / rank).view();
            if (dx) {
              const View p = adapted.mut().slice_rows(0, count);
              adapt(dev, w_slab, b_slab, p);
              kernels::gemm(dev, g.view(), p, direct ? dx.view : dx_wide.mut(), {.add = dx_add});
              dx_add = true;
            }
            if (db) {
              const CountAs work(Work::adapter);
              const View q = dadapted.mut().slice_rows(0, count);
              const std::int64_t first = slab.begin / rank, last = slab.end / rank;
              const View db_slab = db.view.reshape({d / rank, rank * rank}).slice_rows(first, last);
              for (std::int64_t t = 0; t < tokens; t += summed) {
                const auto sequences = [&](const ConstView& rows_of) {
                  return rows_of.slice_rows(t, t + summed).reshape({summed / seq_len, seq_len, rows_of.cols()});
                };
                kernels::gemm_tokens(dev, sequences(g.view()), sequences(sx.view()), {q, false});
                kernels::bat_block_gradient(dev, w_slab, q,
                                            {db_slab.reshape({last - first, rank, rank}), db.add || t > 0});
              }
            }
          });
        }
        on_device(dy.device(), [&](auto dev) {
          if (dx && !direct)
            kernels::scale(dev, dx_wide.view(), 1.0, dx);
          if (dbias)
            kernels::column_sum(dev, dy.view(), dbias);
        });
      });
}

}  // namespace osteon
