#pragma once

#include <doctest/doctest.h>
#include <string>

#include "backends/cuda/simt.hpp"
#include "backends/memory.hpp"
#include "test/backends/array.hpp"

namespace osteon::test {

/// Device memory as a kernel sees it.
template <class T>
struct DeviceArray {
  cuda::Buffer buffer;
  cuda::Global<T> elements;

  explicit DeviceArray(std::int64_t count, T value = T{})
      : buffer(cuda::Memory::device, count * static_cast<std::int64_t>(sizeof(T))),
        elements(reinterpret_cast<T*>(buffer.data()), count) {
    for (std::int64_t i = 0; i < count; ++i)
      elements[i] = value;
  }
};

/// What the KernelError that f() throws says; empty if it throws none.
template <class F>
std::string kernel_error(const F& f) {
  try {
    f();
  } catch (const cuda::emulation::KernelError& error) {
    return error.what();
  }
  return {};
}

#define CHECK_SAYS(text, part) CHECK_MESSAGE((text).find(part) != std::string::npos, text)

inline void clean_up() {
  cuda::emulation::fail_no_call();
  release_idle_memory(Device::cuda);
  cuda::synchronize(Cuda{});
}

/// use() once as it is and once for each of the runtime's calls in it, more than `least`, failing that one: it must be
/// named with its code, and nothing be left behind. then(message) looks at the rest. Returns the number of calls.
template <class Use, class Then>
std::int64_t check_each_failing_call(const Use& use, std::int64_t least, const Then& then) {
  namespace emulation = cuda::emulation;
  clean_up();
  const emulation::Allocated before = emulation::allocated();
  const std::int64_t live = memory_report(Device::cuda).live.total(), handles = emulation::live_handles();
  const std::int64_t first = emulation::call_count();
  use();
  clean_up();
  const std::int64_t calls = emulation::call_count() - first;
  REQUIRE(calls > least);
  for (std::int64_t n = 0; n < calls; ++n) {
    CAPTURE(n);
    emulation::fail_call(n, cudaErrorLaunchFailure);
    std::string message;
    try {
      use();
      release_idle_memory(Device::cuda);
      cuda::synchronize(Cuda{});
    } catch (const cuda::DeviceError& error) {
      message = error.what();
    }
    CHECK_SAYS(message, "cudaErrorLaunchFailure (719)");
    clean_up();
    CHECK(emulation::allocated().blocks == before.blocks);
    CHECK(emulation::live_handles() == handles);
    CHECK(memory_report(Device::cuda).live.total() == live);
    then(message);
  }
  return calls;
}

}  // namespace osteon::test
