#include "test/op_cases.hpp"
#include "test/reference/dropout.hpp"
#include "test/reference/linear.hpp"

namespace osteon::test {
namespace {

using Inputs = const std::vector<Tensor>&;
using Doubles = const std::vector<Values>&;

std::size_t size(std::int64_t n) { return static_cast<std::size_t>(n); }

/// Inputs x, weight and perhaps bias; x is kept if the weight trains.
void add_linear(CaseList& list, const Shape& x, std::int64_t out) {
  const std::size_t in = size(x[-1]);
  const auto saves = [](const std::vector<bool>& wants) { return wants[1] ? Saves{.inputs = {0}} : Saves{}; };
  list.add({.op = "linear",
            .inputs = {activation(x), weight({out, x[-1]})},
            .f = [](Inputs v) { return linear(v[0], v[1]); },
            .reference = [=](Doubles v) { return reference::linear(v[0], v[1], {}, in); }},
           saves);
  list.add({.op = "linear",
            .variant = "bias",
            .inputs = {activation(x), weight({out, x[-1]}), weight({out})},
            .f = [](Inputs v) { return linear(v[0], v[1], v[2]); },
            .reference = [=](Doubles v) { return reference::linear(v[0], v[1], v[2], in); }},
           saves);
}

void add_dropout_linear(CaseList& list, const Shape& x, std::int64_t out, double p) {
  const RandomKey key = {5, 3};
  CaseInput unsplit = activation(x);
  unsplit.batched = false;  // the mask goes by position in the whole batch
  list.add({.op = "dropout_linear",
            .variant = join("p ", p),
            .inputs = {unsplit, adapter({out, x[-1]})},
            .f = [=](Inputs v) { return dropout_linear(v[0], v[1], p, key); },
            .reference =
                [=](Doubles v) { return reference::linear(reference::dropout(v[0], p, key), v[1], {}, size(x[-1])); }},
           [](const std::vector<bool>& wants) { return wants[1] ? Saves{.inputs = {0}} : Saves{}; });
}

Values matmul_reference(const Values& a, const Values& b, std::int64_t k) {
  const std::int64_t m = static_cast<std::int64_t>(a.size()) / k, n = static_cast<std::int64_t>(b.size()) / k;
  Values c(size(m * n));
  reference::gemm(a, b, c, m, n, k, false, false, 1.0, false);
  return c;
}

void add_matmul(CaseList& list, const Shape& a, std::int64_t n) {
  for (const CaseInput& b : {weight({a[-1], n}), activation({a[-1], n})})
    list.add({.op = "matmul",
              .inputs = {activation(a), b},
              .f = [](Inputs v) { return matmul(v[0], v[1]); },
              .reference = [k = a[-1]](Doubles v) { return matmul_reference(v[0], v[1], k); }},
             [](const std::vector<bool>& wants) {
               Saves saves;
               for (const std::size_t i : {0U, 1U})
                 if (wants[1 - i])
                   saves.inputs.push_back(i);
               return saves;
             });
}

void add_tied_products(CaseList& list, std::int64_t n) {
  list.add({.op = "matmul",
            .variant = "tied",
            .inputs = {activation({n, n})},
            .f = [](Inputs v) { return matmul(v[0], v[0]); },
            .reference = [=](Doubles v) { return matmul_reference(v[0], v[0], n); }});
  list.add({.op = "linear",
            .variant = "tied",
            .inputs = {weight({n, n}), weight({n})},
            .f = [](Inputs v) { return linear(v[0], v[0], v[1]); },
            .reference = [=](Doubles v) { return reference::linear(v[0], v[0], v[1], size(n)); }});
  list.add({.op = "linear",
            .variant = "twice",
            .inputs = {activation({2, 3, n}), weight({n, n})},
            .f = [](Inputs v) { return linear(linear(v[0], v[1]), v[1]); },
            .reference =
                [=](Doubles v) {
                  return reference::linear(reference::linear(v[0], v[1], {}, size(n)), v[1], {}, size(n));
                }});
}

void add_scale_columns(CaseList& list, const Shape& x) {
  list.add({.op = "scale_columns",
            .inputs = {activation(x), adapter({x[-1]})},
            .f = [](Inputs v) { return scale_columns(v[0], v[1]); },
            .reference =
                [](Doubles v) {
                  Values y = v[0];
                  for (std::size_t i = 0; i < y.size(); ++i)
                    y[i] *= v[1][i % v[1].size()];
                  return y;
                }},
           [](const std::vector<bool>& wants) { return wants[1] ? Saves{.inputs = {0}} : Saves{}; });
}

void add_embedding(CaseList& list, std::int64_t vocab_size, std::int64_t h, const Shape& shape) {
  Values rows(size(shape.numel()));
  for (std::size_t n = 0; n < rows.size(); ++n)  // repeats some rows, and skips some where there are enough
    rows[n] = static_cast<double>(n * n % 5 % size(vocab_size));
  const auto lookup = [h](const Values& table, const Values& at) {
    Values y;
    for (const double id : at)
      for (std::int64_t j = 0; j < h; ++j)
        y.push_back(table[static_cast<std::size_t>(id) * size(h) + size(j)]);
    return y;
  };
  list.add({.op = "embedding",
            .inputs = {weight({vocab_size, h}), ids(shape, rows, shape.rank() == 2)},
            .f = [](Inputs v) { return embedding(v[0], v[1]); },
            .reference = [=](Doubles v) { return lookup(v[0], v[1]); }},
           [](const std::vector<bool>&) { return Saves{.inputs = {1}}; });
  list.add({.op = "embedding",
            .variant = "tied with the head",
            .inputs = {weight({vocab_size, h}), ids(shape, rows)},
            .f = [](Inputs v) { return linear(embedding(v[0], v[1]), v[0]); },
            .reference = [=](Doubles v) { return reference::linear(lookup(v[0], v[1]), v[0], {}, size(h)); }});
}

}  // namespace

void add_product_cases(CaseList& list, bool large) {
  if (large) {
    add_linear(list, {4, 300, 96}, 80);
    add_linear(list, {2, 1030, 40}, 72);
    add_matmul(list, {3, 131, 65}, 97);
    add_scale_columns(list, {4, 301, 77});
    add_embedding(list, 50, 96, {4, 173});
    return;
  }
  for (const Shape& x : {Shape{1, 1}, Shape{5}, Shape{3, 7}, Shape{2, 3, 4}, Shape{3, 1, 5}, Shape{1, 2, 2, 3}})
    for (const std::int64_t out : {1, 4, 7}) {
      add_linear(list, x, out);
      add_matmul(list, x, out);
      add_dropout_linear(list, x, out, 0.25);
    }
  add_linear(list, {2, 9, 33}, 17);
  add_matmul(list, {2, 17, 9}, 31);
  add_dropout_linear(list, {2, 5, 16}, 9, 0.0);
  add_dropout_linear(list, {2, 5, 16}, 9, 0.8);
  for (const std::int64_t n : {1, 3, 5})
    add_tied_products(list, n);
  for (const Shape& x : {Shape{1}, Shape{5}, Shape{4, 1}, Shape{3, 7}, Shape{2, 3, 4}, Shape{3, 67}})
    add_scale_columns(list, x);
  for (const Shape& shape : {Shape{}, Shape{1}, Shape{6}, Shape{2, 3}, Shape{4, 1}})
    for (const std::int64_t vocab_size : {1, 3, 11})
      add_embedding(list, vocab_size, 3, shape);
}

}  // namespace osteon::test
