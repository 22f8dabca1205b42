#pragma once

#include <cstdint>
#include <filesystem>

namespace osteon::io {

/// A regular file that is read at given places, from any thread. Every error is a FileError that begins with its path.
class InputFile {
 public:
  explicit InputFile(std::filesystem::path path);
  ~InputFile();
  InputFile(InputFile&& other) noexcept;
  InputFile& operator=(InputFile&& other) noexcept;

  const std::filesystem::path& path() const { return path_; }
  std::int64_t bytes() const { return bytes_; }  ///< when it was opened
  /// Reads all `count` bytes at `offset`.
  void read_at(std::int64_t offset, char* destination, std::int64_t count) const;

 private:
  std::filesystem::path path_;
  int descriptor_ = -1;
  std::int64_t bytes_ = 0;
};

}  // namespace osteon::io
