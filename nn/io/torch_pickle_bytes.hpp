#pragma once

#include <algorithm>
#include <array>
#include <cstdint>
#include <cstring>
#include <string>
#include <string_view>
#include <vector>

#include "backends/error.hpp"
#include "nn/io/safetensors_header.hpp"

// Parts of torch_pickle.cpp: the bytes of a pickle and the values on its stack.
namespace osteon::io {

enum class Kind : std::uint8_t { none, boolean, whole, text, global, storage, tensor, tuple, list, dict, mark };

constexpr std::array<const char*, 11> kKindNames{"None",     "a bool",  "an int", "a str",  "a global", "a storage",
                                                 "a tensor", "a tuple", "a list", "a dict", "a mark"};

/// A value is small: what it holds lies in a table of its kind, so that a list inside itself is neither a leak nor a
/// recursion.
struct Value {
  Kind kind = Kind::none;
  std::int64_t number = 0;  // the value, or its place in the table
};

enum Global : std::int64_t { kOrderedDict, kRebuildTensor, kRebuildParameter, kFirstStorage };

struct StorageType {
  const char* name = nullptr;
  FileDType dtype = FileDType::f32;
};

constexpr std::array<StorageType, 6> kStorages{{{"torch FloatStorage", FileDType::f32},
                                                {"torch HalfStorage", FileDType::f16},
                                                {"torch BFloat16Storage", FileDType::bf16},
                                                {"torch LongStorage", FileDType::i64},
                                                {"torch IntStorage", FileDType::i32},
                                                {"torch ByteStorage", FileDType::u8}}};

struct Storage {
  std::string_view key;
  FileDType dtype = FileDType::f32;
  std::int64_t numel = 0;
};

/// The bytes of a pickle, taken from front to back; errors name the opcode's offset.
class PickleBytes {
 public:
  PickleBytes(std::string_view pickle, const std::string& path) : pickle_(pickle), path_(path) {}

  template <class... Parts>
  void expect(bool ok, const Parts&... parts) const {
    check<FileError>(ok, path_, ": data.pkl: offset ", opcode_at_, ": ", parts...);
  }

  void expect_end() const { expect(at_ == pickle_.size(), pickle_.size() - at_, " bytes after the end of the pickle"); }

  unsigned take_opcode() {
    opcode_at_ = at_;
    return static_cast<unsigned char>(take(1)[0]);
  }

  std::string_view take(std::uint64_t count) {
    expect(count <= pickle_.size() - at_, "expected ", count, " more bytes, found ", pickle_.size() - at_,
           ": truncated");
    at_ += count;
    return pickle_.substr(at_ - count, count);
  }

  std::uint64_t take_number(std::size_t bytes) {
    std::uint64_t value = 0;
    std::memcpy(&value, take(bytes).data(), bytes);
    return value;
  }

  std::string_view take_line() {
    const std::size_t end = pickle_.find('\n', at_);
    expect(end != std::string_view::npos, "expected the end of a line, found none: truncated");
    const std::string_view line = take(end - at_);
    ++at_;
    return line;
  }

 private:
  std::string_view pickle_;
  const std::string& path_;
  std::size_t at_ = 0, opcode_at_ = 0;
};

/// No more elements than the storage has (a stride of 0 could make any number of one), all of them inside it.
inline void check_view(const PickleBytes& pickle, const Storage& storage, std::int64_t offset,
                       const std::vector<std::int64_t>& sizes, const std::vector<std::int64_t>& strides) {
  bool empty = false;
  for (const std::int64_t size : sizes)
    empty = empty || size == 0;
  std::int64_t numel = 1, last = offset;
  for (std::size_t i = 0; i < sizes.size(); ++i) {
    // Of an empty tensor too the other sizes must have a product, or counting its elements would overflow.
    const std::int64_t size = std::max<std::int64_t>(sizes[i], 1);
    std::int64_t reach = 0;
    pickle.expect(!__builtin_mul_overflow(numel, size, &numel) &&
                      (empty || (numel <= storage.numel && !__builtin_mul_overflow(size - 1, strides[i], &reach) &&
                                 !__builtin_add_overflow(last, reach, &last))),
                  "a tensor of more elements than the ", storage.numel, " of its storage");
  }
  pickle.expect(empty ? offset <= storage.numel : last < storage.numel, "a tensor that reaches element ", last,
                " of the ", storage.numel, " of its storage");
}

}  // namespace osteon::io
