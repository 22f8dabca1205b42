#include <algorithm>
#include <array>
#include <cctype>
#include <cstdlib>
#include <doctest/doctest.h>
#include <filesystem>
#include <fstream>
#include <map>
#include <string>
#include <vector>

#include "backends/error.hpp"
#include "nn/io/torch_file.hpp"
#include "test/nn/pickle_tokens.hpp"
#include "test/nn/temporary_folder.hpp"
#include "test/nn/zip_fields.hpp"

// Files that are well formed up to what is changed in them: a valid zip file with true CRCs around a pickle of opcodes,
// so that what is reached lies behind what random bytes (torch_fuzz_test.cpp) mostly fail at.

using namespace osteon;
using osteon::test::Random;

namespace {

test::ZipFields zip_around(const test::DescribedFile& file, const std::string& pickle, Random& random) {
  test::ZipFields zip;
  zip.entries.push_back({"model/data.pkl", pickle});
  if (!random.one_in(4))
    zip.entries.push_back({"model/byteorder", "little"});
  for (std::size_t i = 0; i < file.storages.size(); ++i)
    zip.entries.push_back({"model/data/" + std::to_string(i), file.storages[i].bytes});
  zip.entries.push_back({"model/version", "3\n"});
  for (test::ZipEntryFields& entry : zip.entries) {  // zip64 where it is not needed, as torch writes it past 4 GB
    for (test::ZipNumber* number : {&entry.size, &entry.packed, &entry.header, &entry.local_size, &entry.local_packed})
      number->wide = random.one_in(5);
    if (random.one_in(3))
      entry.local_extra = std::string("\x46\x42\x04\0ZZZZ", 8);  // torch's padding
    if (random.one_in(6))
      entry.extra = std::string("\x99\x99\x02\0ab", 6);
  }
  zip.zip64_end = random.one_in(3);
  if (random.one_in(4))
    zip.comment = "a comment";
  return zip;
}

std::uint64_t changed(std::uint64_t value, Random& random) {
  constexpr std::array<std::uint64_t, 10> kEdges{0,          1,          8,          30,         0xffff,
                                                 0xfffffffe, 0xffffffff, 1ULL << 32, 1ULL << 63, ~0ULL};
  return random.one_in(2) ? value + static_cast<std::uint64_t>(random.number(-3, 3)) : random.of(kEdges);
}

void mutate_entry(test::ZipFields& zip, Random& random) {
  const std::array<std::string, 8> kNames{"",         "/model/data.pkl", "model/../data.pkl", "model\\data.pkl",
                                          "data.pkl", "other/data.pkl",  "model/data/0",      std::string("a\0b", 3)};
  test::ZipEntryFields& entry = zip.entries[random.below(zip.entries.size())];
  switch (random.below(13)) {
    case 0: {
      test::ZipNumber& number = *std::array{&entry.size, &entry.packed, &entry.header, &entry.local_size,
                                            &entry.local_packed}[random.below(5)];
      number.value = changed(number.value, random);
      number.wide = number.wide || random.one_in(2);
      entry.lies_there = &number != &entry.header;
      break;
    }
    case 1: {  // both sizes, as a liar would
      entry.size.value = entry.packed.value = changed(entry.size.value, random);
      entry.size.wide = entry.packed.wide = random.one_in(2);
      if (random.one_in(2))
        entry.local_size = entry.local_packed = entry.size;
      break;
    }
    case 2:
      entry.name = random.of(kNames);
      if (random.one_in(2))
        entry.local_name = entry.name;
      break;
    case 3:
      entry.local_name += "x";
      break;
    case 4:
      (random.one_in(2) ? entry.method : entry.local_method) = 8;
      break;
    case 5:
      (random.one_in(2) ? entry.flags : entry.local_flags) = static_cast<std::uint16_t>(1U << random.below(4));
      break;
    case 6:
      entry.volume = 1;
      break;
    case 7:
      ++entry.crc;
      break;
    case 8:
      (random.one_in(2) ? entry.extra : entry.local_extra) = std::string("\x01\0\xff\xff", 4);
      break;
    case 9:
      entry.cut64 = static_cast<std::uint16_t>(1 + random.below(24));
      entry.size.wide = true;
      break;
    case 10:  // another one's place: their bytes overlap
      entry.header.value = zip.entries[random.below(zip.entries.size())].header.value;
      entry.lies_there = false;
      break;
    case 11: {
      const test::ZipEntryFields copy = entry;
      zip.entries.push_back(copy);
      break;
    }
    default:
      if (zip.entries.size() > 1)
        zip.entries.erase(zip.entries.begin() + static_cast<std::ptrdiff_t>(random.below(zip.entries.size())));
  }
}

/// Changes of what an entry holds, with sizes and CRC that fit.
void mutate_content(test::ZipFields& zip, Random& random) {
  test::ZipEntryFields& entry = zip.entries[random.below(zip.entries.size())];
  std::string bytes = entry.bytes;
  if (random.one_in(2))
    bytes.resize(bytes.size() - std::min(bytes.size(), 1 + random.below(4)));
  else
    bytes.append(1 + random.below(8), 'x');
  entry = test::ZipEntryFields{entry.name, bytes};
}

void mutate_end(test::ZipFields& zip, const test::ZipNumber& count, Random& random) {
  test::ZipNumber number{changed(count.value, random), random.one_in(2)};
  (*std::array{&zip.count, &zip.directory_bytes, &zip.directory_at}[random.below(3)]) = number;
  zip.zip64_end = zip.zip64_end || random.one_in(2);
}

/// What an error says, without what is the file's: names, numbers and the place.
std::string kind_of(const std::string& message, const std::string& path) {
  std::string kind;
  for (const char letter : message.substr(std::min(message.size(), path.size())))
    if (std::isdigit(static_cast<unsigned char>(letter)) == 0 && std::isprint(static_cast<unsigned char>(letter)) != 0)
      kind.push_back(letter);
  return kind;
}

/// The whole file; an error for bytes that are not those that were put into it.
void read_back(const io::TorchFile& file, const test::DescribedFile& described) {
  REQUIRE(file.tensors().size() == described.tensors.size());
  for (const test::DescribedTensor& one : described.tensors) {
    std::string bytes(static_cast<std::size_t>(file.info(one.name).end), '\0');
    file.read_raw(one.name, bytes.data());
    REQUIRE(bytes == test::elements_of(described, one));
  }
}

void read_all(const io::TorchFile& file, std::size_t file_bytes) {
  for (const io::TensorEntry& entry : file.tensors()) {
    REQUIRE(static_cast<std::size_t>(entry.end) <= file_bytes);
    std::vector<char> bytes(static_cast<std::size_t>(entry.end));
    file.read_raw(entry.name, bytes.data());
  }
}

/// Errors that only files come to which are right in all that is read before.
const std::vector<std::string> kDeep = {
    "another dtype or size than for tensor",
    "the file has no such entry",
    "elements of  bytes, found",
    "a tensor of more elements than the",
    "a tensor that reaches element",
    "expected sizes and strides of at least",
    "sizes and as many strides",
    "comes twice",
    "overlaps",
    "its zip field is too short",
    "leaves its place",
    "its CRC- is not the directory's",
    "expected a persistent id",
    "expected _rebuild_tensor_v(storage, offset",
    "expected _rebuild_parameter(tensor",
    "expected OrderedDict without arguments",
    "a storage cannot be called",
    "nothing was remembered as",
    "expected pairs of key and value",
    "expected names of tensors as keys",
    "expected a tensor, found",
    "is refused: nothing but tensors is read",
    "compressed by its local header",
    "bytes as in the directory, found",
    "its local header has another name",
    "expected a plain relative name",
    "expected one data.pkl, found two",
    "byteorder: expected little",
};

}  // namespace

// OSTEON_FUZZ_INPUTS sets another count, as for random bytes.
TEST_CASE("torch file: well-formed files that are malicious in one place give an error or tensors, never more") {
  const char* wanted = std::getenv("OSTEON_FUZZ_INPUTS");
  const long inputs = wanted == nullptr ? 20000 : std::atol(wanted);
  REQUIRE(inputs > 0);
  const test::TemporaryFolder folder;
  const auto path = folder / "fuzz.pth";
  std::map<std::string, long> kinds;
  long whole = 0, read = 0, refused = 0;
  for (long i = 0; i < inputs; ++i) {
    Random random(static_cast<std::uint64_t>(i));
    CAPTURE(i);
    const test::DescribedFile described = test::random_file(random);
    std::vector<test::PickleToken> tokens = test::pickle_of(described, random);
    const std::size_t place = random.below(8);  // 0: nothing is changed; 1 to 4: the pickle; 4 to 7: the zip file
    if (1 <= place && place <= 4)
      test::mutate(tokens, random);
    test::ZipFields zip = zip_around(described, test::bytes_of(tokens), random);
    std::string bytes = zip.file();
    if (place >= 4) {
      if (random.one_in(4))
        mutate_content(zip, random);
      else if (random.one_in(4))
        mutate_end(zip, {bytes.size(), false}, random);
      else
        mutate_entry(zip, random);
      bytes = zip.file();
    }
    std::filesystem::remove(path);  // written over, some file systems would wait for the disk each time
    std::ofstream(path, std::ios::binary) << bytes;
    if (place == 0) {
      read_back(io::TorchFile(path), described);
      ++whole;
      continue;
    }
    try {
      read_all(io::TorchFile(path), bytes.size());
      ++read;
    } catch (const FileError& error) {
      REQUIRE(std::string_view(error.what()).starts_with(path.string()));
      ++kinds[kind_of(error.what(), path.string())];
      ++refused;
    }
  }
  MESSAGE(whole << " unchanged files and " << read << " changed ones read, " << refused << " refused with "
                << kinds.size() << " different errors");
  CHECK(whole > inputs / 10);
  CHECK(read > inputs / 20);
  for (const std::string& deep : kDeep) {
    CAPTURE(deep);
    CHECK(std::any_of(kinds.begin(), kinds.end(),
                      [&](const auto& kind) { return kind.first.find(deep) != std::string::npos; }));
  }
}
