#pragma once

#include <array>
#include <cstdint>
#include <string_view>

#include "backends/device.hpp"

namespace osteon {

/// What a product multiplies with: a base weight, an adapter's parameters (a module trained whole is one), the keys and
/// values of attention, the state of a recurrence, or the output projection.
enum class Work : std::uint8_t { base, adapter, attention, recurrence, head };
constexpr std::array<Work, 5> kWorks = {Work::base, Work::adapter, Work::attention, Work::recurrence, Work::head};
std::string_view name_of(Work work);

/// What is computed again in a backward (activation checkpointing) counts as backward.
enum class Pass : std::uint8_t { forward, backward };

/// Floating-point operations in products, 2 a multiply-add: what is asked for, whatever an implementation computes.
struct FlopCount {
  std::array<std::array<double, kWorks.size()>, 2> flops{};

  double of(Pass pass, Work work) const {
    return flops[static_cast<std::size_t>(pass)][static_cast<std::size_t>(work)];
  }
  double total(Pass pass) const;
  bool operator==(const FlopCount&) const = default;
};

/// What this thread asked of a device's products since the last reset. The same calls count the same on each device.
FlopCount flop_count(Device device);
void reset_flop_count(Device device);

/// Called by the kernels of products.
void count_flops(Device device, double flops);

/// While one lives, this thread's products count as `work`, or as part of `pass`; base and forward at the start.
class CountAs {
 public:
  explicit CountAs(Work work);
  explicit CountAs(Pass pass);
  ~CountAs();
  CountAs(const CountAs&) = delete;
  CountAs& operator=(const CountAs&) = delete;

  static Work work();
  static Pass pass();

 private:
  Work work_before_;
  Pass pass_before_;
};

}  // namespace osteon
