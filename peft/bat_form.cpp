#include "peft/bat_form.hpp"

#include <nlohmann/json.hpp>

#include "backends/kernels/block_sum.hpp"
#include "backends/kernels/elementwise.hpp"
#include "backends/kernels/gemm.hpp"

namespace osteon::peft {
namespace {

Tensor workspace(const Tensor& like, const Shape& shape) {
  return empty(shape, like.dtype(), like.device(), Category::workspace);
}

/// Matrix i of [count, rank, rank].
template <class V>
V matrix(const V& blocks, std::int64_t i) {
  const std::int64_t count = blocks.dim(0), rank = blocks.dim(1);
  return blocks.reshape({count, rank * rank}).slice_rows(i, i + 1).reshape({rank, rank});
}

/// [out, in] as rows of whole tiles: column block c of [.., columns * rank] is what one matrix of a block row acts on.
template <class V>
V tiles(const V& weight, BatTile tile, std::int64_t rank) {
  return weight.reshape({weight.numel() / (tile.columns * rank), tile.columns * rank});
}

/// Column block c of the tiles of a weight: the pieces of block row a are rows a * in / columns on.
Tensor pieces_of(const Tensor& weight, BatTile tile, std::int64_t rank, std::int64_t c) {
  const Tensor pieces = workspace(weight, {weight.numel() / (tile.columns * rank), rank});
  on_device(weight.device(), [&](auto dev) {
    kernels::copy_columns(dev, tiles(weight.view(), tile, rank), c * rank, {pieces.mut(), false}, 0, rank);
  });
  return pieces;
}

}  // namespace

std::int64_t bat_rank(const AdapterSite& site, const std::string& method) {
  const std::int64_t rank = site.config.rank, in = site.base.in_features(), out = site.base.out_features();
  check<ConfigError>(in % rank == 0 && out % rank == 0, method, ": in_features ", in, " and out_features ", out,
                     ": expected multiples of rank, got rank ", rank);
  return rank;
}

void add_product(const Tensor& weight, const Tensor& blocks, BatTile tile, const Tensor& rewritten) {
  const std::int64_t rank = blocks.dim(1), count = weight.dim(1) / tile.columns;  // pieces of a block row
  for (std::int64_t c = 0; c < tile.columns; ++c) {
    const Tensor pieces = pieces_of(weight, tile, rank, c), products = workspace(weight, pieces.shape());
    on_any_device(weight.device(), [&](auto dev) {
      for (std::int64_t a = 0; a < weight.dim(0) / rank; ++a)
        kernels::gemm(dev, pieces.view().slice_rows(a * count, (a + 1) * count),
                      matrix(blocks.view(), a % tile.rows * tile.columns + c),
                      products.mut().slice_rows(a * count, (a + 1) * count));
    });
    on_device(weight.device(), [&](auto dev) {
      kernels::copy_columns(dev, products.view(), 0, {tiles(rewritten.mut(), tile, rank), true}, c * rank, rank);
    });
  }
}

void product_gradient(const Tensor& weight, const Tensor& drewritten, BatTile tile, std::int64_t rank, Sink gradient) {
  if (!gradient)
    return;
  const std::int64_t count = weight.dim(1) / tile.columns;
  for (std::int64_t c = 0; c < tile.columns; ++c) {
    const Tensor pieces = pieces_of(weight, tile, rank, c), dpieces = pieces_of(drewritten, tile, rank, c);
    on_any_device(weight.device(), [&](auto dev) {
      for (std::int64_t a = 0; a < weight.dim(0) / rank; ++a)
        kernels::gemm(dev, pieces.view().slice_rows(a * count, (a + 1) * count),
                      dpieces.view().slice_rows(a * count, (a + 1) * count),
                      matrix(gradient.view, a % tile.rows * tile.columns + c),
                      {.transpose_a = true, .add = gradient.add || a >= tile.rows});
    });
  }
}

// Row o of W' gets the rows o of its tile's matrices, one beside the other, as often as the tile fits.

void add_sum(const Tensor& blocks, BatTile tile, const Tensor& rewritten) {
  const std::int64_t rank = blocks.dim(1), out = rewritten.dim(0);
  const Tensor rows = workspace(rewritten, {out, tile.columns * rank});
  on_device(rewritten.device(), [&](auto dev) {
    for (std::int64_t a = 0; a < out / rank; ++a)
      for (std::int64_t c = 0; c < tile.columns; ++c)
        kernels::copy_columns(dev, matrix(blocks.view(), a % tile.rows * tile.columns + c), 0,
                              {rows.mut().slice_rows(a * rank, (a + 1) * rank), false}, c * rank, rank);
    kernels::block_tile(dev, rows.view(), {rewritten.mut(), true});
  });
}

void sum_gradient(const Tensor& drewritten, BatTile tile, std::int64_t rank, Sink gradient) {
  if (!gradient)
    return;
  const std::int64_t out = drewritten.dim(0);
  const Tensor rows = workspace(drewritten, {out, tile.columns * rank});
  on_device(drewritten.device(), [&](auto dev) {
    kernels::block_sum(dev, drewritten.view(), {rows.mut(), false});
    for (std::int64_t a = 0; a < out / rank; ++a)
      for (std::int64_t c = 0; c < tile.columns; ++c)
        kernels::copy_columns(dev, rows.view().slice_rows(a * rank, (a + 1) * rank), c * rank,
                              {matrix(gradient.view, a % tile.rows * tile.columns + c), gradient.add || a >= tile.rows},
                              0, rank);
  });
}

std::vector<Tensor> BatForm::tensors() const {
  std::vector<Tensor> all;
  for (const auto& [name, tensor] : named_)
    all.push_back(tensor);
  return all;
}

Tensor BatForm::forward(const Tensor& x, const nn::Linear& base) const {
  return rewritten_linear(x, base.weight, base.bias, tensors(), rewrite_);
}

Tensor BatForm::merged_weight(const nn::Linear& base) const {
  return rewritten_weight(*rewrite_, base.weight, tensors());
}

Tensor BatForm::delta_weight(const nn::Linear& base) const {
  const Tensor delta = merged_weight(base);
  on_device(delta.device(), [&](auto dev) { kernels::scale(dev, base.weight.view(), -1.0, {delta.mut(), true}); });
  return delta;
}

Tensor BatForm::unmerged_weight(const nn::Linear& base) const {
  return rewritten_weight(*rewrite_, base.weight, undone(base, tensors()));
}

void BatFormMethod::check(const AdapterConfig& config) const {
  Method::check(config);
  osteon::check<ConfigError>(config.dropout == 0.0, name_, ": dropout: expected 0, got ", config.dropout);
}

void BatFormMethod::write(const AdapterConfig& config, nlohmann::json& file) const {
  file["peft_type"] = name_;
  file["r"] = config.rank;
}

bool BatFormMethod::read(const nlohmann::json& file, AdapterConfig& config) const {
  if (file.value("peft_type", "") != name_)
    return false;
  config.rank = file.value("r", default_rank());
  return true;
}

}  // namespace osteon::peft
