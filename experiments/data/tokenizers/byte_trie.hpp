#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>
#include <utility>
#include <vector>

namespace osteon::experiments::tokenizers {

/// Texts with ids, to be found by their longest prefix. Nodes stand in the order of a breadth-first walk, so that the
/// children of one are neighbours, sorted by byte: 12 bytes a node instead of a table of 256.
class ByteTrie {
 public:
  using Entry = std::pair<std::string_view, std::int32_t>;

  /// Different texts, none of them empty, with ids from 0. The texts are not needed afterwards.
  explicit ByteTrie(std::vector<Entry> entries);

  struct Match {
    std::int32_t id = -1;  ///< -1: there is none
    std::size_t bytes = 0;
  };
  /// The longest of the texts that `text` begins with.
  Match longest(std::string_view text) const;

 private:
  struct Node {
    std::int32_t id = -1;  // of the text that ends here
    std::uint32_t first_child = 0;
    std::uint16_t children = 0;
    unsigned char byte = 0;  // that leads here
  };

  std::vector<Node> nodes_;
};

}  // namespace osteon::experiments::tokenizers
