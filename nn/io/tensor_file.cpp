#include "nn/io/tensor_file.hpp"

namespace osteon::io {
namespace fs = std::filesystem;

bool is_torch_path(const fs::path& path) { return path.extension() == ".pth" || path.extension() == ".pt"; }

TensorFile::TensorFile(const fs::path& path) {
  if (is_torch_path(path))
    file_ = std::make_unique<TorchFile>(path);
  else
    file_ = std::make_unique<SafetensorsFile>(path);
}

const fs::path& TensorFile::path() const {
  return std::visit([](const auto& file) -> const fs::path& { return file->path(); }, file_);
}

const std::vector<TensorEntry>& TensorFile::tensors() const {
  return std::visit([](const auto& file) -> const std::vector<TensorEntry>& { return file->tensors(); }, file_);
}

bool TensorFile::contains(std::string_view name) const {
  return std::visit([&](const auto& file) { return file->contains(name); }, file_);
}

const TensorEntry& TensorFile::info(std::string_view name) const {
  return std::visit([&](const auto& file) -> const TensorEntry& { return file->info(name); }, file_);
}

void TensorFile::read_into(std::string_view name, void* destination, DType wanted) const {
  std::visit([&](const auto& file) { file->read_into(name, destination, wanted); }, file_);
}

void TensorFile::read_raw(std::string_view name, void* destination) const {
  std::visit([&](const auto& file) { file->read_raw(name, destination); }, file_);
}

void write_tensor_file(const fs::path& path, std::span<const TensorToWrite> tensors) {
  if (is_torch_path(path))
    write_torch(path, tensors);
  else
    write_safetensors(path, tensors);
}

std::vector<TensorToWrite> tensors_of(const TensorFile& file) {
  const auto buffer =
      std::make_shared<std::vector<std::byte>>();  // one for all: a tensor's bytes last until the next's
  std::vector<TensorToWrite> tensors;
  for (const TensorEntry& entry : file.tensors())
    tensors.push_back({entry.name, entry.dtype, entry.shape, [&file, &entry, buffer] {
                         buffer->resize(static_cast<std::size_t>(entry.end - entry.begin));
                         file.read_raw(entry.name, buffer->data());
                         return std::span<const std::byte>(*buffer);
                       }});
  return tensors;
}

}  // namespace osteon::io
