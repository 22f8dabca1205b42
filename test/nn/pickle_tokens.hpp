#pragma once

#include <cstdint>
#include <random>
#include <string>
#include <string_view>
#include <vector>

// Pickles of dicts of tensors, opcode by opcode, in all the ways that torch's pickler and others may spell them.
namespace osteon::test {

class Random {
 public:
  explicit Random(std::uint64_t seed) : engine_(seed) {}
  std::size_t below(std::size_t limit) { return static_cast<std::size_t>(engine_() % limit); }
  std::int64_t number(std::int64_t low, std::int64_t high) {
    return low + static_cast<std::int64_t>(below(static_cast<std::size_t>(high - low) + 1));
  }
  bool one_in(std::size_t n) { return below(n) == 0; }
  template <class List>
  const auto& of(const List& list) {
    return list[below(std::size(list))];
  }

 private:
  std::mt19937_64 engine_;
};

/// An opcode with its argument: a text (strings; "module name" of GLOBAL), or a number.
struct PickleToken {
  unsigned char opcode = '.';
  std::string text = {};
  std::int64_t number = 0;
};

struct DescribedStorage {
  std::string type, bytes;  ///< "FloatStorage"
  std::int64_t element = 0, numel = 0;
};

/// A strided view of a storage.
struct DescribedTensor {
  std::string name;
  std::size_t storage = 0;
  std::int64_t offset = 0;
  std::vector<std::int64_t> sizes, strides;
  bool is_parameter = false;
};

struct DescribedFile {
  std::vector<DescribedStorage> storages;
  std::vector<DescribedTensor> tensors;
};

DescribedFile random_file(Random& random);
/// The elements of a tensor, row-major, by plain loops over its indices.
std::string elements_of(const DescribedFile& file, const DescribedTensor& tensor);
std::vector<PickleToken> pickle_of(const DescribedFile& file, Random& random);
std::string bytes_of(const std::vector<PickleToken>& tokens);
/// Changes opcodes, arguments, memo indices and their order, so that what is written is a pickle of opcodes still.
void mutate(std::vector<PickleToken>& tokens, Random& random);

}  // namespace osteon::test
