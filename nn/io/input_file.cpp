#include "nn/io/input_file.hpp"

#include <algorithm>
#include <cerrno>
#include <fcntl.h>
#include <string>
#include <sys/stat.h>
#include <system_error>
#include <unistd.h>
#include <utility>

#include "backends/error.hpp"

namespace osteon::io {
namespace {

std::string reason(int error_number) { return std::generic_category().message(error_number); }

}  // namespace

InputFile::InputFile(std::filesystem::path path) : path_(std::move(path)) {
  descriptor_ = ::open(path_.c_str(), O_RDONLY | O_CLOEXEC);
  check<FileError>(descriptor_ >= 0, path_.string(), ": cannot open: ", reason(errno));
  struct stat status {};
  if (::fstat(descriptor_, &status) != 0 || !S_ISREG(status.st_mode)) {
    ::close(descriptor_);
    fail<FileError>(path_.string(), ": expected a regular file");
  }
  bytes_ = status.st_size;
}

InputFile::~InputFile() {
  if (descriptor_ >= 0)
    ::close(descriptor_);
}

InputFile::InputFile(InputFile&& other) noexcept
    : path_(std::move(other.path_)), descriptor_(std::exchange(other.descriptor_, -1)), bytes_(other.bytes_) {}

InputFile& InputFile::operator=(InputFile&& other) noexcept {
  std::swap(path_, other.path_);
  std::swap(descriptor_, other.descriptor_);
  std::swap(bytes_, other.bytes_);
  return *this;
}

void InputFile::read_at(std::int64_t offset, char* destination, std::int64_t count) const {
  constexpr std::int64_t kLargestRead = std::int64_t{1} << 30;  // Linux cuts a single read at 2 GiB
  while (count > 0) {
    const auto wanted = static_cast<std::size_t>(std::min(count, kLargestRead));
    const ssize_t got = ::pread(descriptor_, destination, wanted, offset);
    if (got < 0 && errno == EINTR)
      continue;
    check<FileError>(got >= 0, path_.string(), ": cannot read: ", reason(errno));
    check<FileError>(got > 0, path_.string(), ": expected ", count, " more bytes at ", offset,
                     ", found the end: the file was truncated while it was read");
    destination += got;
    offset += got;
    count -= got;
  }
}

}  // namespace osteon::io
