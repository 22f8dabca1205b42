#include "nn/optim/adamw.hpp"

#include <algorithm>
#include <cmath>

#include "backends/kernels/adamw.hpp"
#include "backends/kernels/reduce.hpp"

namespace osteon::nn {

AdamW::AdamW(const std::vector<ParameterGroup>& groups, AdamWOptions options) : options_(options) {
  for (const ParameterGroup& group : groups)
    for (const auto& [name, parameter] : group.parameters) {
      const DType wide = accumulator(parameter.dtype());
      const auto state = [&, &parameter = parameter] {
        return zeros(parameter.shape(), wide, parameter.device(), Category::optimizer);
      };
      Tensor master = parameter.dtype() == wide ? Tensor{} : converted(parameter, wide, Category::optimizer);
      slots_.push_back(
          {name, parameter, std::move(master), state(), state(), group.learning_rate_factor, group.weight_decay});
    }
}

void AdamW::step(double learning_rate, double gradient_scale) {
  ++steps_;
  std::vector<kernels::AdamwUpdate> updates;
  Device device = Device::cpu;
  for (const Slot& slot : slots_) {
    const Tensor gradient = slot.parameter.grad();
    if (!gradient.defined())
      continue;
    device = slot.parameter.device();
    // Announced on every device: what was derived from the old values is made anew on meta, too.
    const View master = slot.master.defined() ? slot.master.mut() : View{};
    updates.push_back({slot.parameter.mut(),
                       master,
                       gradient.view(),
                       slot.m.mut(),
                       slot.v.mut(),
                       {.lr = learning_rate * slot.learning_rate_factor,
                        .beta1 = options_.beta1,
                        .beta2 = options_.beta2,
                        .eps = options_.eps,
                        .weight_decay = slot.weight_decay,
                        .step = steps_,
                        .gradient_scale = gradient_scale}});
  }
  on_device(device, [&](auto dev) { kernels::adamw(dev, updates); });
}

void AdamW::clear_gradients() {
  for (const Slot& slot : slots_)
    slot.parameter.clear_grad();
}

NamedTensors AdamW::state() const {
  NamedTensors all;
  for (const Slot& slot : slots_) {
    all.emplace_back("exp_avg." + slot.name, slot.m);
    all.emplace_back("exp_avg_sq." + slot.name, slot.v);
    if (slot.master.defined())
      all.emplace_back("master." + slot.name, slot.master);
  }
  return all;
}

Tensor sum_of_squared_gradients(const NamedTensors& parameters) {
  Tensor total;
  for (const auto& [name, parameter] : parameters) {
    const Tensor gradient = parameter.grad();
    if (!gradient.defined())
      continue;
    const bool first = !total.defined();
    if (first)
      total = empty({}, DType::f64, parameter.device(), Category::workspace);
    on_any_device(parameter.device(), [&](auto dev) {
      kernels::sum_squares(dev, gradient.view(), {total.mut(), !first});
    });
  }
  return total;
}

double global_gradient_norm(const NamedTensors& parameters) {
  const Tensor squares = sum_of_squared_gradients(parameters);
  return squares.defined() ? std::sqrt(squares.item()) : 0.0;
}

double clip_factor(double norm, double max_norm) {
  return max_norm <= 0.0 ? 1.0 : std::min(1.0, max_norm / (norm + 1e-6));
}

}  // namespace osteon::nn
