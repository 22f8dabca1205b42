#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "nn/io/crc32.hpp"

// A zip file of stored entries, field by field, so that any field may lie: what zip.hpp reads is checked with it.
namespace osteon::test {

/// Sizes, a place and a count as the directory, a local header or the end say them. One that is `wide` is written as
/// all ones, and as 64 bits where zip64 has a place for that.
struct ZipNumber {
  std::uint64_t value = 0;
  bool wide = false;
};

struct ZipEntryFields {
  std::string name, bytes;
  std::string local_name = name;
  std::uint32_t crc = io::crc32(0, bytes.data(), bytes.size());
  std::uint16_t flags = 0, method = 0, volume = 0, local_flags = 0, local_method = 0;
  ZipNumber size{bytes.size()}, packed = size, header{}, local_size = size, local_packed = size;
  bool lies_there = true;                    ///< `header` is set to the true place
  std::string extra = {}, local_extra = {};  ///< in front of the zip64 field
  std::uint16_t cut64 = 0;                   ///< bytes that the directory's zip64 field lacks at its end
};

inline void put(std::string& text, std::uint64_t value, std::size_t bytes) {
  for (std::size_t i = 0; i < bytes; ++i)
    text.push_back(static_cast<char>(value >> (8 * i) & 0xff));
}

inline void put(std::string& text, const ZipNumber& number, std::size_t bytes) {
  put(text, number.wide ? ~std::uint64_t{0} : number.value, bytes);
}

struct ZipFields {
  std::vector<ZipEntryFields> entries;
  std::optional<ZipNumber> count{}, directory_bytes{}, directory_at{};  ///< the end's, where they are not the true ones
  bool zip64_end = false;
  std::string comment = {};

  /// The bytes of the file.
  std::string file() {
    std::string text;
    for (ZipEntryFields& entry : entries) {
      if (entry.lies_there)
        entry.header.value = text.size();
      const std::string extra = entry.local_extra + field64({entry.local_size, entry.local_packed}, 0);
      text += "PK\3\4";
      put(text, 45, 2);
      put(text, entry.local_flags, 2);
      put(text, entry.local_method, 2);
      put(text, 0, 4);  // time
      put(text, entry.crc, 4);
      put(text, entry.local_packed, 4);
      put(text, entry.local_size, 4);
      put(text, entry.local_name.size(), 2);
      put(text, extra.size(), 2);
      text += entry.local_name + extra + entry.bytes;
    }
    const std::uint64_t begin = text.size();
    for (const ZipEntryFields& entry : entries)
      put_in_directory(text, entry);
    put_end(text, begin);
    return text;
  }

 private:
  static std::string field64(std::initializer_list<ZipNumber> numbers, std::size_t cut) {
    std::string values;
    for (const ZipNumber& number : numbers)
      if (number.wide)
        put(values, number.value, 8);
    if (values.empty())
      return {};
    values.resize(values.size() - std::min(cut, values.size()));
    std::string field;
    put(field, 1, 2);
    put(field, values.size(), 2);
    return field + values;
  }

  static void put_in_directory(std::string& text, const ZipEntryFields& entry) {
    const std::string extra = entry.extra + field64({entry.size, entry.packed, entry.header}, entry.cut64);
    text += "PK\1\2";
    put(text, 45, 2);
    put(text, 45, 2);
    put(text, entry.flags, 2);
    put(text, entry.method, 2);
    put(text, 0, 4);  // time
    put(text, entry.crc, 4);
    put(text, entry.packed, 4);
    put(text, entry.size, 4);
    put(text, entry.name.size(), 2);
    put(text, extra.size(), 2);
    put(text, 0, 2);  // comment
    put(text, entry.volume, 2);
    put(text, 0, 6);  // attributes
    put(text, entry.header, 4);
    text += entry.name + extra;
  }

  void put_end(std::string& text, std::uint64_t begin) const {
    const ZipNumber all = count.value_or(ZipNumber{entries.size(), zip64_end});
    const ZipNumber size = directory_bytes.value_or(ZipNumber{text.size() - begin, zip64_end});
    const ZipNumber at = directory_at.value_or(ZipNumber{begin, zip64_end});
    if (zip64_end) {
      const std::uint64_t end_at = text.size();
      text += "PK\6\6";
      put(text, 44, 8);
      put(text, 45, 2);
      put(text, 45, 2);
      put(text, 0, 8);  // volumes
      put(text, all.value, 8);
      put(text, all.value, 8);
      put(text, size.value, 8);
      put(text, at.value, 8);
      text += "PK\6\7";
      put(text, 0, 4);
      put(text, end_at, 8);
      put(text, 1, 4);
    }
    text += "PK\5\6";
    put(text, 0, 4);  // volumes
    put(text, all, 2);
    put(text, all, 2);
    put(text, size, 4);
    put(text, at, 4);
    put(text, comment.size(), 2);
    text += comment;
  }
};

}  // namespace osteon::test
