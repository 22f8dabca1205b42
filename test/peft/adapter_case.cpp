#include "test/peft/adapter_case.hpp"

#include <numeric>

namespace osteon::test {
namespace {

bool fits(const AdapterCase& one) {
  if (one.method.starts_with("bat"))
    return one.in % one.rank == 0 && one.out % one.rank == 0;
  return (one.method != "pissa" && one.method != "olora") || one.rank <= std::min(one.in, one.out);
}

/// A divisor of `number`: another one for each `choice`.
std::int64_t divisor(std::int64_t number, std::uint64_t choice) {
  std::vector<std::int64_t> all;
  for (std::int64_t d = 1; d <= number; ++d)
    if (number % d == 0)
      all.push_back(d);
  return all[choice % all.size()];
}

}  // namespace

std::vector<AdapterCase> adapter_cases() {
  constexpr std::pair<std::int64_t, std::int64_t> kShapes[] = {{1, 1}, {1, 6},  {5, 1},  {3, 5},   {5, 3},  {4, 6},
                                                               {8, 8}, {7, 12}, {12, 9}, {16, 24}, {10, 4}, {13, 2}};
  std::vector<AdapterCase> all;
  std::uint64_t index = 0;
  for (const auto& method : peft::methods()) {
    if (!method->adapts_linears())
      continue;
    for (const auto& [in, out] : kShapes)
      for (const std::int64_t rank : {1, 2, 3, 4, 8, 15})
        for (const bool bias : {false, true}) {
          ++index;
          AdapterCase one = {method->name(), in, out, rank};
          one.mini_rank = divisor(out, index);
          one.bias = bias;
          one.dropout = !method->name().starts_with("bat") && index % 3 == 0 ? 0.3 : 0.0;
          one.x = index % 4 == 0 ? Shape{1, in} : index % 4 == 1 ? Shape{2, 3, in} : Shape{4, in};
          one.seed = 100 * index;
          if (!fits(one))
            continue;
          if (one.method == "bat_tile") {
            one.tile_rows = divisor(out / rank, index);
            one.tile_columns = divisor(in / rank, index / 2);
          }
          all.push_back(one);
        }
  }
  return all;
}

}  // namespace osteon::test
