#pragma once

#include <atomic>
#include <cstdint>
#include <filesystem>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "nn/io/input_file.hpp"
#include "nn/io/safetensors.hpp"
#include "nn/io/torch_pickle.hpp"
#include "nn/io/zip.hpp"

namespace osteon::io {

/// An open .pth file in the zip format of torch.save, a dict from names to tensors, whose directory and pickle have
/// been validated in full (zip.hpp, torch_pickle.hpp); nothing in it is executed. Tensors are read one by one, straight
/// into place where they are contiguous and of the dtype asked for; each storage's CRC-32 is checked when it is first
/// read. Reading is const and may be done by several threads. Every error is a FileError with the path.
class TorchFile {
 public:
  explicit TorchFile(std::filesystem::path path);

  const std::filesystem::path& path() const { return file_.path(); }
  const std::vector<TensorEntry>& tensors() const { return entries_; }  ///< in the order of the dict; begin is 0
  std::vector<std::string> names() const;                               ///< in that order

  bool contains(std::string_view name) const { return place_.contains(name); }
  const TensorEntry& info(std::string_view name) const { return entries_[place(name)]; }

  void read_into(std::string_view name, void* destination, DType wanted) const;  ///< as SafetensorsFile's
  void read_raw(std::string_view name, void* destination) const;                 ///< row-major, whatever the strides

 private:
  void set_storages(const std::vector<ZipEntry>& entries, const std::string& top);
  std::size_t place(std::string_view name) const;
  void check_storage(std::size_t tensor) const;

  InputFile file_;
  std::vector<TorchTensor> tensors_;
  std::vector<TensorEntry> entries_;
  std::map<std::string, std::size_t, std::less<>> place_;
  std::vector<ZipEntry> storages_;
  std::vector<std::size_t> storage_of_;           ///< of each tensor
  std::unique_ptr<std::atomic<bool>[]> checked_;  ///< of each storage
};

/// Writes a file that torch.load(weights_only=True) reads, atomically and without a copy of the tensors, in the order
/// given. FileError if a name comes twice, for a dtype without a torch storage, or if the file cannot be written.
void write_torch(const std::filesystem::path& path, std::span<const TensorToWrite> tensors);

}  // namespace osteon::io
