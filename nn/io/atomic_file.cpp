#include "nn/io/atomic_file.hpp"

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <system_error>
#include <unistd.h>
#include <utility>
#include <vector>

#include "backends/error.hpp"

namespace osteon::io {
namespace fs = std::filesystem;
namespace {

constexpr std::size_t kBufferBytes = std::size_t{1} << 18;

std::string reason(int error_number) { return std::generic_category().message(error_number); }

/// A file in an AtomicFolder by the name that it is to have: "run/.best.tmp-7-0/a" is run/best/a to the reader.
fs::path final_name(const fs::path& path) {
  fs::path name;
  for (const fs::path& part : path) {
    const std::string text = part.string();
    const std::size_t mark = text.find(".tmp-", 1);
    name /= text.starts_with('.') && mark != std::string::npos ? fs::path(text.substr(1, mark - 1)) : part;
  }
  return name.lexically_normal();
}

[[noreturn]] void fail_file(const fs::path& path, const char* action, int error_number) {
  fail<FileError>(final_name(path).string(), ": cannot ", action, ": ", reason(error_number));
}

/// "folder/" and "folder" name the same target, and a rename needs the second form.
fs::path without_trailing_slash(fs::path path) {
  if (!path.has_filename())
    path = path.parent_path();
  return path;
}

fs::path folder_of(const fs::path& path) { return path.has_parent_path() ? path.parent_path() : fs::path("."); }

/// A name beside the target that no other writer of this machine uses.
fs::path name_beside(const fs::path& target, const char* kind) {
  static std::atomic<std::uint64_t> counter{0};
  return folder_of(target) / join(".", target.filename().string(), ".", kind, "-", ::getpid(), "-", counter++);
}

/// Makes what was written, or a rename inside a folder, survive a power loss. Some file systems cannot sync a folder
/// and say EINVAL; there is nothing more to do then.
void sync_path(const fs::path& path, int flags) {
  const int descriptor = ::open(path.c_str(), flags | O_CLOEXEC);
  if (descriptor < 0)
    fail_file(path, "open to sync", errno);
  const int error = ::fsync(descriptor) == 0 ? 0 : errno;
  ::close(descriptor);
  if (error != 0 && error != EINVAL)
    fail_file(path, "sync", error);
}

}  // namespace

void sync_folder(const fs::path& folder) { sync_path(folder, O_RDONLY | O_DIRECTORY); }

AtomicFile::AtomicFile(fs::path target) : target_(std::move(target)) {
  check<FileError>(target_.has_filename(), target_.string(), ": expected the name of a file, got a folder");
  std::error_code ignored;
  check<FileError>(!fs::is_directory(target_, ignored), target_.string(), ": expected a file to write, found a folder");
  do {
    temporary_ = name_beside(target_, "tmp");
    descriptor_ = ::open(temporary_.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
  } while (descriptor_ < 0 && errno == EEXIST);  // left by a dead process that had this process number
  if (descriptor_ < 0)
    fail_file(target_, "create a file in its folder", errno);
}

AtomicFile::~AtomicFile() {
  if (descriptor_ < 0)
    return;
  ::close(descriptor_);
  ::unlink(temporary_.c_str());
}

void AtomicFile::write(std::string_view bytes) {
  check<FileError>(descriptor_ >= 0, target_.string(), ": write after commit");
  if (buffer_.size() + bytes.size() > kBufferBytes) {
    write_through(buffer_.data(), buffer_.size());
    buffer_.clear();
  }
  if (bytes.size() >= kBufferBytes)
    write_through(bytes.data(), bytes.size());  // large tensors are never copied
  else
    buffer_.append(bytes);
}

void AtomicFile::write(const void* bytes, std::size_t count) {
  write(std::string_view(static_cast<const char*>(bytes), count));
}

void AtomicFile::write_through(const char* bytes, std::size_t count) {
  constexpr std::size_t kLargestWrite = std::size_t{1} << 30;  // Linux cuts a single write at 2 GiB
  while (count > 0) {
    const ssize_t written = ::write(descriptor_, bytes, std::min(count, kLargestWrite));
    if (written < 0 && errno == EINTR)
      continue;
    if (written <= 0)
      fail_file(target_, "write", written < 0 ? errno : ENOSPC);
    bytes += written;
    count -= static_cast<std::size_t>(written);
  }
}

void AtomicFile::commit() {
  check<FileError>(descriptor_ >= 0, target_.string(), ": commit after commit");
  write_through(buffer_.data(), buffer_.size());
  buffer_.clear();
  if (::fsync(descriptor_) != 0 && errno != EINVAL)  // EINVAL: a pipe or device, which has nothing to sync
    fail_file(target_, "sync", errno);
  // rename before close: the destructor still cleans up if it fails, and after fsync close has nothing left to report
  if (::rename(temporary_.c_str(), target_.c_str()) != 0)
    fail_file(target_, "rename the finished file into place", errno);
  ::close(std::exchange(descriptor_, -1));
  sync_folder(folder_of(target_));
}

void write_file_atomically(const fs::path& target, std::string_view content) {
  AtomicFile file(target);
  file.write(content);
  file.commit();
}

AtomicFolder::AtomicFolder(fs::path target) : target_(without_trailing_slash(std::move(target))) {
  std::error_code ignored;
  check<FileError>(!fs::exists(target_, ignored) || fs::is_directory(target_, ignored), target_.string(),
                   ": expected a folder to write, found a file");
  int made;
  do {
    temporary_ = name_beside(target_, "tmp");
    made = ::mkdir(temporary_.c_str(), 0777);
  } while (made != 0 && errno == EEXIST);
  if (made != 0)
    fail_file(target_, "create a folder beside it", errno);
}

AtomicFolder::~AtomicFolder() {
  std::error_code ignored;
  if (!committed_)
    fs::remove_all(temporary_, ignored);
}

void AtomicFolder::commit() {
  check<FileError>(!committed_, target_.string(), ": commit after commit");
  std::error_code error;
  for (auto entry = fs::recursive_directory_iterator(temporary_, error), end = fs::recursive_directory_iterator();
       !error && entry != end; entry.increment(error)) {
    if (entry->is_regular_file())
      sync_path(entry->path(), O_RDONLY);
    else if (entry->is_directory())
      sync_folder(entry->path());
  }
  if (error)
    fail_file(target_, "list what was written", error.value());
  sync_folder(temporary_);

  if (::rename(temporary_.c_str(), target_.c_str()) == 0) {  // nothing there, or an empty folder
    committed_ = true;
  } else {
    if (errno != ENOTEMPTY && errno != EEXIST)
      fail_file(target_, "rename the finished folder into place", errno);
    fs::path old = temporary_;  // where the old folder is after the exchange
    if (::renameat2(AT_FDCWD, temporary_.c_str(), AT_FDCWD, target_.c_str(), RENAME_EXCHANGE) != 0) {
      old = name_beside(target_, "old");
      if (::rename(target_.c_str(), old.c_str()) != 0)
        fail_file(target_, "move the old folder away", errno);
      if (::rename(temporary_.c_str(), target_.c_str()) != 0) {
        const int error_number = errno;
        ::rename(old.c_str(), target_.c_str());
        fail_file(target_, "rename the finished folder into place", error_number);
      }
    }
    committed_ = true;
    sync_folder(folder_of(target_));  // only when the new folder is sure may the old one go
    fs::remove_all(old, error);       // leftovers cost space, not data: tidy_folder() takes them later
  }
  sync_folder(folder_of(target_));
}

void tidy_folder(const fs::path& name) {
  const fs::path target = without_trailing_slash(name);
  const std::string stem = "." + target.filename().string() + ".";
  std::vector<fs::path> temporaries, olds;
  std::error_code error;
  for (fs::directory_iterator entry(folder_of(target), error), end; !error && entry != end; entry.increment(error)) {
    const std::string found = entry->path().filename().string();
    if (found.starts_with(stem + "tmp-"))
      temporaries.push_back(entry->path());
    else if (found.starts_with(stem + "old-"))
      olds.push_back(entry->path());
  }
  if (!fs::exists(target, error) && olds.size() == 1) {
    if (::rename(olds.front().c_str(), target.c_str()) != 0)
      fail_file(target, "bring the old folder back", errno);
    sync_folder(folder_of(target));
    olds.clear();
  }
  if (fs::exists(target, error))
    temporaries.insert(temporaries.end(), olds.begin(), olds.end());
  for (const fs::path& path : temporaries)
    fs::remove_all(path, error);
}

std::string read_file(const fs::path& path, std::int64_t max_bytes) {
  const int descriptor = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (descriptor < 0)
    fail_file(path, "open", errno);
  std::string content;
  int error = 0;
  const auto limit = static_cast<std::size_t>(max_bytes);
  struct stat status {};
  if (::fstat(descriptor, &status) == 0 && S_ISREG(status.st_mode))
    content.reserve(std::min(limit, static_cast<std::size_t>(status.st_size)) + 1);
  char chunk[1 << 16];
  while (content.size() <= limit) {  // one byte beyond the limit is enough to know
    const ssize_t got = ::read(descriptor, chunk, sizeof chunk);
    if (got < 0 && errno == EINTR)
      continue;
    if (got < 0)
      error = errno;
    if (got <= 0)
      break;
    content.append(chunk, static_cast<std::size_t>(got));
  }
  ::close(descriptor);
  if (error != 0)
    fail_file(path, "read", error);
  check<FileError>(content.size() <= limit, path.string(), ": expected at most ", max_bytes, " bytes, found more");
  return content;
}

}  // namespace osteon::io
