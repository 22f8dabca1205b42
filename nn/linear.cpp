#include "nn/linear.hpp"

namespace osteon::nn {

Linear::Linear(std::string name, std::int64_t in_features, std::int64_t out_features, bool has_bias, DType dtype,
               Device device)
    : weight(empty({out_features, in_features}, dtype, device, Category::weights)),
      bias(has_bias ? empty({out_features}, dtype, device, Category::weights) : Tensor{}),
      name_(std::move(name)) {}

void Linear::visit(const ParameterVisitor& visitor) {
  visitor(name_ + ".weight", weight);
  if (bias.defined())
    visitor(name_ + ".bias", bias);
}

}  // namespace osteon::nn
