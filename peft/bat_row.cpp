#include "backends/kernels/elementwise.hpp"
#include "backends/kernels/gemm.hpp"
#include "peft/bat_blocks.hpp"
#include "peft/bat_form.hpp"
#include "peft/method_list.hpp"

// Bat with a matrix per input block, arXiv:2409.15371 v1-v3 "Bat-Row": the layout of RWKV-PEFT, where Hugging Face's
// (bat.cpp) has one per output block. B [in / r, r, r], zero at the start:
//   W'_ab = W_ab (I + B_b) + B_b,   y_a = sum_b x_b W'_ab^T
// What a block does is the same for all rows of W, so that the input takes it and W' is never made:
//   z_b = x_b B_b^T,   y = (x + z) W^T + tile(sum_b z_b)
// 2 N in r FLOPs where bat.cpp rebuilds W' (2 in out r) and multiplies it once more. Saves x.

namespace osteon::peft {
namespace {

class BatRow final : public Adapter {
 public:
  explicit BatRow(const AdapterSite& site) {
    const std::int64_t rank = bat_rank(site, "bat_row");
    blocks_ = site.parameter({site.base.in_features() / rank, rank, rank});
  }

  Tensor forward(const Tensor& x, const nn::Linear& base) const override {
    const Tensor z = block_linear(x, blocks_);
    return add(linear(add(x, z), base.weight, base.bias),
               block_tile(block_sum(z, blocks_.dim(1)), base.out_features()));
  }

  NamedTensors parameters() const override { return {{"bat_row_block", blocks_}}; }

  Tensor delta_weight(const nn::Linear& base) const override { return change(base, blocks_); }

  Tensor unmerged_weight(const nn::Linear& base) const override {
    return weight_plus(base, change(base, undoing_blocks(blocks_, base)), 1.0);
  }

 private:
  /// (W_ab + I) B_b for all blocks: what the transform adds to the base weight.
  static Tensor change(const nn::Linear& base, const Tensor& blocks) {
    const NoGrad no_grad;
    const DType wide = accumulator(base.weight.dtype());
    const std::int64_t rank = blocks.dim(1), out = base.out_features();
    const Device device = base.weight.device();
    const auto workspace = [&](const Shape& shape) { return empty(shape, wide, device, Category::workspace); };
    std::vector<double> ones(static_cast<std::size_t>(rank * rank), 0);
    for (std::int64_t i = 0; i < rank; ++i)
      ones[static_cast<std::size_t>(i * rank + i)] = 1;
    const Tensor identity = from_values(ones, {rank * rank}, wide, device, Category::workspace);
    const Tensor b = converted(blocks, wide, Category::workspace), delta = workspace({out, base.in_features()});
    const Tensor guide = workspace({out, rank}), part = workspace({out, rank});
    for (std::int64_t i = 0; i < b.dim(0); ++i) {
      const Tensor block = b.slice(i, i + 1).alias({rank, rank});
      on_device(device, [&](auto dev) {
        kernels::repeat_rows(dev, identity.view(), guide.mut().reshape({out / rank, rank * rank}));
        kernels::copy_columns(dev, base.weight.view(), i * rank, {guide.mut(), true}, 0, rank);
        kernels::gemm(dev, guide.view(), block.view(), part.mut());
        kernels::copy_columns(dev, part.view(), 0, {delta.mut(), false}, i * rank, rank);
      });
    }
    return delta;
  }

  Tensor blocks_;  ///< [in_features / rank, rank, rank]
};

}  // namespace

std::unique_ptr<Method> bat_row_method() {
  return std::make_unique<BatFormOf<BatRow>>("bat_row", "Bat with a matrix per input block (arXiv:2409.15371 v1-v3)");
}

}  // namespace osteon::peft
