#include <cmath>

#include "test/op_cases.hpp"
#include "test/reference/block.hpp"
#include "test/reference/rms_norm.hpp"
#include "test/reference/rotary.hpp"

namespace osteon::test {
namespace {

using Inputs = const std::vector<Tensor>&;
using Doubles = const std::vector<Values>&;

std::size_t size(std::int64_t n) { return static_cast<std::size_t>(n); }

void add_rms_norm(CaseList& list, const Shape& x, double eps, double spread = 1.0) {
  CaseInput input = activation(x);
  input.low = -spread, input.high = spread;
  list.add({.op = "rms_norm",
            .variant = join("eps ", eps),
            .inputs = {input, weight({x[-1]})},
            .f = [=](Inputs v) { return rms_norm(v[0], v[1], eps); },
            .reference = [=](Doubles v) { return reference::rms_norm(v[0], v[1], eps); }},
           [rows = x.rows()](const std::vector<bool>&) { return Saves{.inputs = {0}, .wide_elements = rows}; });
}

/// Cosines and sines as Llama's, for `positions` positions.
Values rotary_table(std::int64_t positions, std::int64_t half) {
  Values table;
  for (std::int64_t p = 0; p < positions; ++p)
    for (const bool sine : {false, true})
      for (std::int64_t j = 0; j < half; ++j) {
        const double angle =
            static_cast<double>(p) * std::pow(100.0, -static_cast<double>(j) / static_cast<double>(half));
        table.push_back(std::round((sine ? std::sin(angle) : std::cos(angle)) * 128) / 128);
      }
  return table;
}

void add_rotary(CaseList& list, const Shape& x) {
  const std::int64_t positions = x[1] + 2, half = x[3] / 2;
  const CaseInput table = wide({positions, 2, half}, rotary_table(positions, half));
  Values counted, given;
  for (std::int64_t n = 0; n < x[0] * x[1]; ++n) {
    counted.push_back(static_cast<double>(n % x[1]));
    given.push_back(static_cast<double>(n * 3 % positions));
  }
  const auto reference = [heads = size(x[2]), head_dim = size(x[3])](const Values& in, const Values& angles,
                                                                     const Values& at) {
    return reference::rotary(in, angles, std::vector<std::int64_t>(at.begin(), at.end()), heads, head_dim, false);
  };
  const auto nothing = [](const std::vector<bool>&) { return Saves{}; };
  list.add({.op = "rotary",
            .inputs = {activation(x), table},
            .f = [](Inputs v) { return rotary(v[0], v[1]); },
            .reference = [=](Doubles v) { return reference(v[0], v[1], counted); }},
           nothing);
  list.add({.op = "rotary",
            .variant = "positions",
            .inputs = {activation(x), table, ids({x[0], x[1]}, given, true)},
            .f = [](Inputs v) { return rotary(v[0], v[1], v[2]); },
            .reference = [=](Doubles v) { return reference(v[0], v[1], v[2]); }},
           nothing);
}

Values block_sum_reference(const Values& x, std::int64_t k, std::int64_t rank) {
  const std::int64_t rows = static_cast<std::int64_t>(x.size()) / k;
  Values y(size(rows * rank));
  reference::block_sum(x, y, rows, k, rank);
  return y;
}

void add_block_sum(CaseList& list, const Shape& x, std::int64_t rank) {
  const auto nothing = [](const std::vector<bool>&) { return Saves{}; };
  const std::int64_t k = x[-1];
  list.add({.op = "block_sum",
            .variant = join("rank ", rank),
            .inputs = {activation(x)},
            .f = [=](Inputs v) { return block_sum(v[0], rank); },
            .reference = [=](Doubles v) { return block_sum_reference(v[0], k, rank); }},
           nothing);
  list.add({.op = "block_sum",
            .variant = join("shared, rank ", rank),
            .inputs = {activation(x)},
            .f = [=](Inputs v) { return mul(block_sum(v[0], rank), block_sum(v[0], rank)); },
            .reference =
                [=](Doubles v) {
                  Values y = block_sum_reference(v[0], k, rank);
                  for (double& value : y)
                    value *= value;
                  return y;
                }});
  list.add({.op = "block_tile",
            .variant = join("features ", rank),
            .inputs = {activation(x)},
            .f = [=](Inputs v) { return block_tile(v[0], rank); },
            .reference =
                [=](Doubles v) {
                  Values y;
                  for (std::size_t row = 0; row < v[0].size() / size(k); ++row)
                    for (std::int64_t i = 0; i < rank; ++i)
                      y.push_back(v[0][row * size(k) + size(i % k)]);
                  return y;
                }},
           nothing);
}

}  // namespace

void add_norm_cases(CaseList& list, bool large) {
  if (large) {
    add_rms_norm(list, {3, 157, 193}, 1e-5);
    add_rotary(list, {2, 131, 4, 16});
    add_block_sum(list, {2, 131, 150}, 64);
    return;
  }
  for (const Shape& x : {Shape{1}, Shape{8}, Shape{1, 1}, Shape{2, 8}, Shape{3, 5, 7}, Shape{2, 1, 3}, Shape{9, 67}})
    for (const double eps : {1e-5, 0.1})
      add_rms_norm(list, x, eps);
  add_rms_norm(list, {2, 5}, 1e-6, 100.0);
  for (const Shape& x :
       {Shape{1, 1, 1, 2}, Shape{2, 5, 3, 8}, Shape{1, 3, 2, 6}, Shape{3, 2, 1, 4}, Shape{2, 7, 2, 18}})
    add_rotary(list, x);
  for (const Shape& x :
       {Shape{1}, Shape{7}, Shape{2, 8}, Shape{3, 1}, Shape{2, 3, 12}, Shape{1, 2, 2, 5}, Shape{5, 67}})
    for (const std::int64_t rank : {1, 2, 3, 4, 7, 8, 12, 13, 70})  // dividing, ragged, above the features
      add_block_sum(list, x, rank);
}

}  // namespace osteon::test
