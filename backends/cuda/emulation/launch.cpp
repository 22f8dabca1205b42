#include <array>

#include "backends/cuda/emulation/device_code.hpp"

namespace osteon::cuda::emulation {

void run(const Launch& launch, bool same_bits, const std::function<void()>& body) {
  finish_copies();
  if (!launch_mode.every_order) {
    run_grid(launch, Order::forward, body);
    check_guards();
    return;
  }
  constexpr std::array<std::pair<Order, const char*>, 3> kOrders = {
      {{Order::random, "random"}, {Order::reverse, "reverse"}, {Order::forward, "forward"}}};
  const Snapshot before = snapshot();
  Snapshot first;
  for (const auto& [order, name] : kOrders) {
    if (order != kOrders[0].first)
      restore(before);
    run_grid(launch, order, body);
    check_guards();
    if (order == kOrders[0].first)
      first = snapshot();
    else
      check<KernelError>(!same_bits || snapshot() == first, "kernel '", launch.kernel,
                         "': other results if its threads run in ", name, " order than in random order");
  }
}

}  // namespace osteon::cuda::emulation
