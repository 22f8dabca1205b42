#pragma once

#include <memory>
#include <string>
#include <vector>

#include "autograd/weight_rewrite.hpp"
#include "peft/adapter.hpp"

/// What the forms of Bat share that exist to be compared with it (bat_product, bat_hadamard, bat_ab, bat_tile): how W'
/// is made, a file each. They are written for clarity; bat.cpp is the one written for speed.
namespace osteon::peft {

/// The rank of a site whose features must be multiples of it; ConfigError naming the method where they are not.
std::int64_t bat_rank(const AdapterSite& site, const std::string& method);

/// An adapter that is a rewriting of the weight. `undone` gives the parameters with which the same rewriting takes W'
/// back to W; NumericError where W cannot be had back.
class BatForm : public Adapter {
 public:
  Tensor forward(const Tensor& x, const nn::Linear& base) const override;
  NamedTensors parameters() const override { return named_; }
  Tensor delta_weight(const nn::Linear& base) const override;
  Tensor merged_weight(const nn::Linear& base) const override;
  Tensor unmerged_weight(const nn::Linear& base) const override;

 protected:
  BatForm(NamedTensors named, std::shared_ptr<const WeightRewrite> rewrite)
      : named_(std::move(named)), rewrite_(std::move(rewrite)) {}
  virtual std::vector<Tensor> undone(const nn::Linear& base, const std::vector<Tensor>& parameters) const = 0;

 private:
  std::vector<Tensor> tensors() const;

  NamedTensors named_;
  std::shared_ptr<const WeightRewrite> rewrite_;
};

/// A form's entry in the list of methods. Hugging Face has no such layouts: files say so by a type of their own, which
/// is the method's name.
class BatFormMethod : public Method {
 public:
  BatFormMethod(std::string name, std::string summary) : name_(std::move(name)), summary_(std::move(summary)) {}
  std::string name() const override { return name_; }
  std::string summary() const override { return summary_; }
  std::int64_t default_rank() const override { return 64; }
  void check(const AdapterConfig& config) const override;
  void write(const AdapterConfig& config, nlohmann::json& file) const override;
  bool read(const nlohmann::json& file, AdapterConfig& config) const override;

 private:
  std::string name_, summary_;
};

/// BatFormMethod for an adapter that is made of its site alone.
template <class Form>
class BatFormOf final : public BatFormMethod {
 public:
  using BatFormMethod::BatFormMethod;
  std::unique_ptr<Adapter> make(const AdapterSite& site) const override { return std::make_unique<Form>(site); }
};

/// Which matrix a block W_ab of rank x rank has: one of rows x columns by (a mod rows, b mod columns), in this order.
struct BatTile {
  std::int64_t rows = 1, columns = 1;
};

// The two terms of Bat, W_ab B and B, for matrices [rows * columns, rank, rank] that a tile of blocks shares; each is
// added to what is there. Every tensor is in the accumulator dtype.

/// W'_ab += W_ab B
void add_product(const Tensor& weight, const Tensor& blocks, BatTile tile, const Tensor& rewritten);
/// dB (+)= sum over the tile's places of W_ab^T dW'_ab
void product_gradient(const Tensor& weight, const Tensor& drewritten, BatTile tile, std::int64_t rank, Sink gradient);
/// W'_ab += B
void add_sum(const Tensor& blocks, BatTile tile, const Tensor& rewritten);
/// dB (+)= sum over the tile's places of dW'_ab
void sum_gradient(const Tensor& drewritten, BatTile tile, std::int64_t rank, Sink gradient);

}  // namespace osteon::peft
