#include <numeric>

#include "test/op_cases.hpp"
#include "test/reference/cross_entropy.hpp"
#include "test/reference/linear.hpp"

namespace osteon::test {
namespace {

using Inputs = const std::vector<Tensor>&;
using Doubles = const std::vector<Values>&;

std::size_t size(std::int64_t n) { return static_cast<std::size_t>(n); }

enum class Ignored { none, some, all_but_one, all };

Values targets(std::int64_t rows, std::int64_t vocab_size, Ignored ignored) {
  Values values;
  for (std::int64_t n = 0; n < rows; ++n) {
    const bool drop = ignored == Ignored::all || (ignored == Ignored::some && n % 3 == 1) ||
                      (ignored == Ignored::all_but_one && n != rows / 2);
    values.push_back(drop ? -100.0 : static_cast<double>((n * 7 + 3) % vocab_size));
  }
  return values;
}

double loss(const Values& logits, const Values& ids, std::int64_t vocab_size, double normalizer) {
  const std::vector<std::int64_t> at(ids.begin(), ids.end());
  const Values losses = reference::cross_entropy(logits, at, size(vocab_size), 1.0).losses;
  return std::accumulate(losses.begin(), losses.end(), 0.0) / normalizer;
}

void add_cross_entropy(CaseList& list, const Shape& logits, Ignored ignored, double spread = 2.0) {
  const std::int64_t vocab_size = logits[-1];
  const double normalizer = 0.5 * static_cast<double>(logits.rows()) + 1;
  CaseInput input = activation(logits);
  input.low = -spread, input.high = spread;
  list.add({.op = "cross_entropy",
            .inputs = {input, ids(logits.leading(), targets(logits.rows(), vocab_size, ignored), logits.rank() == 3)},
            .f = [=](Inputs v) { return cross_entropy(v[0], v[1], normalizer); },
            .reference = [=](Doubles v) { return Values{loss(v[0], v[1], vocab_size, normalizer)}; }},
           [elements = logits.numel()](const std::vector<bool>&) { return Saves{.elements = elements}; });
}

void add_linear_cross_entropy(CaseList& list, const Shape& x, std::int64_t vocab_size, Ignored ignored) {
  const double normalizer = static_cast<double>(x.rows());
  list.add(
      {.op = "linear_cross_entropy",
       .inputs = {activation(x), weight({vocab_size, x[-1]}),
                  ids(x.leading(), targets(x.rows(), vocab_size, ignored), x.rank() == 3)},
       .f = [=](Inputs v) { return linear_cross_entropy(v[0], v[1], v[2], normalizer); },
       .reference =
           [=](Doubles v) {
             const Values logits = reference::linear(v[0], v[1], {}, size(x[-1]));
             return Values{loss(logits, v[2], vocab_size, normalizer)};
           }},
      [elements = x.numel()](const std::vector<bool>& wants) { return Saves{.elements = wants[0] ? elements : 0}; });
}

void add_squared_error(CaseList& list, const Shape& shape) {
  const double normalizer = 0.5 * static_cast<double>(shape.numel()) + 1;
  CaseInput target = activation(shape);
  target.trainable = false;
  list.add({.op = "squared_error",
            .inputs = {activation(shape), target},
            .f = [=](Inputs v) { return squared_error(v[0], v[1], normalizer); },
            .reference =
                [=](Doubles v) {
                  double sum = 0;
                  for (std::size_t i = 0; i < v[0].size(); ++i)
                    sum += (v[0][i] - v[1][i]) * (v[0][i] - v[1][i]);
                  return Values{sum / normalizer};
                }},
           [elements = shape.numel()](const std::vector<bool>&) { return Saves{.elements = elements}; });
}

}  // namespace

void add_loss_cases(CaseList& list, bool large) {
  if (large) {
    add_linear_cross_entropy(list, {4, 300, 48}, 301, Ignored::some);  // above a chunk of 256 rows
    add_linear_cross_entropy(list, {5, 100, 48}, 301, Ignored::some);  // two sequences a chunk
    return;
  }
  for (const Ignored ignored : {Ignored::none, Ignored::some, Ignored::all_but_one, Ignored::all}) {
    for (const Shape& logits : {Shape{1, 1}, Shape{5}, Shape{4, 7}, Shape{2, 3, 5}, Shape{1, 6, 2}})
      add_cross_entropy(list, logits, ignored);
    add_cross_entropy(list, {3, 9}, ignored, 60.0);  // a softmax of one element
    for (const Shape& x : {Shape{1, 1}, Shape{4}, Shape{5, 3}, Shape{2, 3, 4}, Shape{3, 1, 2}})
      for (const std::int64_t vocab_size : {1, 2, 7})
        add_linear_cross_entropy(list, x, vocab_size, ignored);
  }
  for (const Shape& shape : {Shape{}, Shape{1}, Shape{5}, Shape{4, 1}, Shape{2, 3, 2}})
    add_squared_error(list, shape);
  // One chunk, whole sequences that do and do not fill it, sequences above it.
  for (const Shape& x : {Shape{1, 255, 2}, Shape{2, 256, 2}, Shape{1, 257, 2}, Shape{5, 64, 2}, Shape{3, 100, 3},
                         Shape{2, 300, 2}, Shape{300, 3}, Shape{1, 515, 1}})
    add_linear_cross_entropy(list, x, 5, Ignored::some);
}

}  // namespace osteon::test
