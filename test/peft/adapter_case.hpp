#pragma once

#include <algorithm>
#include <cmath>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "autograd/random_state.hpp"
#include "backends/kernels/elementwise.hpp"
#include "peft/methods.hpp"

namespace osteon::test {

using Values = std::vector<double>;

/// Random multiples of 2^-7 in [low, high): f64, f32 and bf16 compute on the same numbers.
inline Values grid_values(std::int64_t count, std::uint64_t seed, double low = -1, double high = 1) {
  Values values(static_cast<std::size_t>(count));
  for (std::size_t i = 0; i < values.size(); ++i)
    values[i] = low + std::floor((high - low) * 128 * static_cast<double>(uniform_from(philox({seed, 3}, i)[0]))) / 128;
  return values;
}

inline void set_values(const Tensor& to, const Values& values) {
  const Tensor from = from_values(values, to.shape(), DType::f64);
  on_device(to.device(), [&](auto dev) { kernels::copy(dev, from.view(), to.mut()); });
}

inline Tensor grid_tensor(const Shape& shape, DType dtype, std::uint64_t seed) {
  return from_values(grid_values(shape.numel(), seed), shape, dtype);
}

/// One adapter on one linear.
struct AdapterCase {
  std::string method;
  std::int64_t in = 1, out = 1, rank = 1, mini_rank = 1;
  bool bias = false;
  double dropout = 0;
  Shape x = {};
  std::string init = "true";
  std::uint64_t seed = 1;
  std::int64_t tile_rows = 1, tile_columns = 1;

  std::string title() const {
    return join(method, " in ", in, " out ", out, " rank ", rank, " mini ", mini_rank, " tile ", tile_rows, "x",
                tile_columns, " bias ", bias, " dropout ", dropout, " x ", x);
  }
};

/// A linear on the grid and its adapter: fresh, or with parameters on the grid too.
struct AdaptedLinear {
  AdaptedLinear(const AdapterCase& given, DType dtype, bool fresh = false, std::optional<DType> of_adapter = {})
      : base("linear", given.in, given.out, given.bias, dtype, default_device()) {
    config.method = given.method;
    config.rank = given.rank;
    config.alpha = 2.0 * static_cast<double>(given.rank);
    config.mini_rank = given.mini_rank;
    config.tile_rows = given.tile_rows;
    config.tile_columns = given.tile_columns;
    config.dropout = given.dropout;
    config.init = given.init;
    config.dtype = of_adapter;
    set_values(base.weight, grid_values(base.weight.numel(), given.seed));
    if (given.bias)
      set_values(base.bias, grid_values(given.out, given.seed + 1));
    adapter = peft::find_method(given.method).make({config, base, RandomKey{given.seed, 7}, fresh});
    if (fresh)
      return;
    std::uint64_t seed = given.seed + 2;
    for (const auto& [name, tensor] : adapter->parameters()) {
      const bool magnitude = name == "lora_magnitude_vector";
      set_values(tensor, grid_values(tensor.numel(), seed++, magnitude ? 0.5 : -0.5, magnitude ? 1.5 : 0.5));
    }
  }

  Tensor parameter(const std::string& name) const {
    for (const auto& [own, tensor] : adapter->parameters())
      if (own == name)
        return tensor;
    return {};
  }

  Tensor operator()(const Tensor& x) const { return adapter->forward(x, base); }

  nn::Linear base;
  peft::AdapterConfig config;
  std::unique_ptr<peft::Adapter> adapter;
};

/// Largest difference relative to the largest expected value, but at least to `floor`; infinite where a value is NaN.
inline double largest_error(const Values& got, const Values& expected, double floor = 1e-30) {
  double largest = floor, error = got.size() == expected.size() ? 0 : INFINITY;
  for (std::size_t i = 0; i < std::min(got.size(), expected.size()); ++i) {
    largest = std::max(largest, std::abs(expected[i]));
    const double difference = std::abs(got[i] - expected[i]);
    if (!(difference <= error))
      error = std::isfinite(difference) ? difference : INFINITY;
  }
  return error / largest;
}

inline double largest_error(const Tensor& got, const Tensor& expected, double floor = 1e-30) {
  return largest_error(got.to_doubles(), expected.to_doubles(), floor);
}

/// Every method that adapts linears, over shapes with in != out, ragged blocks, rank 1 and above in_features, with and
/// without bias and dropout, on x of 2 and 3 dimensions.
std::vector<AdapterCase> adapter_cases();

}  // namespace osteon::test
