#include "backends/kernels/bat.hpp"

#include <nlohmann/json.hpp>

#include "backends/kernels/decompose.hpp"
#include "backends/kernels/elementwise.hpp"
#include "peft/bat_blocks.hpp"
#include "peft/bat_form.hpp"
#include "peft/method_list.hpp"

// Bat ("Weight Guide"), arXiv:2409.15371 v1-v3 (called Bone there), Hugging Face's layout: a block of the weight itself
// steers the update. With r x r blocks W_ab and one matrix B_a per block row a, B [out / r, r, r], zero at the start:
//   W'_ab = W_ab (I + B_a) + B_a,   y = x W'^T
//   dW' = g^T x,  dB_a = sum_b (W_ab^T dW'_ab + dW'_ab),  dx = g W'
// saves x only: W' is rebuilt slab by slab in forward and backward and never exists as a whole.

namespace osteon::peft {
namespace {

/// A square block [rank, rank] with `factor` added to its diagonal.
Tensor plus_identity(const Tensor& block, double factor, DType dtype) {
  std::vector<double> values = block.to_doubles();
  const std::int64_t rank = block.dim(-1);
  for (std::int64_t i = 0; i < rank; ++i)
    values[static_cast<std::size_t>(i * rank + i)] += factor;
  return from_values(values, {rank, rank}, dtype, block.device(), Category::workspace);
}

class Bat final : public Adapter {
 public:
  Bat(const AdapterSite& site, std::string suffix) : suffix_(std::move(suffix)) {
    const std::int64_t rank = bat_rank(site, "bat");
    blocks_ = site.parameter({site.base.out_features() / rank, rank, rank});
  }

  Tensor forward(const Tensor& x, const nn::Linear& base) const override {
    return bat_linear(x, base.weight, base.bias, blocks_);
  }

  NamedTensors parameters() const override { return {{suffix_, blocks_}}; }

  Tensor delta_weight(const nn::Linear& base) const override {
    const Tensor delta = merged_weight(base);
    on_device(delta.device(), [&](auto dev) { kernels::scale(dev, base.weight.view(), -1.0, {delta.mut(), true}); });
    return delta;
  }

  Tensor merged_weight(const nn::Linear& base) const override {
    Tensor merged =
        empty(base.weight.shape(), accumulator(base.weight.dtype()), base.weight.device(), Category::workspace);
    on_device(merged.device(),
              [&](auto dev) { kernels::bat_weight(dev, base.weight.view(), blocks_.view(), merged.mut()); });
    return merged;
  }

  /// W_ab = (W'_ab - B_a) (I + B_a)^-1, which is the same transform with (I + B_a)^-1 - I for B_a.
  Tensor unmerged_weight(const nn::Linear& base) const override {
    const Tensor undo = undoing_blocks(blocks_, base);
    Tensor weight =
        empty(base.weight.shape(), accumulator(base.weight.dtype()), base.weight.device(), Category::workspace);
    on_device(weight.device(),
              [&](auto dev) { kernels::bat_weight(dev, base.weight.view(), undo.view(), weight.mut()); });
    return weight;
  }

 private:
  Tensor blocks_;  ///< [out_features / rank, rank, rank]
  std::string suffix_;
};

class BatMethod final : public Method {
 public:
  std::string name() const override { return "bat"; }
  std::string summary() const override { return "one matrix per block row, guided by the weight (arXiv:2409.15371)"; }
  std::int64_t default_rank() const override { return 64; }
  std::unique_ptr<Adapter> make(const AdapterSite& site) const override {
    return std::make_unique<Bat>(site, "bone_block");
  }

  void check(const AdapterConfig& config) const override {
    Method::check(config);
    osteon::check<ConfigError>(config.dropout == 0.0, "bat: dropout: expected 0, got ", config.dropout);
  }

  void write(const AdapterConfig& config, nlohmann::json& file) const override {
    file["peft_type"] = "BONE";
    file["r"] = config.rank;
    file["init_weights"] = "bat";
  }

  bool read(const nlohmann::json& file, AdapterConfig& config) const override {
    const std::string type = file.value("peft_type", "");
    if ((type != "BONE" && type != "MISS") || file.value("init_weights", nlohmann::json()) != "bat")
      return false;
    config.rank = file.value("r", std::int64_t{64});
    return true;
  }
};

}  // namespace

Tensor undoing_blocks(const Tensor& blocks, const nn::Linear& base) {
  const std::int64_t rank = blocks.dim(1);
  const DType wide = accumulator(base.weight.dtype());
  const Device device = base.weight.device();
  const Tensor undo = empty(blocks.shape(), wide, device, Category::workspace);
  for (std::int64_t i = 0; i < blocks.dim(0) && device != Device::meta; ++i) {
    const Tensor shifted = plus_identity(blocks.slice(i, i + 1), 1.0, wide);
    const Tensor inverse = empty({rank, rank}, wide, device, Category::workspace);
    on_device(device, [&](auto dev) {
      const double condition = kernels::invert(dev, shifted.view(), inverse.mut());
      check<NumericError>(condition >= 1e-6, "bat: unmerge: block ", i, " of ", base.name(),
                          ": expected a reciprocal condition of at least 1e-6, got ", condition,
                          "; merge with a backup instead");
      kernels::copy(dev, plus_identity(inverse, -1.0, wide).view(), undo.slice(i, i + 1).mut().reshape({rank, rank}));
    });
  }
  return undo;
}

std::unique_ptr<Method> bat_method() { return std::make_unique<BatMethod>(); }

}  // namespace osteon::peft
