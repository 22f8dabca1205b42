#include <nlohmann/json.hpp>

#include "backends/kernels/elementwise.hpp"
#include "peft/bat_blocks.hpp"
#include "peft/bat_form.hpp"
#include "peft/method_list.hpp"

// Bat whose matrices belong to the places in a tile of q x p blocks, shared by all tiles. B [q p, r, r], zero at the
// start, with m = (a mod q) p + b mod p:
//   W'_ab = W_ab (I + B_m) + B_m,   dB_m = sum of W_ab^T dW'_ab + dW'_ab over the blocks of place m          saves x
// q = out / r and p = 1 is Bat, q = 1 and p = in / r is bat_row.                       arXiv:2409.15371 v1-v3

namespace osteon::peft {
namespace {

class Tiled final : public WeightRewrite {
 public:
  explicit Tiled(BatTile tile) : tile_(tile) {}

  void apply(const Tensor& weight, const std::vector<Tensor>& parameters, const Tensor& rewritten) const override {
    on_device(weight.device(), [&](auto dev) { kernels::copy(dev, weight.view(), rewritten.mut()); });
    add_product(weight, parameters[0], tile_, rewritten);
    add_sum(parameters[0], tile_, rewritten);
  }

  void gradient(const Tensor& weight, const std::vector<Tensor>& parameters, const Tensor& drewritten,
                const std::vector<Sink>& gradients) const override {
    const std::int64_t rank = parameters[0].dim(1);
    product_gradient(weight, drewritten, tile_, rank, gradients[0]);
    sum_gradient(drewritten, tile_, rank, {gradients[0].view, true});
  }

 private:
  BatTile tile_;
};

class Tile final : public BatForm {
 public:
  explicit Tile(const AdapterSite& site)
      : BatForm({{"bat_tile_block", site.parameter(blocks_of(site))}},
                std::make_shared<Tiled>(BatTile{site.config.tile_rows, site.config.tile_columns})) {}

 private:
  static Shape blocks_of(const AdapterSite& site) {
    const std::int64_t rank = bat_rank(site, "bat_tile"), rows = site.config.tile_rows;
    const std::int64_t columns = site.config.tile_columns;
    check<ConfigError>(site.base.out_features() / rank % rows == 0, "bat_tile: tile_rows: expected a divisor of the ",
                       site.base.out_features() / rank, " blocks of out_features, got ", rows);
    check<ConfigError>(site.base.in_features() / rank % columns == 0,
                       "bat_tile: tile_columns: expected a divisor of the ", site.base.in_features() / rank,
                       " blocks of in_features, got ", columns);
    return {rows * columns, rank, rank};
  }

  std::vector<Tensor> undone(const nn::Linear& base, const std::vector<Tensor>& parameters) const override {
    return {undoing_blocks(parameters[0], base)};
  }
};

class TileMethod final : public BatFormMethod {
 public:
  TileMethod() : BatFormMethod("bat_tile", "Bat with matrices shared by tiles of blocks (arXiv:2409.15371 v1-v3)") {}
  std::unique_ptr<Adapter> make(const AdapterSite& site) const override { return std::make_unique<Tile>(site); }

  void check(const AdapterConfig& config) const override {
    BatFormMethod::check(config);
    for (const auto& [key, value] :
         {std::pair("tile_rows", config.tile_rows), std::pair("tile_columns", config.tile_columns)})
      osteon::check<ConfigError>(value >= 1, "bat_tile: ", key, ": expected at least 1, got ", value);
  }

  void write(const AdapterConfig& config, nlohmann::json& file) const override {
    BatFormMethod::write(config, file);
    file["tile_rows"] = config.tile_rows;
    file["tile_columns"] = config.tile_columns;
  }

  bool read(const nlohmann::json& file, AdapterConfig& config) const override {
    if (!BatFormMethod::read(file, config))
      return false;
    config.tile_rows = file.value("tile_rows", std::int64_t{1});
    config.tile_columns = file.value("tile_columns", std::int64_t{1});
    return true;
  }
};

}  // namespace

std::unique_ptr<Method> bat_tile_method() { return std::make_unique<TileMethod>(); }

}  // namespace osteon::peft
