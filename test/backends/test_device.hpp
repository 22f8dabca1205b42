#pragma once

#include <algorithm>
#include <cstddef>
#include <vector>

#include "backends/device.hpp"
#ifdef OSTEON_TEST_CUDA
#include "backends/cuda/runtime.hpp"
#endif

namespace osteon::test {

// The tests of kernels are compiled once for each device: they call kernels with kDevice on Bytes that both the device
// and the test can read.

#ifdef OSTEON_TEST_CUDA

const Cuda kDevice{};
constexpr bool kOnCpu = false;

/// Waits for what was queued, and throws what went wrong in it.
inline void finish() { cuda::synchronize(kDevice); }

class Bytes {
 public:
  explicit Bytes(std::size_t count) : buffer_(cuda::Memory::managed, static_cast<std::int64_t>(count)), size_(count) {
    std::fill_n(data(), count, std::byte{0});
  }
  Bytes(const Bytes& other) : Bytes(other.size_) { std::copy_n(other.data(), size_, data()); }
  Bytes& operator=(const Bytes& other) { return *this = Bytes(other); }
  Bytes(Bytes&&) = default;
  Bytes& operator=(Bytes&&) = default;

  // Who may write them may have asked a kernel to: the next use waits for it.
  std::byte* data() {
    wait();
    written_ = true;
    return buffer_.data();
  }
  const std::byte* data() const {
    wait();
    return buffer_.data();
  }
  bool operator==(const Bytes& other) const {
    return size_ == other.size_ && std::equal(data(), data() + size_, other.data());
  }

 private:
  void wait() const {
    if (written_)
      finish();
    written_ = false;
  }

  cuda::Buffer buffer_;
  std::size_t size_;
  mutable bool written_ = false;
};

#else

constexpr Cpu kDevice{};
constexpr bool kOnCpu = true;
inline void finish() {}
using Bytes = std::vector<std::byte>;

#endif

/// f(), and what a GPU finds wrong only when its work is done.
template <class F>
void finished(const F& f) {
  f();
  finish();
}

}  // namespace osteon::test
