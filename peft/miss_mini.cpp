#include <nlohmann/json.hpp>

#include "autograd/random_state.hpp"
#include "backends/kernels/block_sum.hpp"
#include "backends/kernels/elementwise.hpp"
#include "peft/method_list.hpp"

// MiSS mini: Bone whose block repeats along the output features too, D[j,o] = Dm[j, o mod mini_r], Dm [r, mini_r].
//   P = S Dm,  y = x W^T + tile(P)          dDm = S^T fold(g),  dS = fold(g) Dm^T         saves S only

namespace osteon::peft {
namespace {

class MissMini final : public Adapter {
 public:
  explicit MissMini(const AdapterSite& site) : dropout_(site.config.dropout) {
    check<ConfigError>(site.base.out_features() % site.config.mini_rank == 0,
                       "miss_mini: mini_r: expected a divisor of out_features ", site.base.out_features(), ", got ",
                       site.config.mini_rank);
    block_ = site.parameter({site.config.rank, site.config.mini_rank});
  }

  Tensor forward(const Tensor& x, const nn::Linear& base) const override {
    const bool drop = dropout_ > 0.0 && training();
    const Tensor s = block_sum(drop ? dropout(x, dropout_, next_random_key()) : x, block_.dim(0));
    return add(base.base(x), block_tile(matmul(s, block_), base.out_features()));
  }

  NamedTensors parameters() const override { return {{"miss_block", block_}}; }

  Tensor delta_weight(const nn::Linear& base) const override {  // delta[o,i] = Dm[i mod r, o mod mini_r]
    const auto workspace = [&](const Shape& shape) {
      return empty(shape, block_.dtype(), block_.device(), Category::workspace);
    };
    const Tensor wide = workspace({block_.dim(0), base.out_features()});
    const Tensor by_out = workspace({base.out_features(), block_.dim(0)});
    Tensor delta = empty(base.weight.shape(), accumulator(block_.dtype()), block_.device(), Category::workspace);
    on_device(block_.device(), [&](auto dev) {
      kernels::block_tile(dev, block_.view(), {wide.mut(), false});
      kernels::transpose(dev, wide.view(), {by_out.mut(), false});
      kernels::block_tile(dev, by_out.view(), {delta.mut(), false});
    });
    return delta;
  }

 private:
  Tensor block_;  ///< [rank, mini_rank]
  double dropout_;
};

class MissMiniMethod final : public Method {
 public:
  std::string name() const override { return "miss_mini"; }
  std::string summary() const override { return "Bone with a block repeated along the outputs too (arXiv:2409.15371)"; }
  std::int64_t default_rank() const override { return 64; }
  std::unique_ptr<Adapter> make(const AdapterSite& site) const override { return std::make_unique<MissMini>(site); }

  void check(const AdapterConfig& config) const override {
    Method::check(config);
    osteon::check<ConfigError>(config.mini_rank >= 1, "miss_mini: mini_r: expected at least 1, got ", config.mini_rank);
  }

  void write(const AdapterConfig& config, nlohmann::json& file) const override {
    file["peft_type"] = "MISS";
    file["r"] = config.rank;
    file["mini_r"] = config.mini_rank;
    file["miss_dropout"] = config.dropout;
    file["init_weights"] = "mini";
  }

  bool read(const nlohmann::json& file, AdapterConfig& config) const override {
    if (file.value("peft_type", "") != "MISS" || file.value("init_weights", nlohmann::json()) != "mini")
      return false;
    config.rank = file.value("r", std::int64_t{64});
    config.mini_rank = file.value("mini_r", std::int64_t{1});
    config.dropout = file.value("miss_dropout", 0.0);
    return true;
  }
};

}  // namespace

std::unique_ptr<Method> miss_mini_method() { return std::make_unique<MissMiniMethod>(); }

}  // namespace osteon::peft
