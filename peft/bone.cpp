#include <cmath>
#include <nlohmann/json.hpp>

#include "autograd/random_state.hpp"
#include "backends/kernels/block_sum.hpp"
#include "backends/kernels/elementwise.hpp"
#include "backends/kernels/random.hpp"
#include "peft/method_list.hpp"

// Bone (MiSS in later versions), arXiv:2409.15371 v4 and later (v1-v3 call Bat "Bone"):
//   S[n,j] = sum_{i mod r = j} x[n,i],   y = x W^T + S D,   D [r, out], zero at start, no scaling
//   dD = S^T g,  dx = g W + tile(g D^T)         saves S only, shared by the linears that share x
//   delta W[o,i] = D[i mod r, o]
// in_features need not be a multiple of r, and r may exceed it.

namespace osteon::peft {
namespace {

class Bone final : public Adapter {
 public:
  Bone(const AdapterSite& site, std::string suffix)
      : block_(site.parameter({site.config.rank, site.base.out_features()})),
        dropout_(site.config.dropout),
        suffix_(std::move(suffix)) {
    if (!site.initialise || site.config.init != "false")
      return;
    const double bound = 1.0 / std::sqrt(static_cast<double>(block_.dim(1)));
    on_device(block_.device(), [&](auto dev) { kernels::fill_uniform(dev, block_.mut(), -bound, bound, site.key); });
  }

  Tensor forward(const Tensor& x, const nn::Linear& base) const override {
    const bool drop = dropout_ > 0.0 && training();
    const Tensor s = block_sum(drop ? dropout(x, dropout_, next_random_key()) : x, block_.dim(0));
    return linear_plus(x, base.weight, base.bias, s, block_, RightFactor::rank_by_out, 1.0);
  }

  NamedTensors parameters() const override { return {{suffix_, block_}}; }

  Tensor delta_weight(const nn::Linear& base) const override {
    const Tensor by_out = empty({block_.dim(1), block_.dim(0)}, block_.dtype(), block_.device(), Category::workspace);
    Tensor delta = empty(base.weight.shape(), accumulator(block_.dtype()), block_.device(), Category::workspace);
    on_device(block_.device(), [&](auto dev) {
      kernels::transpose(dev, block_.view(), {by_out.mut(), false});
      kernels::block_tile(dev, by_out.view(), {delta.mut(), false});
    });
    return delta;
  }

 private:
  Tensor block_;  ///< [rank, out_features]
  double dropout_;
  std::string suffix_;
};

/// Both names of the method: the same maths under other file keys.
class BoneMethod final : public Method {
 public:
  BoneMethod(std::string name, std::string peft_type, std::string suffix)
      : name_(std::move(name)), peft_type_(std::move(peft_type)), suffix_(std::move(suffix)) {}

  std::string name() const override { return name_; }
  std::string summary() const override { return "one block shared by all slices of the weight (arXiv:2409.15371)"; }
  std::int64_t default_rank() const override { return 64; }
  std::unique_ptr<Adapter> make(const AdapterSite& site) const override {
    return std::make_unique<Bone>(site, suffix_);
  }

  void check(const AdapterConfig& config) const override {
    Method::check(config);
    osteon::check<ConfigError>(config.init == "true" || config.init == "false", name_,
                               ": init_weights: expected true or false, got \"", config.init, "\"");
  }

  void write(const AdapterConfig& config, nlohmann::json& file) const override {
    file["peft_type"] = peft_type_;
    file["r"] = config.rank;
    file["init_weights"] = config.init == "true";
    if (peft_type_ == "MISS") {
      file["miss_dropout"] = config.dropout;
      file["mini_r"] = config.mini_rank;
    }
  }

  bool read(const nlohmann::json& file, AdapterConfig& config) const override {
    const nlohmann::json init = file.value("init_weights", nlohmann::json(true));
    if (file.value("peft_type", "") != peft_type_ || !init.is_boolean())
      return false;
    config.init = init.get<bool>() ? "true" : "false";
    config.rank = file.value("r", std::int64_t{64});
    config.dropout = file.value("miss_dropout", 0.0);
    config.mini_rank = file.value("mini_r", std::int64_t{1});
    return true;
  }

 private:
  std::string name_, peft_type_, suffix_;
};

}  // namespace

std::unique_ptr<Method> bone_method() { return std::make_unique<BoneMethod>("bone", "BONE", "bone_block"); }
std::unique_ptr<Method> miss_method() { return std::make_unique<BoneMethod>("miss", "MISS", "miss_block"); }

}  // namespace osteon::peft
