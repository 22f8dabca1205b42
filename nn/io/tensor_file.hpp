#pragma once

#include <filesystem>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "nn/io/safetensors.hpp"
#include "nn/io/torch_file.hpp"

namespace osteon::io {

/// Whether a path names a torch file: .pth or .pt.
bool is_torch_path(const std::filesystem::path& path);

/// A .pth (.pt) file or, by any other name, a safetensors file: what holds for both. See TorchFile and SafetensorsFile.
class TensorFile {
 public:
  explicit TensorFile(const std::filesystem::path& path);

  const std::filesystem::path& path() const;
  const std::vector<TensorEntry>& tensors() const;  ///< in the file's own order, or by name
  bool contains(std::string_view name) const;
  const TensorEntry& info(std::string_view name) const;
  void read_into(std::string_view name, void* destination, DType wanted) const;
  void read_raw(std::string_view name, void* destination) const;

 private:
  std::variant<std::unique_ptr<SafetensorsFile>, std::unique_ptr<TorchFile>> file_;
};

/// write_torch or write_safetensors, by the path's ending.
void write_tensor_file(const std::filesystem::path& path, std::span<const TensorToWrite> tensors);

/// A file's tensors as they are, each read when it is written: memory is that of the largest.
std::vector<TensorToWrite> tensors_of(const TensorFile& file);

}  // namespace osteon::io
