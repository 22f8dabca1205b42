#include "nn/io/zip.hpp"

#include <algorithm>
#include <cstring>
#include <optional>

#include "backends/error.hpp"
#include "nn/io/safetensors_header.hpp"

namespace osteon::io {
namespace {

// APPNOTE.TXT 4.3: signatures and the sizes of the fixed parts.
constexpr std::uint32_t kLocalSignature = 0x04034b50, kCentralSignature = 0x02014b50, kEndSignature = 0x06054b50;
constexpr std::uint32_t kEnd64Signature = 0x06064b50, kLocator64Signature = 0x07064b50;
constexpr std::int64_t kLocalBytes = 30, kCentralBytes = 46, kEndBytes = 22, kEnd64Bytes = 56, kLocator64Bytes = 20;
constexpr std::int64_t kLargestComment = 0xffff;
constexpr std::uint64_t kIn64 = 0xffffffff;  // "see the zip64 field"
constexpr std::uint16_t kExtra64 = 1;
constexpr std::uint32_t kEncrypted = 1, kDescriptorFollows = 8;

std::uint64_t number_at(std::string_view bytes, std::size_t offset, std::size_t size) {
  std::uint64_t value = 0;
  std::memcpy(&value, bytes.data() + offset, size);
  return value;
}

struct Directory {
  std::uint64_t entries = 0, bytes = 0, offset = 0;
  std::int64_t limit = 0;  // where what follows the directory starts
};

struct Parser {
  const ReadAt& read_at;
  std::int64_t file_bytes;
  const std::string& path;

  template <class... Parts>
  void expect(bool ok, const Parts&... parts) const {
    check<FileError>(ok, path, ": zip: ", parts...);
  }

  std::string read(std::int64_t offset, std::int64_t count) const {
    std::string bytes(static_cast<std::size_t>(count), '\0');
    read_at(offset, bytes.data(), count);
    return bytes;
  }

  Directory find_directory() const {
    expect(file_bytes >= kEndBytes, "expected at least ", kEndBytes, " bytes, found ", file_bytes);
    const std::int64_t start = std::max<std::int64_t>(0, file_bytes - kEndBytes - kLargestComment);
    const std::string tail = read(start, file_bytes - start);
    std::optional<std::size_t> found;
    for (std::size_t at = tail.size() - kEndBytes + 1; at-- > 0 && !found;)
      if (number_at(tail, at, 4) == kEndSignature && number_at(tail, at + 20, 2) == tail.size() - at - kEndBytes)
        found = at;
    expect(found.has_value(), "expected the end of its directory at the end of the file, found none: truncated?");
    const std::size_t at = *found;
    expect(number_at(tail, at + 4, 2) == 0 && number_at(tail, at + 6, 2) == 0, "expected one volume");
    expect(number_at(tail, at + 8, 2) == number_at(tail, at + 10, 2), "expected one count of entries, found two");
    Directory directory{number_at(tail, at + 10, 2), number_at(tail, at + 12, 4), number_at(tail, at + 16, 4),
                        start + static_cast<std::int64_t>(at)};
    read_end64(directory);
    expect(directory.bytes <= static_cast<std::uint64_t>(std::min(directory.limit, kMaxHeaderBytes)) &&
               directory.offset <= static_cast<std::uint64_t>(directory.limit) - directory.bytes,
           "expected a directory inside the file and of at most ", kMaxHeaderBytes, " bytes, found ", directory.bytes,
           " bytes at ", directory.offset);
    expect(directory.entries <= directory.bytes / static_cast<std::uint64_t>(kCentralBytes), "a directory of ",
           directory.bytes, " bytes cannot hold ", directory.entries, " entries");
    return directory;
  }

  void read_end64(Directory& directory) const {
    const std::int64_t locator_at = directory.limit - kLocator64Bytes;
    if (locator_at < kEnd64Bytes)
      return;
    const std::string locator = read(locator_at, kLocator64Bytes);
    if (number_at(locator, 0, 4) != kLocator64Signature)
      return;
    const std::uint64_t at = number_at(locator, 8, 8);
    expect(at <= static_cast<std::uint64_t>(locator_at - kEnd64Bytes), "its zip64 end lies outside the file, at ", at);
    const std::string end = read(static_cast<std::int64_t>(at), kEnd64Bytes);
    expect(number_at(end, 0, 4) == kEnd64Signature, "no zip64 end at ", at);
    directory = {number_at(end, 32, 8), number_at(end, 40, 8), number_at(end, 48, 8), static_cast<std::int64_t>(at)};
  }

  /// The 64-bit values of an entry's extra fields, in the order of those of its 32-bit fields that ask for them.
  void read_extra64(std::string_view extra, std::initializer_list<std::uint64_t*> fields, std::string_view name) const {
    for (std::size_t at = 0; extra.size() - at >= 4;) {
      const std::uint64_t id = number_at(extra, at, 2), size = number_at(extra, at + 2, 2);
      expect(size <= extra.size() - at - 4, name, ": an extra field of ", size, " bytes leaves its place");
      if (id == kExtra64) {
        std::size_t next = at + 4;
        const std::size_t end = next + size;
        for (std::uint64_t* field : fields)
          if (*field == kIn64) {
            expect(end - next >= 8, name, ": its zip64 field is too short");
            *field = number_at(extra, next, 8);
            next += 8;
          }
        return;
      }
      at += 4 + size;
    }
  }

  void check_name(std::string_view name) const {
    expect(!name.empty() && name.front() != '/' && name.find('\\') == name.npos && name.find('\0') == name.npos &&
               ("/" + std::string(name) + "/").find("/../") == std::string::npos,
           "expected a plain relative name of an entry, found \"", std::string(name.data(), name.size()), "\"");
  }

  void check_local_header(ZipEntry& entry, std::int64_t limit) const {
    expect(entry.header <= limit - kLocalBytes, entry.name, ": expected its header before the directory, at most at ",
           limit - kLocalBytes, ", found ", entry.header);
    const std::string header = read(entry.header, kLocalBytes);
    const auto name_bytes = static_cast<std::int64_t>(number_at(header, 26, 2));
    const auto extra_bytes = static_cast<std::int64_t>(number_at(header, 28, 2));
    expect(number_at(header, 0, 4) == kLocalSignature, entry.name, ": no local header at ", entry.header);
    expect(number_at(header, 8, 2) == 0, entry.name, ": compressed by its local header, stored by the directory");
    entry.begin = entry.header + kLocalBytes + name_bytes + extra_bytes;
    expect(entry.begin <= limit && entry.bytes <= limit - entry.begin, entry.name, ": expected ", entry.bytes,
           " bytes before the directory, found ", limit - entry.begin);
    const std::string name = read(entry.header + kLocalBytes, name_bytes);
    expect(name == entry.name, entry.name, ": its local header has another name");
    if ((number_at(header, 6, 2) & kDescriptorFollows) != 0)
      return;  // the sizes come after the bytes; the directory has them
    std::uint64_t packed = number_at(header, 18, 4), bytes = number_at(header, 22, 4);
    if (packed == kIn64 || bytes == kIn64)
      read_extra64(read(entry.header + kLocalBytes + name_bytes, extra_bytes), {&bytes, &packed}, entry.name);
    const auto size = static_cast<std::uint64_t>(entry.bytes);
    expect(packed == size && bytes == size, entry.name, ": expected ", entry.bytes,
           " bytes as in the directory, found ", packed == size ? bytes : packed, " in its local header");
  }
};

}  // namespace

std::vector<ZipEntry> read_zip_directory(const ReadAt& read_at, std::int64_t file_bytes, const std::string& path) {
  const Parser parser{read_at, file_bytes, path};
  const Directory directory = parser.find_directory();
  const auto directory_at = static_cast<std::int64_t>(directory.offset);
  const std::string text = parser.read(directory_at, static_cast<std::int64_t>(directory.bytes));
  std::vector<ZipEntry> entries;
  std::size_t at = 0;
  for (std::uint64_t i = 0; i < directory.entries; ++i) {
    parser.expect(
        text.size() - at >= static_cast<std::size_t>(kCentralBytes) && number_at(text, at, 4) == kCentralSignature,
        "entry ", i, ": expected a directory entry at ", directory_at + static_cast<std::int64_t>(at));
    const std::string_view fixed = std::string_view(text).substr(at, kCentralBytes);
    const std::size_t name_bytes = number_at(fixed, 28, 2), extra_bytes = number_at(fixed, 30, 2);
    const std::size_t comment_bytes = number_at(fixed, 32, 2);
    at += kCentralBytes;
    parser.expect(text.size() - at >= name_bytes + extra_bytes + comment_bytes, "entry ", i,
                  ": its name and extra fields leave the directory");
    ZipEntry entry;
    entry.name = text.substr(at, name_bytes);
    parser.check_name(entry.name);
    parser.expect((number_at(fixed, 8, 2) & kEncrypted) == 0, entry.name, ": encrypted");
    parser.expect(number_at(fixed, 10, 2) == 0, entry.name, ": expected a stored entry, found compression method ",
                  number_at(fixed, 10, 2));
    parser.expect(number_at(fixed, 34, 2) == 0, entry.name, ": on another volume");
    std::uint64_t packed = number_at(fixed, 20, 4), bytes = number_at(fixed, 24, 4), header = number_at(fixed, 42, 4);
    parser.read_extra64(std::string_view(text).substr(at + name_bytes, extra_bytes), {&bytes, &packed, &header},
                        entry.name);
    parser.expect(packed == bytes, entry.name, ": stored, but its sizes are ", packed, " and ", bytes);
    const auto limit = static_cast<std::uint64_t>(directory_at);
    parser.expect(header <= limit && bytes <= limit, entry.name, ": expected its ", bytes, " bytes and its header at ",
                  header, " inside the ", limit, " bytes before the directory");
    entry.header = static_cast<std::int64_t>(header);
    entry.bytes = static_cast<std::int64_t>(bytes);
    entry.crc = static_cast<std::uint32_t>(number_at(fixed, 16, 4));
    parser.check_local_header(entry, directory_at);
    entries.push_back(std::move(entry));
    at += name_bytes + extra_bytes + comment_bytes;
  }

  std::vector<const ZipEntry*> sorted;
  for (const ZipEntry& entry : entries)
    sorted.push_back(&entry);
  std::sort(sorted.begin(), sorted.end(), [](auto* a, auto* b) { return a->header < b->header; });
  for (std::size_t i = 1; i < sorted.size(); ++i)
    parser.expect(sorted[i - 1]->begin + sorted[i - 1]->bytes <= sorted[i]->header, sorted[i]->name, ": overlaps ",
                  sorted[i - 1]->name);
  std::sort(sorted.begin(), sorted.end(), [](auto* a, auto* b) { return a->name < b->name; });
  for (std::size_t i = 1; i < sorted.size(); ++i)
    parser.expect(sorted[i - 1]->name != sorted[i]->name, sorted[i]->name, ": comes twice");
  return entries;
}

}  // namespace osteon::io
