#pragma once

#include <filesystem>
#include <fstream>
#include <string>
#include <unistd.h>

/// A file with the given content that lives as long as the object, in a folder of its own.
class TemporaryFile {
 public:
  TemporaryFile(const std::string& name, const std::string& content = {}) {
    static int count = 0;
    folder_ = std::filesystem::temp_directory_path() /
              ("osteon_data_" + std::to_string(::getpid()) + "_" + std::to_string(count++));
    std::filesystem::create_directories(folder_);
    path_ = folder_ / name;
    if (!content.empty())
      std::ofstream(path_, std::ios::binary) << content;
    else
      std::ofstream(path_, std::ios::binary);
  }
  ~TemporaryFile() { std::filesystem::remove_all(folder_); }
  TemporaryFile(const TemporaryFile&) = delete;
  TemporaryFile& operator=(const TemporaryFile&) = delete;

  const std::filesystem::path& path() const { return path_; }

 private:
  std::filesystem::path folder_, path_;
};
