#include "experiments/data/tokenizers/byte_trie.hpp"

#include <algorithm>

namespace osteon::experiments::tokenizers {

ByteTrie::ByteTrie(std::vector<Entry> entries) {
  std::sort(entries.begin(), entries.end());
  struct Range {
    std::size_t begin, end, depth;  // of the entries that begin with a node's text, which has `depth` bytes
  };
  std::vector<Range> ranges = {{0, entries.size(), 0}};  // of the nodes
  nodes_.emplace_back();
  for (std::size_t at = 0; at < nodes_.size(); ++at) {
    auto [begin, end, depth] = ranges[at];
    if (begin < end && entries[begin].first.size() == depth)
      nodes_[at].id = entries[begin++].second;
    nodes_[at].first_child = static_cast<std::uint32_t>(nodes_.size());
    while (begin < end) {
      const char byte = entries[begin].first[depth];
      std::size_t next = begin;
      while (next < end && entries[next].first[depth] == byte)
        ++next;
      nodes_.push_back({.byte = static_cast<unsigned char>(byte)});
      ranges.push_back({begin, next, depth + 1});
      begin = next;
      ++nodes_[at].children;
    }
  }
}

ByteTrie::Match ByteTrie::longest(std::string_view text) const {
  Match match;
  const Node* node = nodes_.data();
  for (std::size_t at = 0; at < text.size(); ++at) {
    const Node *const first = nodes_.data() + node->first_child, *const end = first + node->children;
    const auto byte = static_cast<unsigned char>(text[at]);
    node = std::lower_bound(first, end, byte, [](const Node& child, unsigned char b) { return child.byte < b; });
    if (node == end || node->byte != byte)
      break;
    if (node->id >= 0)
      match = {node->id, at + 1};
  }
  return match;
}

}  // namespace osteon::experiments::tokenizers
