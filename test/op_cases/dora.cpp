#include "autograd/ops/dora.hpp"

#include <cmath>

#include "test/op_cases.hpp"
#include "test/reference/linear.hpp"

namespace osteon::test {
namespace {

using Inputs = const std::vector<Tensor>&;
using Doubles = const std::vector<Values>&;

constexpr double kScaling = 0.75;
constexpr std::size_t kX = 0, kWeight = 1, kSquares = 2, kA = 3, kB = 4, kMagnitude = 5, kBias = 6;

/// Row norms of W + scaling B A, formed.
Values row_norms(const Values& weight, const Values& a, const Values& b, std::size_t in, std::size_t rank) {
  Values norms(weight.size() / in);
  for (std::size_t o = 0; o < norms.size(); ++o) {
    double square = 0;
    for (std::size_t i = 0; i < in; ++i) {
      double v = weight[o * in + i];
      for (std::size_t r = 0; r < rank; ++r)
        v += kScaling * b[o * rank + r] * a[r * in + i];
      square += v * v;
    }
    norms[o] = std::sqrt(square);
  }
  return norms;
}

Values squared_rows(const Values& weight, std::size_t in) {
  Values squares(weight.size() / in);
  for (std::size_t i = 0; i < weight.size(); ++i)
    squares[i / in] += weight[i] * weight[i];
  return squares;
}

/// The same function composed of other ops, with the norms of `at` held: what the backward differentiates.
TensorFunction with_norms_of(const std::vector<Tensor>& at, bool bias) {
  Values inverse = row_norms(at[kWeight].to_doubles(), at[kA].to_doubles(), at[kB].to_doubles(),
                             static_cast<std::size_t>(at[kX].dim(-1)), static_cast<std::size_t>(at[kA].dim(0)));
  for (double& norm : inverse)
    norm = 1 / norm;
  const Tensor factors = from_values(inverse, at[kMagnitude].shape(), DType::f64);
  return [=](Inputs v) {
    const Tensor sum =
        linear_plus(v[kX], v[kWeight], {}, linear(v[kX], v[kA]), v[kB], RightFactor::out_by_rank, kScaling);
    const Tensor y = scale_columns(sum, mul(v[kMagnitude], factors));
    if (!bias)
      return y;
    const Tensor ones =
        from_values(Values(static_cast<std::size_t>(y.shape().rows()), 1.0), y.shape().with_last(1), DType::f64);
    return add(y, matmul(ones, reshape(v[kBias], {1, v[kBias].numel()})));
  };
}

void add_dora(CaseList& list, const Shape& x, std::int64_t out, std::int64_t rank, bool bias) {
  const auto in = static_cast<std::size_t>(x[-1]), r = static_cast<std::size_t>(rank);
  CaseInput squares = wide({out}, {});
  squares.from = [=](Doubles v) { return squared_rows(v[kWeight], in); };
  std::vector<CaseInput> inputs = {activation(x),          frozen(weight({out, x[-1]})), squares,
                                   adapter({rank, x[-1]}), adapter({out, rank}),         adapter({out})};
  if (bias)
    inputs.push_back(weight({out}));
  list.add({.op = "dora_linear",
            .variant = join("rank ", rank),
            .inputs = inputs,
            .f =
                [=](Inputs v) {
                  return dora_linear(v[kX], v[kWeight], bias ? v[kBias] : Tensor{}, v[kA], v[kB], v[kMagnitude],
                                     v[kSquares], kScaling);
                },
            .reference =
                [=](Doubles v) {
                  Values y = reference::linear(v[kX], v[kWeight], {}, in);
                  const Values h = reference::linear(v[kX], v[kA], {}, in),
                               norms = row_norms(v[1], v[kA], v[kB], in, r);
                  reference::gemm(h, v[kB], y, x.rows(), out, rank, false, true, kScaling, true);
                  for (std::size_t i = 0; i < y.size(); ++i) {
                    const std::size_t j = i % norms.size();
                    y[i] = y[i] * v[kMagnitude][j] / norms[j] + (bias ? v[kBias][j] : 0.0);
                  }
                  return y;
                },
            .numeric = [=](Inputs at) { return with_norms_of(at, bias); }},
           [=](const std::vector<bool>& wants) {
             Saves saves{.elements = (wants[kB] ? x.rows() * rank : 0) + (wants[kMagnitude] ? x.rows() * out : 0)};
             if (wants[kA])
               saves.inputs.push_back(kX);
             return saves;
           });
}

/// A norm of 0 gives 0, and no gradient to its magnitude.
void add_dora_scale(CaseList& list, const Shape& x) {
  Values norms(static_cast<std::size_t>(x[-1]));
  for (std::size_t j = 0; j < norms.size(); ++j)
    norms[j] = j % 3 == 2 ? 0.0 : 0.5 + 0.25 * static_cast<double>(j % 5);
  list.add({.op = "dora_scale",
            .inputs = {activation(x), adapter({x[-1]}), wide({x[-1]}, norms)},
            .f = [](Inputs v) { return dora_scale(v[0], v[1], v[2]); },
            .reference =
                [](Doubles v) {
                  Values y = v[0];
                  for (std::size_t i = 0; i < y.size(); ++i) {
                    const std::size_t j = i % v[1].size();
                    y[i] = v[2][j] == 0 ? 0 : y[i] * v[1][j] / v[2][j];
                  }
                  return y;
                }},
           [](const std::vector<bool>& wants) { return wants[1] ? Saves{.inputs = {0}} : Saves{}; });
}

}  // namespace

void add_dora_cases(CaseList& list, bool large) {
  if (large) {
    add_dora(list, {3, 157, 64}, 72, 9, true);
    add_dora_scale(list, {4, 301, 77});
    return;
  }
  for (const Shape& x : {Shape{1}, Shape{5}, Shape{2, 3, 4}, Shape{2, 4, 9}})
    add_dora_scale(list, x);
  for (const bool bias : {false, true})
    for (const Shape& x : {Shape{1, 1}, Shape{5}, Shape{2, 3, 4}, Shape{2, 4, 9}})
      for (const std::int64_t rank : {1, 3, 6})
        for (const std::int64_t out : {1, 5})
          add_dora(list, x, out, rank, bias);
}

}  // namespace osteon::test
