#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <utility>

#include "backends/device.hpp"
#include "backends/gpu.hpp"

struct CUevent_st;  // CUDA's own name: a cudaEvent_t points to one

namespace osteon::cuda {

// CUDA's runtime as the rest of the backend sees it: no header of CUDA's, errors thrown. The same code runs on a GPU
// and on the emulated one.

/// `device` is the GPU's own memory; `pinned` is the host's, for copies that do not wait; `managed` is seen by both.
enum class Memory : std::uint8_t { device, pinned, managed };

/// Bytes in one of them; not initialised. Null where there are none.
class Buffer {
 public:
  Buffer() = default;
  /// Throws DeviceError where there is no more.
  Buffer(Memory memory, std::int64_t bytes);
  Buffer(Buffer&& other) noexcept { *this = std::move(other); }
  Buffer& operator=(Buffer&& other) noexcept;
  ~Buffer();

  std::byte* data() const { return data_; }
  std::int64_t bytes() const { return bytes_; }

 private:
  Memory memory_ = Memory::device;
  std::byte* data_ = nullptr;
  std::int64_t bytes_ = 0;
};

/// A queue of work beside the default one.
class Stream {
 public:
  Stream();
  Stream(Stream&& other) noexcept : handle_(std::exchange(other.handle_, nullptr)) {}
  Stream& operator=(Stream&& other) noexcept;
  ~Stream();
  Cuda device() const { return {handle_}; }

 private:
  CUstream_st* handle_ = nullptr;
};

/// A moment in a stream: passed once all that was queued before record() is done.
class Event {
 public:
  Event();
  Event(Event&& other) noexcept : handle_(std::exchange(other.handle_, nullptr)) {}
  Event& operator=(Event&& other) noexcept;
  ~Event();
  void record(Cuda device) const;
  /// What is queued on `device` from now on comes after this moment.
  void hold(Cuda device) const;
  void synchronize() const;
  double milliseconds_since(const Event& start) const;

 private:
  CUevent_st* handle_ = nullptr;
};

/// Copies bytes within or between host and device, in order with the stream's other work. Does not wait where the
/// host's side is pinned: it must stay as it is until the stream has come so far.
void copy(Cuda device, const void* from, void* to, std::int64_t bytes);
void fill_bytes(Cuda device, void* to, std::uint8_t byte, std::int64_t bytes);

/// Shared memory that every launch may ask for; the kernel needs a permit for more.
constexpr std::int64_t kSharedBytes = 48 << 10;
/// What every supported GPU has, static arrays included.
constexpr std::int64_t kMostSharedBytes = 99 << 10;

/// Lets the launches of a kernel ask for `bytes` of shared memory. Throws DeviceError naming it where there is less.
void permit_shared(const char* kernel, const void* function, std::int64_t bytes);

/// Throws DeviceError naming the kernel unless its launch was accepted.
void check_launch(const char* kernel);

/// A check of indices that lie in the device's memory. The kernel that reads them leaves out what it must not touch and
/// reports it; the next synchronize() of the stream throws.
class IndexCheck {
 public:
  /// fail(position, index) throws for the first position, in the order of positions, whose index is wrong.
  IndexCheck(Cuda device, const std::function<void(std::int64_t position, std::int64_t index)>& fail);
  /// The same for ranges of indices: fail(position, begin, end).
  IndexCheck(Cuda device, const std::function<void(std::int64_t position, std::int64_t begin, std::int64_t end)>& fail);
  /// Words for the kernel, all bits set: the lowest (position << 32 | index) that is wrong. Ranges take two of them,
  /// for begin and end.
  unsigned long long* report() const { return report_; }

 private:
  unsigned long long* report_;
};

}  // namespace osteon::cuda
