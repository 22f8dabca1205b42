#pragma once

#include <cstdint>
#include <type_traits>
#include <vector>

#include "backends/cuda/emulation/engine.hpp"
#include "backends/cuda/emulation/memory.hpp"
#include "backends/view.hpp"

namespace osteon::cuda {

/// Elements in the device's memory, as kernels see them: a pointer that knows its bounds.
template <class T>
class Global {
 public:
  Global() = default;
  Global(T* data, std::int64_t count) : data_(data), end_(count) {}
  operator Global<const T>() const { return {data_, begin_, end_, argument_}; }  // NOLINT: as pointers convert

  explicit operator bool() const { return data_ != nullptr; }
  Global operator+(std::int64_t offset) const { return {data_ + offset, begin_ - offset, end_ - offset, argument_}; }
  T& operator[](std::int64_t i) const { return *at(i, 1); }

  /// Address of `count` elements from i on, all within the bounds.
  T* at(std::int64_t i, std::int64_t count) const {
    if (i < begin_ || i + count > end_) [[unlikely]]
      fail_outside(i, count);
    return data_ + i;
  }

  T* address() const { return data_; }
  /// For messages: the how many-th argument of the kernel it is.
  void number(int argument) { argument_ = argument; }
  std::string name() const { return argument_ < 0 ? "a buffer" : join("argument ", argument_); }

 private:
  template <class>
  friend class Global;
  Global(T* data, std::int64_t begin, std::int64_t end, int argument)
      : data_(data), begin_(begin), end_(end), argument_(argument) {}

  [[noreturn]] void fail_outside(std::int64_t i, std::int64_t count) const {
    emulation::fail_kernel(join("element ", i < begin_ ? i : i + count - 1, " of ", name(), ", which has elements [",
                                begin_, ", ", end_, ")"));
  }

  T* data_ = nullptr;
  std::int64_t begin_ = 0, end_ = 0;
  int argument_ = -1;
};

template <class T>
T* address_of(const Global<T>& data) {
  return data.address();
}

/// Elements that the device can reach.
template <class T>
Global<T> checked_pointer(T* data, std::int64_t count) {
  return {data, count};
}

/// What kernels are given of a view. Throws KernelError unless its bytes are the device's.
template <class T, class V>
auto checked_global(const V& view) {
  auto* const data = view.template as<T>();
  using Element = std::remove_pointer_t<decltype(data)>;
  if (!view)
    return Global<Element>();
  const std::int64_t count = view.numel();
  if (count > 0 && !emulation::reachable(data, count * static_cast<std::int64_t>(sizeof(T))))
    emulation::fail_kernel(
        join("a kernel was given ", view.shape, " ", view.dtype, " in memory that is not the device's"));
  return Global<Element>(data, count);
}

namespace emulation {

/// Who used an element of shared memory last. Two accesses of different threads conflict if one of them is a write and
/// no barrier lies between: of the block, or, within a warp, of that warp. Atomic writes do not conflict with each
/// other.
class AccessRecord {
 public:
  struct Access {
    std::uint64_t epoch = 0, warp_epoch = 0;
    unsigned thread = 0;
    bool atomic = false;
  };

  void read(const char* name, std::int64_t i) {
    if (writer_.epoch < now.block_begin)
      fail_kernel(join("reads ", name, "[", i, "], which no thread of the block has written"));
    if (conflicts(writer_))
      fail(name, i, "reads", "wrote", writer_.thread);
    if (reader_.epoch != now.epoch) {
      other_warp_ = kNoThread;
      several_ = false;
    } else if (reader_.thread / kWarpSize != now.thread / kWarpSize) {
      other_warp_ = reader_.thread;
      several_ = false;
    } else if (reader_.warp_epoch == now.warp_epoch) {
      several_ |= reader_.thread != now.thread;
    } else {
      several_ = false;
    }
    reader_ = {now.epoch, now.warp_epoch, now.thread, false};
  }

  void write(const char* name, std::int64_t i, bool atomic) {
    if (!(atomic && writer_.atomic) && conflicts(writer_))
      fail(name, i, "writes", "wrote", writer_.thread);
    if (reader_.epoch == now.epoch) {
      if (conflicts(reader_))
        fail(name, i, "writes", "read", reader_.thread);
      if (other_warp_ != kNoThread)  // then not all readers are of this thread's warp
        fail(name, i, "writes", "read", other_warp_);
      if (several_ && reader_.warp_epoch == now.warp_epoch)
        fail(name, i, "writes", "read", kNoThread);
    }
    writer_ = {now.epoch, now.warp_epoch, now.thread, atomic};
  }

 private:
  static bool conflicts(const Access& access) {
    return access.epoch == now.epoch && access.thread != now.thread &&
           (access.thread / kWarpSize != now.thread / kWarpSize || access.warp_epoch == now.warp_epoch);
  }
  [[noreturn]] static void fail(const char* name, std::int64_t i, const char* does, const char* did, unsigned other) {
    const std::string who = other == kNoThread ? "another thread" : join("thread number ", other);
    fail_kernel(join("thread number ", now.thread, " ", does, " ", name, "[", i, "], which ", who, " ", did,
                     " with no barrier between"));
  }

  Access writer_, reader_;           // reader_: the last one
  unsigned other_warp_ = kNoThread;  // a reader of the same epoch and another warp than reader_
  bool several_ = false;             // whether other threads of reader_'s warp read it in the same two epochs
};

}  // namespace emulation

/// An element of shared memory: every use is recorded. Give copies of it their type (`const float x = tile[i]`).
template <class T>
class SharedElement {
 public:
  SharedElement(T& value, emulation::AccessRecord& record, const char* name, std::int64_t i)
      : value_(value), record_(record), name_(name), i_(i) {}
  SharedElement(const SharedElement&) = delete;

  operator T() const {  // NOLINT: stands for the element
    record_.read(name_, i_);
    return value_;
  }
  SharedElement& operator=(T value) {
    record_.write(name_, i_, false);
    value_ = value;
    return *this;
  }
  SharedElement& operator=(const SharedElement& other) {  // NOLINT: an element's assignment to itself is recorded too
    return *this = static_cast<T>(other);
  }
  SharedElement& operator+=(T value) { return *this = static_cast<T>(*this) + value; }
  T atomic_add(T value) {
    record_.write(name_, i_, true);
    const T before = value_;
    value_ = before + value;
    return before;
  }

 private:
  T& value_;
  emulation::AccessRecord& record_;
  const char* name_;
  std::int64_t i_;
};

/// An array in shared memory; see OSTEON_SHARED. Blocks run one after the other, so there is one copy of it.
template <class T>
class Shared {
 public:
  Shared(const char* name, std::size_t count) : name_(name) { resize(count); }
  void resize(std::size_t count) {
    values_.resize(count);
    records_.resize(count);
  }
  SharedElement<T> operator[](std::int64_t i) {
    const auto at = static_cast<std::size_t>(i);
    if (at >= values_.size())
      emulation::fail_kernel(join("element ", i, " of ", name_, ", which has ", values_.size()));
    return {values_[at], records_[at], name_, i};
  }
  void check_aligned(std::int64_t i, std::size_t bytes) const {
    if (static_cast<std::size_t>(i) * sizeof(T) % bytes != 0)
      emulation::fail_kernel(join("element ", i, " of ", name_, " is not aligned to a vector of ", bytes, " bytes"));
  }

 private:
  const char* name_;
  std::vector<T> values_;
  std::vector<emulation::AccessRecord> records_;
};

/// The shared memory that the launch asked for, as elements of T: one array of one type per kernel.
template <class T>
Shared<T>& dynamic_shared() {
  static Shared<T> array("dynamic shared memory", 0);
  array.resize(static_cast<std::size_t>(emulation::now.shared_bytes) / sizeof(T));
  return array;
}

/// Neighbouring elements of shared memory, moved as one. They must be aligned as the hardware's vector loads are.
template <class T, int kCount>
struct Pack;
template <int kCount, class T>
Pack<T, kCount> load_pack(Shared<T>& data, std::int64_t i) {
  data.check_aligned(i, alignof(Pack<T, kCount>));
  Pack<T, kCount> pack;
  for (int k = 0; k < kCount; ++k)
    pack[k] = data[i + k];
  return pack;
}
template <int kCount, class T>
void store_pack(Shared<T>& data, std::int64_t i, const Pack<T, kCount>& pack) {
  data.check_aligned(i, alignof(Pack<T, kCount>));
  for (int k = 0; k < kCount; ++k)
    data[i + k] = pack[k];
}

/// An index into a vector in registers.
inline int checked_index(int i, int count) {
  if (i < 0 || i >= count) [[unlikely]]
    emulation::fail_kernel(join("element ", i, " of a vector of ", count));
  return i;
}

/// Where a vector of elements lies. It must be aligned to its size, as the hardware's vector loads are.
template <class Vector, class T>
auto* vector_at(const Global<T>& data, std::int64_t i) {
  using Element = std::conditional_t<std::is_const_v<T>, const Vector, Vector>;
  T* const at = data.at(i, static_cast<std::int64_t>(sizeof(Vector) / sizeof(T)));
  if (reinterpret_cast<std::uintptr_t>(at) % alignof(Vector) != 0)
    emulation::fail_kernel(
        join("element ", i, " of ", data.name(), " is not aligned to a vector of ", sizeof(Vector), " bytes"));
  return reinterpret_cast<Element*>(at);
}

}  // namespace osteon::cuda
