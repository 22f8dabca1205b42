#pragma once

#include <cstdint>
#include <iosfwd>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "backends/dtype.hpp"
#include "backends/shape.hpp"

namespace osteon::io {

/// The dtypes of the safetensors format that have whole bytes, in the order in which its reference writer sorts them.
enum class FileDType : std::uint8_t {
  boolean,
  u8,
  i8,
  f8_e5m2,
  f8_e4m3,
  i16,
  u16,
  f16,
  bf16,
  i32,
  u32,
  f32,
  f64,
  i64,
  u64
};

std::int64_t size_of(FileDType dtype);      ///< bytes of one element
std::string_view name_of(FileDType dtype);  ///< as in the file: "F32", "BF16", "BOOL"
std::ostream& operator<<(std::ostream& out, FileDType dtype);
FileDType file_dtype(DType dtype);
std::optional<FileDType> parse_file_dtype(std::string_view name);

/// Free text beside the tensors. transformers and peft only load files that say {"format": "pt"}.
using Metadata = std::map<std::string, std::string>;

struct TensorEntry {
  std::string name;
  FileDType dtype = FileDType::f32;
  Shape shape;
  std::int64_t numel = 0;
  std::int64_t begin = 0, end = 0;  ///< bytes, counted from the end of the header
};

struct SafetensorsHeader {
  Metadata metadata;
  std::vector<TensorEntry> tensors;  ///< by name
};

constexpr std::int64_t kMaxHeaderBytes = 100'000'000;  ///< the limit of the reference implementation

/// Parses and validates the JSON header of a file that has `data_bytes` bytes after it: every entry complete and of the
/// right type, no name twice, size = shape x dtype without overflow, offsets aligned to the element, the tensors cover
/// the data without overlap or hole. Memory is bounded by the header's own length. FileError names `path`, the tensor,
/// what was expected and what was found.
SafetensorsHeader parse_safetensors_header(std::string_view text, std::int64_t data_bytes, const std::string& path);

/// The header's length word, JSON and padding as the reference implementation writes them. `tensors` must be in file
/// order with their offsets set.
std::string format_safetensors_header(const std::vector<TensorEntry>& tensors, const Metadata& metadata,
                                      const std::string& path);

}  // namespace osteon::io
