#pragma once

#include <doctest/doctest.h>
#include <string>

#include "backends/cuda/simt.hpp"
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

}  // namespace osteon::test
