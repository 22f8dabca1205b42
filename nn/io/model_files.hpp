#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "nn/io/tensor_file.hpp"

namespace osteon::io {

/// The weights of a Hugging Face folder seen as one set of tensors: `<stem>.safetensors`, or where that is absent the
/// shards that `<stem>.safetensors.index.json` lists ("model" for models, "adapter_model" for adapters).
/// Opening reads and validates every header, no data. Every error is a FileError that names the file at fault.
class ModelFiles {
 public:
  /// `path` is the folder, or one file by itself, a .pth one too.
  explicit ModelFiles(const std::filesystem::path& path, const std::string& stem = "model");

  const std::filesystem::path& path() const { return path_; }
  const std::vector<TensorFile>& files() const { return files_; }
  std::vector<std::string> names() const;  ///< sorted

  bool contains(std::string_view name) const { return shard_of_.contains(name); }
  const TensorEntry& info(std::string_view name) const { return file_of(name).info(name); }
  const TensorFile& file_of(std::string_view name) const;
  void read_into(std::string_view name, void* destination, DType wanted) const {
    file_of(name).read_into(name, destination, wanted);
  }

  /// What is odd but harmless: tensors in a shard that the index gives to another file, or does not list.
  const std::vector<std::string>& warnings() const { return warnings_; }

 private:
  void open_shards(const std::filesystem::path& index, const std::filesystem::path& folder);

  std::filesystem::path path_;
  std::vector<TensorFile> files_;
  std::map<std::string, std::size_t, std::less<>> shard_of_;
  std::vector<std::string> warnings_;
};

/// Whether a file of this name holds weights of a stem, or is their index.
bool is_weight_file(const std::string& name, const std::string& stem);

constexpr std::int64_t kDefaultShardBytes = 5'000'000'000;  ///< transformers' max_shard_size

/// Writes `<stem>.safetensors` to an existing folder, or shards of at most `max_shard_bytes` (a larger tensor gets one
/// of its own) and their index, split in the order given as transformers does. Weight files of an earlier save under
/// the same stem that are no part of this one are removed at the end. Each file is atomic; for the set to be, write
/// into an OutputFolder.
void write_model_files(const std::filesystem::path& folder, std::span<const TensorToWrite> tensors,
                       std::int64_t max_shard_bytes = kDefaultShardBytes, const Metadata& metadata = default_metadata(),
                       const std::string& stem = "model");

}  // namespace osteon::io
