#pragma once

#include <array>
#include <cstdint>
#include <string_view>

namespace osteon::bench {

/// A model whose layers benchmarks measure, and the batch that it trains on.
struct ModelShape {
  std::string_view name;
  std::int64_t hidden_size, intermediate_size, layers, heads, kv_heads, vocab_size;
  bool tied;  ///< the head is the embedding
  std::int64_t batch_size, seq_len;

  constexpr std::int64_t head_dim() const { return hidden_size / heads; }
  constexpr std::int64_t tokens() const { return batch_size * seq_len; }
};

inline constexpr std::array<ModelShape, 6> kShapes = {{
    {"nano", 256, 704, 4, 4, 4, 512, false, 4, 256},
    {"small", 512, 1408, 8, 8, 8, 32000, false, 4, 256},
    {"smol135", 576, 1536, 30, 9, 3, 49152, true, 2, 256},    // SmolLM-135M
    {"tiny1b", 2048, 5632, 22, 32, 4, 32000, false, 1, 512},  // TinyLlama-1.1B
    {"l7b-2layer", 4096, 11008, 2, 32, 32, 32000, false, 1, 512},
    {"l7b", 4096, 11008, 32, 32, 32, 32000, false, 1, 512},  // Llama-2-7B
}};

/// The shape of that name, which must be in the table.
constexpr const ModelShape& shape_named(std::string_view name) {
  std::size_t i = 0;
  while (kShapes.at(i).name != name)
    ++i;
  return kShapes.at(i);
}

}  // namespace osteon::bench
