#include "nn/io/safetensors.hpp"

#include <algorithm>
#include <bit>
#include <memory>
#include <utility>

#include "backends/error.hpp"
#include "nn/io/atomic_file.hpp"
#include "nn/io/convert.hpp"

namespace osteon::io {
namespace fs = std::filesystem;

static_assert(std::endian::native == std::endian::little, "safetensors holds little-endian elements");

SafetensorsFile::SafetensorsFile(fs::path path) : file_(std::move(path)) {
  const std::string where = file_.path().string();
  const std::int64_t file_bytes = file_.bytes();
  check<FileError>(file_bytes >= 8, where, ": expected a safetensors file, which starts with 8 bytes of ",
                   "header length, found ", file_bytes, " bytes in all");
  std::uint64_t length = 0;
  file_.read_at(0, reinterpret_cast<char*>(&length), 8);
  check<FileError>(length <= static_cast<std::uint64_t>(kMaxHeaderBytes), where, ": expected a header of at most ",
                   kMaxHeaderBytes, " bytes, found a header length of ", length);
  const auto header_bytes = static_cast<std::int64_t>(length);
  check<FileError>(header_bytes <= file_bytes - 8, where, ": expected a header of ", header_bytes, " bytes, found ",
                   file_bytes - 8, " bytes after its length: the file is truncated");
  std::string text(length, '\0');
  file_.read_at(8, text.data(), header_bytes);
  data_offset_ = 8 + header_bytes;
  header_ = parse_safetensors_header(text, file_bytes - data_offset_, where);
}

std::vector<std::string> SafetensorsFile::names() const {
  std::vector<std::string> names;
  for (const TensorEntry& tensor : tensors())
    names.push_back(tensor.name);
  return names;
}

const TensorEntry* SafetensorsFile::find(std::string_view name) const {
  const auto found = std::lower_bound(tensors().begin(), tensors().end(), name,
                                      [](const TensorEntry& entry, std::string_view key) { return entry.name < key; });
  return found != tensors().end() && found->name == name ? &*found : nullptr;
}

const TensorEntry& SafetensorsFile::info(std::string_view name) const {
  const TensorEntry* entry = find(name);
  check<FileError>(entry != nullptr, path().string(), ": no tensor ", name, " among its ", tensors().size());
  return *entry;
}

void SafetensorsFile::read_raw(std::string_view name, void* destination) const {
  const TensorEntry& entry = info(name);
  file_.read_at(data_offset_ + entry.begin, static_cast<char*>(destination), entry.end - entry.begin);
}

void SafetensorsFile::read_into(std::string_view name, void* destination, DType wanted) const {
  const TensorEntry& entry = info(name);
  auto* out = static_cast<char*>(destination);
  if (entry.dtype == file_dtype(wanted)) {
    read_raw(name, destination);
    return;
  }
  check<FileError>(can_convert(entry.dtype, wanted), path().string(), ": tensor ", name, ": ", entry.dtype,
                   " cannot be read as ", wanted);
  constexpr std::int64_t kChunkElements = std::int64_t{1} << 16;  // stays in the second-level cache
  const std::int64_t from_bytes = size_of(entry.dtype), to_bytes = size_of(wanted);
  const std::int64_t chunk_elements = std::min(kChunkElements, entry.numel);
  const auto chunk = std::make_unique_for_overwrite<char[]>(static_cast<std::size_t>(chunk_elements * from_bytes));
  for (std::int64_t first = 0; first < entry.numel; first += chunk_elements) {
    const std::int64_t count = std::min(chunk_elements, entry.numel - first);
    file_.read_at(data_offset_ + entry.begin + first * from_bytes, chunk.get(), count * from_bytes);
    const std::int64_t bad = convert_elements(entry.dtype, chunk.get(), wanted, out + first * to_bytes, count);
    check<FileError>(bad < 0, path().string(), ": tensor ", name, ": element ", first + bad, " of ", entry.dtype,
                     " does not fit ", wanted);
  }
}

TensorToWrite tensor_to_write(std::string name, DType dtype, const Shape& shape, const void* elements) {
  const auto count = static_cast<std::size_t>(shape.numel() * osteon::size_of(dtype));
  return {std::move(name), file_dtype(dtype), shape,
          [elements, count] { return std::span(static_cast<const std::byte*>(elements), count); }};
}

void write_safetensors(const fs::path& path, std::span<const TensorToWrite> tensors, const Metadata& metadata) {
  std::vector<const TensorToWrite*> in_order;
  for (const TensorToWrite& tensor : tensors)
    in_order.push_back(&tensor);
  std::sort(in_order.begin(), in_order.end(), [](const TensorToWrite* a, const TensorToWrite* b) {
    return a->dtype != b->dtype ? a->dtype > b->dtype : a->name < b->name;
  });

  std::vector<std::string_view> names;
  std::vector<TensorEntry> entries;
  std::int64_t end = 0;
  for (const TensorToWrite* tensor : in_order) {
    check<FileError>(tensor->name != "__metadata__", path.string(), ": a tensor cannot be named __metadata__");
    const std::int64_t begin = end;
    end += tensor->byte_count();
    entries.push_back({tensor->name, tensor->dtype, tensor->shape, tensor->shape.numel(), begin, end});
    names.push_back(tensor->name);
  }
  std::sort(names.begin(), names.end());
  const auto twice = std::adjacent_find(names.begin(), names.end());
  if (twice != names.end())
    fail<FileError>(path.string(), ": tensor ", *twice, " comes twice");

  AtomicFile file(path);
  file.write(format_safetensors_header(entries, metadata, path.string()));
  for (const TensorToWrite* tensor : in_order) {
    const std::span<const std::byte> bytes = tensor->bytes();
    check<FileError>(static_cast<std::int64_t>(bytes.size()) == tensor->byte_count(), path.string(), ": tensor ",
                     tensor->name, ": expected ", tensor->byte_count(), " bytes, got ", bytes.size());
    file.write(bytes.data(), bytes.size());
  }
  file.commit();
}

}  // namespace osteon::io
