#include <doctest/doctest.h>
#include <fstream>

#include "nn/io/atomic_file.hpp"
#include "nn/io/torch_file.hpp"
#include "test/nn/io_messages.hpp"
#include "test/nn/pickle_tokens.hpp"
#include "test/nn/temporary_folder.hpp"
#include "test/nn/zip_fields.hpp"

// Zip64, which files past 4 GB need, in small files that say in 64 bits what 32 would hold.

using namespace osteon;
using osteon::test::contains;

namespace {

const test::DescribedFile kFile{{{"FloatStorage", "0123456789abcdef", 4, 4}}, {{"w", 0, 0, {2, 2}, {2, 1}}}};

test::ZipFields zip64() {
  test::Random random(1);
  test::ZipFields zip;
  zip.entries.push_back({"a/data.pkl", test::bytes_of(test::pickle_of(kFile, random))});
  zip.entries.push_back({"a/data/0", kFile.storages[0].bytes});
  for (test::ZipEntryFields& entry : zip.entries)
    for (test::ZipNumber* number : {&entry.size, &entry.packed, &entry.header, &entry.local_size, &entry.local_packed})
      number->wide = true;
  zip.zip64_end = true;
  return zip;
}

std::string elements_in(const std::filesystem::path& path) {
  const io::TorchFile file(path);
  std::string bytes(static_cast<std::size_t>(file.info("w").end), '\0');
  file.read_raw("w", bytes.data());
  return bytes;
}

std::string reading(const std::string& bytes) {
  const test::TemporaryFolder folder;
  std::ofstream(folder / "w.pth", std::ios::binary) << bytes;
  return test::message_of([&] {
    const std::string elements = elements_in(folder / "w.pth");
    CHECK(elements == kFile.storages[0].bytes);
  });
}

std::string reading(test::ZipFields zip) { return reading(zip.file()); }

}  // namespace

TEST_CASE("zip64: numbers in 64 bits are read, whichever they are") {
  for (unsigned choice = 0; choice < 64; ++choice) {
    CAPTURE(choice);
    test::ZipFields zip = zip64();
    for (test::ZipEntryFields& entry : zip.entries) {
      unsigned bit = 1;
      for (test::ZipNumber* number :
           {&entry.size, &entry.packed, &entry.header, &entry.local_size, &entry.local_packed}) {
        number->wide = (choice & bit) != 0;
        bit *= 2;
      }
      entry.extra = entry.local_extra = std::string("\x46\x42\x02\0ZZ", 6);  // another field in front
    }
    zip.zip64_end = choice >= 32;
    CHECK(reading(zip) == "no error");
  }
}

TEST_CASE("zip64: numbers that are missing or lie are refused") {
  const auto refused = [](const char* says, const auto& change) {
    CAPTURE(says);
    test::ZipFields zip = zip64();
    change(zip, zip.entries[1]);
    const std::string message = reading(zip);
    CAPTURE(message);
    CHECK(contains(message, says));
  };
  refused("a/data/0: its zip64 field is too short", [](auto&, auto& entry) { entry.cut64 = 1; });
  refused("a/data/0: its zip64 field is too short", [](auto&, auto& entry) { entry.cut64 = 24; });
  refused("a/data/0: expected 16 bytes as in the directory, found 17 in its local header",
          [](auto&, auto& entry) { entry.local_size.value = 17; });
  refused("a/data/0: expected 16 bytes as in the directory, found 15 in its local header",
          [](auto&, auto& entry) { entry.local_packed.value = 15; });
  refused("stored, but its sizes are 16 and 18446744073709551615",
          [](auto&, auto& entry) { entry.size.value = ~std::uint64_t{0}; });
  refused("expected its 9223372036854775808 bytes and its header at",
          [](auto&, auto& entry) { entry.size.value = entry.packed.value = std::uint64_t{1} << 63; });
  refused("expected its 16 bytes and its header at 18446744073709551615 inside the", [](auto&, auto& entry) {
    entry.header.value = ~std::uint64_t{0};
    entry.lies_there = false;
  });
  refused("expected a directory inside the file", [](auto& zip, auto&) {
    zip.directory_at = {~std::uint64_t{0} - 3, true};
  });
  refused("expected a directory inside the file", [](auto& zip, auto&) {
    zip.directory_bytes = {std::uint64_t{1} << 62, true};
  });
  refused("cannot hold 18446744073709551615 entries", [](auto& zip, auto&) { zip.count = {~std::uint64_t{0}, true}; });
  const std::string good = zip64().file();
  const std::size_t end = good.find("PK\6\6"), locator = good.find("PK\6\7");
  std::string bad = good;
  CHECK(contains(reading(bad.replace(end, 4, "PK\6\5")), "no zip64 end at "));
  bad = good;
  CHECK(contains(reading(bad.replace(locator + 8, 8, std::string(8, '\xff'))), "its zip64 end lies outside the file"));
  bad = good;  // without it the end's own fields say nothing
  CHECK(contains(reading(bad.replace(locator, 4, "PK\6\6")), "expected a directory inside the file"));
}

TEST_CASE("zip64: what is written from a limit on is read back, small and with more entries than 16 bits count") {
  const test::TemporaryFolder folder;
  const auto path = folder / "w.pth";
  const std::string pickle = zip64().entries[0].bytes;
  for (const std::int64_t limit : {0, 16, 17, 300, 1 << 20}) {
    CAPTURE(limit);
    io::AtomicFile file(path);
    io::ZipWriter zip(file, limit);
    zip.add("a/data.pkl", pickle);
    zip.add("a/data/0", kFile.storages[0].bytes);
    zip.add("a/version", "3\n");
    zip.finish();
    file.commit();
    CHECK(elements_in(path) == kFile.storages[0].bytes);
    const std::string bytes = io::read_file(path);
    CHECK(contains(bytes, "PK\6\7") == (limit <= 300));
    CHECK(contains(bytes, std::string("\xff\xff\xff\xff\xff\xff\xff\xff", 8)) == (limit <= 300));
  }
  io::AtomicFile file(path);
  io::ZipWriter zip(file);
  zip.add("a/data.pkl", pickle);
  zip.add("a/data/0", kFile.storages[0].bytes);
  for (int i = 0; i < 0xffff; ++i)
    zip.add(std::to_string(i), "");
  zip.finish();
  file.commit();
  CHECK(elements_in(path) == kFile.storages[0].bytes);
}
