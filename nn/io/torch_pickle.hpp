#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "nn/io/safetensors_header.hpp"

namespace osteon::io {

/// A tensor as a .pth file's data.pkl describes it: a strided view of a storage.
struct TorchTensor {
  std::string name;
  FileDType dtype = FileDType::f32;
  Shape shape;
  std::vector<std::int64_t> strides;  ///< in elements, each at least 0
  std::int64_t offset = 0;            ///< in elements
  std::string storage;                ///< its entry is data/<storage>
  std::int64_t storage_numel = 0;

  std::int64_t numel() const { return shape.numel(); }
  bool is_contiguous() const;
};

/// Reads the pickle of a dict from names to tensors. Nothing is ever executed: of pickle only the opcodes of protocol 2
/// that torch.save writes are known, of its globals only OrderedDict, _rebuild_tensor_v2, _rebuild_parameter and the
/// storages of f32, f16, bf16, i64, i32 and u8. Anything else is a FileError that names `path`, the opcode or global
/// and its offset; so are a view that leaves its storage or repeats elements, and a name that comes twice. Memory is
/// bounded by a multiple of the pickle's length.
std::vector<TorchTensor> parse_torch_pickle(std::string_view pickle, const std::string& path);

/// What torch.save writes for an OrderedDict of contiguous tensors, the i-th in storage "i".
/// FileError for a dtype that has no torch storage above.
std::string format_torch_pickle(std::span<const TorchTensor> tensors, const std::string& path);

}  // namespace osteon::io
