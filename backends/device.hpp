#pragma once

#include <cstdint>
#include <ostream>
#include <string_view>

struct CUstream_st;  // CUDA's own name: a cudaStream_t points to one

namespace osteon {

/// Where a tensor's bytes are. `meta` has shapes, dtypes and an allocator that counts, but no bytes: the planner runs
/// the real training step on it.
enum class Device : std::uint8_t { cpu, cuda, meta };
constexpr int kDevices = 3;

/// Tags that select a kernel's overload. A kernel that a backend lacks is a link error, never a surprise at run time.
struct Cpu {};
/// Where a GPU's work is queued by this thread: null, the default stream, but while a graph is captured (gpu.hpp).
inline constinit thread_local CUstream_st* current_stream = nullptr;
/// Whether what this thread queues is captured and not run: the host must not wait for it then.
inline bool capturing() { return current_stream != nullptr; }
/// A GPU's work is queued on a stream, in order; null is the default one.
struct Cuda {
  CUstream_st* stream = current_stream;
};
/// Only kernels that are counted as products, or take working memory on some device, have this overload: it counts
/// FLOPs (flops.hpp) and asks for the working memory of planned_device().
struct Meta {};

/// Whether tensors can be on a GPU. Without, nothing that takes a Cuda is instantiated, so nothing has to be linked.
#ifdef OSTEON_CUDA
constexpr bool kHasCuda = true;
#else
constexpr bool kHasCuda = false;
#endif

/// Where tensors are made if nothing else is said: the CPU at first. One for all threads of the process.
Device default_device();
void set_default_device(Device device);

/// Which device `meta` stands for: the CPU at first. What lives on `meta` is then, to the byte, what would live there,
/// also where this program or machine has no GPU. One for all threads of the process; cpu or cuda.
Device planned_device();
void set_planned_device(Device device);

/// The device whose kernels decide how much memory a step takes: `device` itself, for `meta` planned_device().
inline Device deciding_device(Device device) { return device == Device::meta ? planned_device() : device; }

constexpr std::string_view name_of(Device device) {
  return device == Device::cpu ? "cpu" : device == Device::cuda ? "cuda" : "meta";
}
inline std::ostream& operator<<(std::ostream& out, Device device) { return out << name_of(device); }

/// Runs f(tag) with the tag of the device that computes; on `meta` nothing runs.
template <class F>
void on_device(Device device, F&& f) {
  if constexpr (kHasCuda) {
    if (device == Device::cuda)
      f(Cuda{});
  }
  if (device == Device::cpu)
    f(Cpu{});
}

/// The same for what is counted on `meta` too: f calls nothing but kernels with an overload for Meta.
template <class F>
void on_any_device(Device device, F&& f) {
  if (device == Device::meta)
    f(Meta{});
  else
    on_device(device, f);
}

}  // namespace osteon
