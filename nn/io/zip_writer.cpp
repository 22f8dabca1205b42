#include "backends/error.hpp"
#include "nn/io/crc32.hpp"
#include "nn/io/zip.hpp"

namespace osteon::io {
namespace {

constexpr std::int64_t kIn64 = 0xffffffff;  // "see the zip64 field"
constexpr std::int64_t kAlignment = 64;

void put(std::string& text, std::uint64_t value, int bytes) {
  for (int i = 0; i < bytes; ++i)
    text.push_back(static_cast<char>(value >> (8 * i) & 0xff));
}

void put(std::string& text, std::int64_t value, int bytes) { put(text, static_cast<std::uint64_t>(value), bytes); }

std::int64_t size_of(const std::string& text) { return static_cast<std::int64_t>(text.size()); }

/// Zip64 values, in the order of the fields that are replaced by 0xffffffff.
std::string extra64(std::initializer_list<std::int64_t> values) {
  std::string extra;
  put(extra, std::uint64_t{1}, 2);
  put(extra, static_cast<std::uint64_t>(8 * values.size()), 2);
  for (const std::int64_t value : values)
    put(extra, value, 8);
  return extra;
}

/// What the local header and the directory have in common, from the version that a reader needs to the name's length.
void put_common(std::string& text, const ZipEntry& entry, bool in64) {
  put(text, std::uint64_t{45}, 2);          // zip64
  put(text, std::uint64_t{0}, 4);           // flags, stored
  put(text, std::uint64_t{0x00210000}, 4);  // 1980-01-01: the same bytes at any time
  put(text, std::uint64_t{entry.crc}, 4);
  for (int i = 0; i < 2; ++i)  // packed, and as it is
    put(text, in64 ? kIn64 : entry.bytes, 4);
  put(text, size_of(entry.name), 2);
}

}  // namespace

void ZipWriter::write(std::string_view bytes) {
  file_.write(bytes);
  position_ += static_cast<std::int64_t>(bytes.size());
}

void ZipWriter::add(const std::string& name, std::span<const std::byte> bytes) {
  check<FileError>(name.size() <= 0xffff, file_.target().string(), ": expected a name of at most 65535 bytes");
  ZipEntry entry{name, position_, 0, static_cast<std::int64_t>(bytes.size()), crc32(0, bytes.data(), bytes.size())};
  std::string extra;
  if (entry.bytes >= limit_)
    extra = extra64({entry.bytes, entry.bytes});
  // Padding is an extra field of its own, named as torch names it.
  const std::int64_t unpadded = position_ + 30 + size_of(name) + size_of(extra) + 4;
  const std::int64_t padding = (kAlignment - unpadded % kAlignment) % kAlignment;
  put(extra, std::uint64_t{0x4246}, 2);
  put(extra, padding, 2);
  extra.append(static_cast<std::size_t>(padding), 'Z');

  std::string header = "PK\3\4";
  put_common(header, entry, entry.bytes >= limit_);
  put(header, size_of(extra), 2);
  write(header + name + extra);
  entry.begin = position_;
  file_.write(bytes.data(), bytes.size());
  position_ += entry.bytes;
  entries_.push_back(std::move(entry));
}

void ZipWriter::finish() {
  const std::int64_t directory_at = position_;
  for (const ZipEntry& entry : entries_) {
    const bool large = entry.bytes >= limit_, far = entry.header >= limit_;
    std::string extra;
    if (large && far)
      extra = extra64({entry.bytes, entry.bytes, entry.header});
    else if (large)
      extra = extra64({entry.bytes, entry.bytes});
    else if (far)
      extra = extra64({entry.header});
    std::string text = "PK\1\2";
    put(text, std::uint64_t{45}, 2);
    put_common(text, entry, large);
    put(text, size_of(extra), 2);
    put(text, std::uint64_t{0}, 6);  // comment, volume, internal attributes
    put(text, std::uint64_t{0}, 4);  // external attributes
    put(text, far ? kIn64 : entry.header, 4);
    write(text + entry.name + extra);
  }
  const std::int64_t directory_bytes = position_ - directory_at;
  const auto count = static_cast<std::int64_t>(entries_.size());
  const bool large = directory_at >= limit_ || count >= 0xffff;
  if (large) {
    std::string end = "PK\6\6";
    const std::int64_t end_at = position_;
    put(end, std::uint64_t{44}, 8);
    put(end, std::uint64_t{45}, 2);
    put(end, std::uint64_t{45}, 2);
    put(end, std::uint64_t{0}, 8);  // volumes
    put(end, count, 8);
    put(end, count, 8);
    put(end, directory_bytes, 8);
    put(end, directory_at, 8);
    end += "PK\6\7";
    put(end, std::uint64_t{0}, 4);
    put(end, end_at, 8);
    put(end, std::uint64_t{1}, 4);
    write(end);
  }
  std::string end = "PK\5\6";
  put(end, std::uint64_t{0}, 4);
  put(end, large ? 0xffff : count, 2);
  put(end, large ? 0xffff : count, 2);
  put(end, large ? kIn64 : directory_bytes, 4);
  put(end, large ? kIn64 : directory_at, 4);
  put(end, std::uint64_t{0}, 2);
  write(end);
}

}  // namespace osteon::io
