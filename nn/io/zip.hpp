#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "nn/io/atomic_file.hpp"

namespace osteon::io {

/// A stored file inside a zip file.
struct ZipEntry {
  std::string name;
  std::int64_t header = 0;  ///< where its local header starts
  std::int64_t begin = 0;   ///< where its bytes start, counted from the start of the zip file
  std::int64_t bytes = 0;
  std::uint32_t crc = 0;
};

/// Reads `count` bytes at `offset` of the zip file.
using ReadAt = std::function<void(std::int64_t offset, char* destination, std::int64_t count)>;

/// The entries of a zip or zip64 file, in the order of its directory, validated in full: everything stored (nothing is
/// ever unpacked, so there are no zip bombs), not encrypted, one volume; plain relative names, none twice; local
/// headers that say the same; no entry that overlaps another or the directory. Reads the directory and the local
/// headers, in memory bounded by the directory. FileError names `path`, the entry, what was expected and what was
/// found.
std::vector<ZipEntry> read_zip_directory(const ReadAt& read_at, std::int64_t file_bytes, const std::string& path);

/// Writes a zip file of stored entries whose bytes start at multiples of 64, as torch does so that they can be mapped;
/// zip64 where an offset or size needs it.
class ZipWriter {
 public:
  /// `limit`: where 32 bits no longer do; a lower one makes small files of zip64's form.
  explicit ZipWriter(AtomicFile& file, std::int64_t limit = 0xffffffff) : file_(file), limit_(limit) {}

  void add(const std::string& name, std::span<const std::byte> bytes);
  void add(const std::string& name, std::string_view text) { add(name, std::as_bytes(std::span(text))); }
  void finish();  ///< the directory; once, after the last entry

 private:
  void write(std::string_view bytes);

  AtomicFile& file_;
  std::int64_t limit_, position_ = 0;
  std::vector<ZipEntry> entries_;
};

}  // namespace osteon::io
