#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "backends/dtype.hpp"
#include "backends/shape.hpp"
#include "nn/io/input_file.hpp"
#include "nn/io/safetensors_header.hpp"

namespace osteon::io {

/// An open safetensors file whose header has been validated in full. Tensors are read straight into place, never the
/// file as a whole. Reading is const and may be done by several threads. Every error is a FileError with the path.
class SafetensorsFile {
 public:
  explicit SafetensorsFile(std::filesystem::path path);

  const std::filesystem::path& path() const { return file_.path(); }
  const Metadata& metadata() const { return header_.metadata; }
  const std::vector<TensorEntry>& tensors() const { return header_.tensors; }  ///< by name
  std::vector<std::string> names() const;                                      ///< sorted

  bool contains(std::string_view name) const { return find(name) != nullptr; }
  const TensorEntry& info(std::string_view name) const;  ///< FileError if there is no such tensor

  /// Reads info(name).numel elements of dtype `wanted` to `destination`, converting on the way with at most one
  /// rounding: F16, BF16, F32, F64 as f32, bf16 or f64; whole numbers as i32, refused when out of range; U8 and BOOL as
  /// u8. Another pair of dtypes is a FileError.
  void read_into(std::string_view name, void* destination, DType wanted) const;
  /// Reads the elements as they are in the file, whatever their dtype.
  void read_raw(std::string_view name, void* destination) const;

 private:
  const TensorEntry* find(std::string_view name) const;

  InputFile file_;
  std::int64_t data_offset_ = 0;
  SafetensorsHeader header_;
};

/// A tensor to be written. `bytes` is called once, when its turn in the file comes, and gives the row-major
/// little-endian elements; what it returns must stay valid until the next tensor's is called.
struct TensorToWrite {
  std::string name;
  FileDType dtype = FileDType::f32;
  Shape shape;
  std::function<std::span<const std::byte>()> bytes;

  std::int64_t byte_count() const { return shape.numel() * size_of(dtype); }
};

/// A tensor that lies in memory as it is to be written; `elements` must outlive the writing.
TensorToWrite tensor_to_write(std::string name, DType dtype, const Shape& shape, const void* elements);

inline Metadata default_metadata() { return {{"format", "pt"}}; }

/// Writes a file atomically and without a copy of the tensors, byte by byte as the reference implementation does:
/// sorted by dtype (widest first), then name. FileError if a name comes twice or the file cannot be written.
void write_safetensors(const std::filesystem::path& path, std::span<const TensorToWrite> tensors,
                       const Metadata& metadata = default_metadata());

}  // namespace osteon::io
