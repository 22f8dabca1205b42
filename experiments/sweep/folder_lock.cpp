#include "experiments/sweep/folder_lock.hpp"

#include <cerrno>
#include <fcntl.h>
#include <sys/file.h>
#include <system_error>
#include <unistd.h>

#include "backends/error.hpp"

namespace osteon::experiments {

FolderLock::FolderLock(const std::filesystem::path& folder) {
  std::error_code error;
  std::filesystem::create_directories(folder, error);
  check<FileError>(std::filesystem::is_directory(folder), folder.string(), ": expected a folder to write, ",
                   std::filesystem::exists(folder) ? "found a file" : error.message());
  descriptor_ = open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  check<FileError>(descriptor_ >= 0, folder.string(), ": ", std::generic_category().message(errno));
  if (flock(descriptor_, LOCK_EX | LOCK_NB) == 0)
    return;
  const int reason = errno;
  if (reason != EWOULDBLOCK)
    return;  // a file system without locks: as if nobody else were there
  close(descriptor_);
  fail<ConfigError>("out: ", folder.string(), ": another run is writing there; wait for it, or give another folder");
}

FolderLock::~FolderLock() { close(descriptor_); }

}  // namespace osteon::experiments
