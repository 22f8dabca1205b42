#include <cstdlib>
#include <doctest/doctest.h>
#include <filesystem>
#include <fstream>
#include <random>
#include <string>
#include <vector>

#include "backends/error.hpp"
#include "nn/io/atomic_file.hpp"
#include "nn/io/torch_file.hpp"
#include "test/nn/temporary_folder.hpp"
#include "test/paths.hpp"

using namespace osteon;

namespace {

/// One to four changes: a byte, a run of bytes removed or repeated, the end cut off, a length made odd, an opcode.
std::string mutated(std::string bytes, std::mt19937_64& random) {
  const auto below = [&](std::size_t limit) { return static_cast<std::size_t>(random() % limit); };
  constexpr std::string_view kOpcodes = "\x80}])(XcJKMtQRNsuaeqrhjb.i\x8a\x85\x86\x87\x88\x89";
  for (std::size_t change = 1 + below(4); change > 0 && !bytes.empty(); --change) {
    const std::size_t at = below(bytes.size()), length = 1 + below(16);
    switch (below(6)) {
      case 0:
        bytes[at] = static_cast<char>(random());
        break;
      case 1:
        bytes.erase(at, length);
        break;
      case 2:
        bytes.insert(at, bytes.substr(below(bytes.size()), length));
        break;
      case 3:
        bytes.resize(at);
        break;
      case 4:
        bytes.replace(at, 4, below(2) == 0 ? "\xff\xff\xff\xff" : "\xff\xff\xff\x7f");
        break;
      default:
        bytes.insert(at, 1, kOpcodes[below(kOpcodes.size())]);
    }
  }
  return bytes;
}

/// Reads all that a file offers; its numbers must be those of the file, so nothing may be larger than it.
void read_all(const io::TorchFile& file, std::size_t file_bytes) {
  for (const io::TensorEntry& entry : file.tensors()) {
    REQUIRE(static_cast<std::size_t>(entry.end) <= file_bytes);
    std::vector<char> bytes(static_cast<std::size_t>(entry.end));
    file.read_raw(entry.name, bytes.data());
  }
}

}  // namespace

// OSTEON_FUZZ_INPUTS sets another count; with a build of -Dsanitize=true a bad access is an error too (docs/rwkv.md).
TEST_CASE("torch file: damaged and malicious files give an error or tensors, never more") {
  const char* wanted = std::getenv("OSTEON_FUZZ_INPUTS");
  const long inputs = wanted == nullptr ? 4000 : std::atol(wanted);
  REQUIRE(inputs > 0);
  std::mt19937_64 random(20230424);
  const test::TemporaryFolder folder;
  const auto path = folder / "fuzz.pth";
  std::vector<std::string> files;
  std::vector<std::string> pickles;
  for (const char* name : {"torch/mixed.pth", "torch/state_dict.pth"}) {
    files.push_back(io::read_file(test::golden(name)));
    const std::size_t begin = files.back().find("\x80\x02"), end = files.back().find("PK", begin);
    pickles.push_back(files.back().substr(begin, end - begin));
    pickles.back().resize(pickles.back().rfind("u.") + 2);
  }
  long refused = 0, read = 0;
  for (long i = 0; i < inputs; ++i) {
    const std::size_t which = static_cast<std::size_t>(i) / 2 % files.size();
    try {
      if (i % 2 == 0) {  // past the CRC of data.pkl: the pickle by itself
        io::parse_torch_pickle(mutated(pickles[which], random), "fuzz");
      } else {
        const std::string bytes = mutated(files[which], random);
        std::filesystem::remove(path);  // written over, some file systems would wait for the disk each time
        std::ofstream(path, std::ios::binary) << bytes;
        read_all(io::TorchFile(path), bytes.size());
      }
      ++read;
    } catch (const FileError&) {
      ++refused;
    }
  }
  CHECK(refused > inputs / 2);
  CHECK(read > 0);
}
