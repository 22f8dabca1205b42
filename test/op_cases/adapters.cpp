#include "autograd/weight_rewrite.hpp"
#include "backends/kernels/block_sum.hpp"
#include "backends/kernels/elementwise.hpp"
#include "test/op_cases.hpp"
#include "test/reference/block.hpp"
#include "test/reference/linear.hpp"

namespace osteon::test {
namespace {

using Inputs = const std::vector<Tensor>&;
using Doubles = const std::vector<Values>&;

std::size_t size(std::int64_t n) { return static_cast<std::size_t>(n); }

/// y += scaling * left right, right [rank, out] or [out, rank].
void add_product(Values& y, const Values& left, const Values& right, std::int64_t rank, bool out_by_rank,
                 double scaling) {
  const std::int64_t rows = static_cast<std::int64_t>(left.size()) / rank;
  reference::gemm(left, right, y, rows, static_cast<std::int64_t>(right.size()) / rank, rank, false, out_by_rank,
                  scaling, true);
}

/// Inputs x, weight, left, right and perhaps bias.
void add_linear_plus(CaseList& list, const Shape& x, std::int64_t out, std::int64_t rank, RightFactor layout,
                     bool bias) {
  const bool out_by_rank = layout == RightFactor::out_by_rank;
  std::vector<CaseInput> inputs = {activation(x), weight({out, x[-1]}), activation(x.with_last(rank)),
                                   adapter(out_by_rank ? Shape{out, rank} : Shape{rank, out})};
  if (bias)
    inputs.push_back(weight({out}));
  list.add({.op = "linear_plus",
            .variant = out_by_rank ? "lora_B" : "bone block",
            .inputs = inputs,
            .f = [=](Inputs v) { return linear_plus(v[0], v[1], bias ? v[4] : Tensor{}, v[2], v[3], layout, -1.5); },
            .reference =
                [=](Doubles v) {
                  Values y = reference::linear(v[0], v[1], bias ? v[4] : Values{}, size(x[-1]));
                  add_product(y, v[2], v[3], rank, out_by_rank, -1.5);
                  return y;
                }},
           [](const std::vector<bool>& wants) {
             Saves saves;
             if (wants[1])
               saves.inputs.push_back(0);
             if (wants[3])
               saves.inputs.push_back(2);
             return saves;
           });
}

/// The adapters as they are composed: x has two ways into the result.
void add_lora(CaseList& list, const Shape& x, std::int64_t out, std::int64_t rank) {
  list.add({.op = "linear_plus",
            .variant = "lora",
            .inputs = {activation(x), frozen(weight({out, x[-1]})), adapter({rank, x[-1]}), adapter({out, rank})},
            .f =
                [](Inputs v) {
                  return linear_plus(v[0], v[1], {}, linear(v[0], v[2]), v[3], RightFactor::out_by_rank, 0.5);
                },
            .reference =
                [=](Doubles v) {
                  Values y = reference::linear(v[0], v[1], {}, size(x[-1]));
                  add_product(y, reference::linear(v[0], v[2], {}, size(x[-1])), v[3], rank, true, 0.5);
                  return y;
                }},
           [=](const std::vector<bool>& wants) {
             Saves saves{.elements = wants[3] ? x.rows() * rank : 0};
             if (wants[2])
               saves.inputs.push_back(0);
             return saves;
           });
}

void add_bone(CaseList& list, const Shape& x, std::int64_t out, std::int64_t rank) {
  list.add({.op = "linear_plus",
            .variant = "bone",
            .inputs = {activation(x), frozen(weight({out, x[-1]})), adapter({rank, out})},
            .f =
                [=](Inputs v) {
                  return linear_plus(v[0], v[1], {}, block_sum(v[0], rank), v[2], RightFactor::rank_by_out, 1.0);
                },
            .reference =
                [=](Doubles v) {
                  Values y = reference::linear(v[0], v[1], {}, size(x[-1])), sums(size(x.rows() * rank));
                  reference::block_sum(v[0], sums, x.rows(), x[-1], rank);
                  add_product(y, sums, v[2], rank, false, 1.0);
                  return y;
                }},
           [=](const std::vector<bool>& wants) { return Saves{.elements = wants[2] ? x.rows() * rank : 0}; });
}

/// W' = W + tile(P), and W' = W + tile(P) + W * tile(Q) with two parameters, [out, rank] each.
class TiledRewrite final : public WeightRewrite {
 public:
  void apply(const Tensor& weight, const std::vector<Tensor>& parameters, const Tensor& rewritten) const override {
    const Tensor factor = empty(weight.shape(), weight.dtype(), weight.device(), Category::workspace);
    on_device(weight.device(), [&](auto dev) {
      kernels::copy(dev, weight.view(), rewritten.mut());
      kernels::block_tile(dev, parameters[0].view(), {rewritten.mut(), true});
      if (parameters.size() == 2) {
        kernels::block_tile(dev, parameters[1].view(), {factor.mut(), false});
        kernels::mul(dev, weight.view(), factor.view(), {rewritten.mut(), true});
      }
    });
  }
  void gradient(const Tensor& weight, const std::vector<Tensor>& /*parameters*/, const Tensor& drewritten,
                const std::vector<Sink>& gradients) const override {
    const Tensor product = empty(weight.shape(), weight.dtype(), weight.device(), Category::workspace);
    on_device(weight.device(), [&](auto dev) {
      if (gradients[0])
        kernels::block_sum(dev, drewritten.view(), gradients[0]);
      if (gradients.size() == 2 && gradients[1]) {
        kernels::mul(dev, weight.view(), drewritten.view(), {product.mut(), false});
        kernels::block_sum(dev, product.view(), gradients[1]);
      }
    });
  }
};

/// Inputs x, weight (always frozen), one or two parameters and perhaps bias.
void add_rewritten(CaseList& list, const Shape& x, std::int64_t out, std::int64_t rank, std::size_t parameters,
                   bool bias) {
  std::vector<CaseInput> inputs = {activation(x), frozen(weight({out, x[-1]}))};
  for (std::size_t i = 0; i < parameters; ++i)
    inputs.push_back(adapter({out, rank}));
  if (bias)
    inputs.push_back(weight({out}));
  list.add({.op = "rewritten_linear",
            .variant = join(parameters, " of rank ", rank),
            .inputs = inputs,
            .f =
                [=](Inputs v) {
                  const auto first = v.begin() + 2, last = first + static_cast<std::ptrdiff_t>(parameters);
                  return rewritten_linear(v[0], v[1], bias ? v.back() : Tensor{}, std::vector<Tensor>(first, last),
                                          std::make_shared<TiledRewrite>());
                },
            .reference =
                [=](Doubles v) {
                  Values adapted = v[1];
                  for (std::size_t i = 0; i < adapted.size(); ++i) {
                    const std::size_t o = i / size(x[-1]), j = i % size(x[-1]) % size(rank);
                    adapted[i] += v[2][o * size(rank) + j];
                    if (parameters == 2)
                      adapted[i] += v[1][i] * v[3][o * size(rank) + j];
                  }
                  return reference::linear(v[0], adapted, bias ? v.back() : Values{}, size(x[-1]));
                }},
           [=](const std::vector<bool>& wants) {
             return wants[2] || (parameters == 2 && wants[3]) ? Saves{.inputs = {0}} : Saves{};
           });
}

}  // namespace

void add_adapter_cases(CaseList& list, bool large) {
  if (large) {
    add_lora(list, {4, 300, 96}, 80, 12);
    add_lora(list, {2, 1030, 40}, 72, 5);
    add_bone(list, {4, 300, 97}, 80, 24);
    add_linear_plus(list, {3, 157, 64}, 72, 7, RightFactor::out_by_rank, true);
    add_linear_plus(list, {3, 157, 64}, 72, 7, RightFactor::rank_by_out, true);
    add_rewritten(list, {3, 157, 64}, 72, 7, 2, true);
    return;
  }
  for (const Shape& x : {Shape{1, 1}, Shape{3}, Shape{2, 5}, Shape{2, 3, 4}})
    for (const std::int64_t rank : {1, 3, 6})
      for (const RightFactor layout : {RightFactor::rank_by_out, RightFactor::out_by_rank})
        for (const bool bias : {false, true})
          add_linear_plus(list, x, 4, rank, layout, bias);
  for (const Shape& x : {Shape{1, 1}, Shape{5}, Shape{2, 3, 4}})
    for (const std::int64_t rank : {1, 3})
      for (const std::size_t parameters : {1, 2})
        for (const bool bias : {false, true})
          add_rewritten(list, x, 6, rank, parameters, bias);
  for (const Shape& x : {Shape{1, 1}, Shape{5}, Shape{3, 7}, Shape{2, 3, 4}, Shape{2, 5, 16}})
    for (const std::int64_t rank : {1, 2, 3, 5, 8, 20})
      for (const std::int64_t out : {1, 6}) {
        add_lora(list, x, out, rank);
        add_bone(list, x, out, rank);
      }
}

}  // namespace osteon::test
