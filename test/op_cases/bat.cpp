#include "test/op_cases.hpp"
#include "test/reference/block.hpp"
#include "test/reference/linear.hpp"

namespace osteon::test {
namespace {

using Inputs = const std::vector<Tensor>&;
using Doubles = const std::vector<Values>&;

/// Inputs x, weight (always frozen), blocks and perhaps bias.
void add_bat(CaseList& list, const Shape& x, std::int64_t out, std::int64_t rank, bool bias) {
  std::vector<CaseInput> inputs = {activation(x), frozen(weight({out, x[-1]})), adapter({out / rank, rank, rank})};
  if (bias)
    inputs.push_back(weight({out}));
  list.add({.op = "bat_linear",
            .variant = join("rank ", rank),
            .inputs = inputs,
            .f = [=](Inputs v) { return bat_linear(v[0], v[1], bias ? v[3] : Tensor{}, v[2]); },
            .reference =
                [=, in = x[-1]](Doubles v) {
                  Values adapted(v[1].size());
                  reference::bat_weight(v[1], v[2], adapted, out, in, rank);
                  return reference::linear(v[0], adapted, bias ? v[3] : Values{}, static_cast<std::size_t>(in));
                }},
           [](const std::vector<bool>& wants) { return wants[2] ? Saves{.inputs = {0}} : Saves{}; });
}

/// Inputs x and blocks.
void add_block_linear(CaseList& list, const Shape& x, std::int64_t rank) {
  const std::int64_t in = x[-1];
  list.add({.op = "block_linear",
            .variant = join("rank ", rank),
            .inputs = {activation(x), adapter({in / rank, rank, rank})},
            .f = [](Inputs v) { return block_linear(v[0], v[1]); },
            .reference =
                [=](Doubles v) {
                  Values y(v[0].size(), 0);
                  const auto r = static_cast<std::size_t>(rank), width = static_cast<std::size_t>(in);
                  for (std::size_t i = 0; i < y.size(); ++i)
                    for (std::size_t j = 0; j < r; ++j)  // block, row of the block and column
                      y[i] += v[1][(i % width / r * r + i % r) * r + j] * v[0][i / r * r + j];
                  return y;
                }},
           [](const std::vector<bool>& wants) { return wants[1] ? Saves{.inputs = {0}} : Saves{}; });
}

}  // namespace

void add_bat_cases(CaseList& list, bool large) {
  if (large) {
    add_bat(list, {3, 157, 64}, 320, 16, true);
    add_bat(list, {2, 1030, 24}, 276, 12, false);
    add_block_linear(list, {3, 157, 64}, 16);
    return;
  }
  for (const Shape& x : {Shape{4}, Shape{1, 4}, Shape{3, 8}, Shape{2, 3, 4}, Shape{1, 2, 2, 12}})
    for (const std::int64_t rank : {1, 2, 4})
      add_block_linear(list, x, rank);
  add_block_linear(list, {2, 5, 7}, 7);
  for (const bool bias : {false, true}) {
    for (const Shape& x : {Shape{4}, Shape{1, 4}, Shape{3, 8}, Shape{2, 3, 4}, Shape{2, 1, 12}, Shape{1, 2, 2, 4}})
      for (const std::int64_t rank : {1, 2, 4})
        for (const std::int64_t blocks : {1, 3})
          add_bat(list, x, rank * blocks, rank, bias);
    add_bat(list, {2, 3, 1}, 1, 1, bias);
    add_bat(list, {2, 9, 6}, 6, 6, bias);                                     // one block: W' = W (I + B) + B
    const std::int64_t slab = default_device() == Device::cuda ? 1024 : 256;  // rows, unless the rank asks for more
    const auto rows_of = [=](std::int64_t rank) { return (slab + rank - 1) / rank * rank; };
    add_bat(list, {2, 3, 8}, slab + 8, 4, bias);             // two slabs of block rows
    add_bat(list, {2, 3, 7}, 2 * rows_of(7), 7, bias);       // the rank does not divide a slab's rows
    add_bat(list, {1, 4, 3}, 2 * rows_of(3) - 3, 3, false);  // two slabs, the second of one block less
    add_bat(list, {1, 2, 300}, 300, 300, false);
  }
}

}  // namespace osteon::test
