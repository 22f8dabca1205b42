#include "nn/llama.hpp"

namespace osteon::nn {
namespace {

class LlamaDecoder final : public Decoder {
 public:
  LlamaDecoder(const Llama& model, std::int64_t capacity)
      : model_(model),
        cache_(static_cast<std::size_t>(model.config().num_hidden_layers), 1, capacity,
               model.config().num_key_value_heads, model.config().head_dim, model.dtype(), model.device()) {}

  Tensor read(std::span<const std::int32_t> ids) override { return model_.last_logits(next_input(ids), &cache_); }

 private:
  /// Absolute positions and, per query, all keys up to itself.
  TokenInput next_input(std::span<const std::int32_t> ids) const {
    const auto count = static_cast<std::int64_t>(ids.size());
    const std::int64_t start = cache_.length();
    std::vector<std::int32_t> positions, range;
    for (std::int64_t t = 0; t < count; ++t) {
      positions.push_back(static_cast<std::int32_t>(start + t));
      range.push_back(0);
      range.push_back(static_cast<std::int32_t>(start + t + 1));
    }
    const Device device = model_.device();
    return {.ids = from_ids(ids, {1, count}, device),
            .positions = from_ids(positions, {1, count}, device),
            .key_range = from_ids(range, {1, count, 2}, device),
            .max_position = start + count};
  }

  const Llama& model_;
  KvCache cache_;
};

}  // namespace

std::unique_ptr<Decoder> Llama::decoder(std::int64_t capacity) const {
  check(!classifies(), "llama: a model with a classification head has no next token");
  return std::make_unique<LlamaDecoder>(*this, capacity);
}

}  // namespace osteon::nn
