#pragma once

#include <cstdint>
#include <ostream>
#include <string_view>

namespace osteon {

/// Where a tensor's bytes are. `meta` has shapes, dtypes and an allocator that counts, but no bytes: the planner runs
/// the real training step on it.
enum class Device : std::uint8_t { cpu, meta };

/// Tags that select a kernel's overload. A kernel that a backend lacks is a link error, never a surprise at run time.
struct Cpu {};
/// Only kernels of products have this overload: it counts FLOPs (flops.hpp) and asks for working memory as on the CPU.
struct Meta {};

constexpr std::string_view name_of(Device device) { return device == Device::cpu ? "cpu" : "meta"; }
inline std::ostream& operator<<(std::ostream& out, Device device) { return out << name_of(device); }

/// Runs f(tag) with the tag of the device that computes; on `meta` nothing runs.
template <class F>
void on_device(Device device, F&& f) {
  if (device == Device::cpu)
    f(Cpu{});
}

/// The same for products, which are counted on `meta` too: f calls nothing but kernels with an overload for Meta.
template <class F>
void on_any_device(Device device, F&& f) {
  if (device == Device::cpu)
    f(Cpu{});
  else
    f(Meta{});
}

}  // namespace osteon
