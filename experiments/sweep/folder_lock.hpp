#pragma once

#include <filesystem>

namespace osteon::experiments {

/// Holds a folder for this process while it lives, so that two runs never mix their files there. The folder is made
/// where it is missing. Nothing is left behind: the system drops the lock with the process, however it ends.
/// ConfigError where another process holds it, FileError where the folder cannot be made or opened.
class FolderLock {
 public:
  explicit FolderLock(const std::filesystem::path& folder);
  ~FolderLock();
  FolderLock(const FolderLock&) = delete;
  FolderLock& operator=(const FolderLock&) = delete;

 private:
  int descriptor_ = -1;
};

}  // namespace osteon::experiments
