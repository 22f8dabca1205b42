#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>

namespace osteon::io {

/// Writes a file so that a reader, a crash or a full disk never meets half of it: the bytes go to a temporary name
/// beside the target, and commit() syncs them, renames over the target and syncs the folder. Until then the target is
/// what it was before. Every failure (a short write, a full disk, a missing folder) is a FileError with the target's
/// path and the system's reason. A symbolic link at the target is replaced, not followed.
class AtomicFile {
 public:
  explicit AtomicFile(std::filesystem::path target);
  ~AtomicFile();  ///< without commit(): the temporary file is removed, the target is untouched
  AtomicFile(const AtomicFile&) = delete;
  AtomicFile& operator=(const AtomicFile&) = delete;

  void write(std::string_view bytes);
  void write(const void* bytes, std::size_t count);
  /// Flush, fsync, rename, fsync of the folder. At most once; nothing may be written after it.
  void commit();

  const std::filesystem::path& target() const { return target_; }

 private:
  void write_through(const char* bytes, std::size_t count);

  std::filesystem::path target_, temporary_;
  std::string buffer_;
  int descriptor_ = -1;
};

/// A whole file in one call; see AtomicFile.
void write_file_atomically(const std::filesystem::path& target, std::string_view content);

/// The same promise for a folder: fill path(), then commit() puts it in the place of `target`. An old folder there
/// stays complete until the new one is, and is deleted with all it holds after the exchange (OutputFolder keeps what is
/// not its own). Where the file system cannot exchange two folders in one step, a crash between the two renames leaves
/// the old one beside the target: tidy_folder() brings it back.
class AtomicFolder {
 public:
  explicit AtomicFolder(std::filesystem::path target);
  ~AtomicFolder();  ///< without commit(): what was written is removed, the target is untouched
  AtomicFolder(const AtomicFolder&) = delete;
  AtomicFolder& operator=(const AtomicFolder&) = delete;

  const std::filesystem::path& path() const { return temporary_; }  ///< write the content here
  void commit();

 private:
  std::filesystem::path target_, temporary_;
  bool committed_ = false;
};

/// Makes renames and removals inside a folder survive a power loss.
void sync_folder(const std::filesystem::path& folder);

/// Cleans up beside `target` after a process that died while writing it: restores the old folder if it was moved away,
/// and removes temporary files and folders. Only to be called when no other process writes the target.
void tidy_folder(const std::filesystem::path& target);

/// The whole content of a file. FileError when it cannot be read or holds more than `max_bytes`.
std::string read_file(const std::filesystem::path& path, std::int64_t max_bytes = std::int64_t{1} << 30);

}  // namespace osteon::io
