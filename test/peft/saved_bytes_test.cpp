#include <doctest/doctest.h>

#include "autograd/audit.hpp"
#include "test/peft/tiny_model.hpp"

namespace osteon::test {
namespace {

struct Widths {
  std::int64_t hidden, intermediate, heads, kv_heads, head_dim;
};

/// Bytes that one block keeps for its backward, each storage once, when its input has a gradient: the audit of a model
/// with three layers less that of one with two, since the first block's input may need none.
std::int64_t block_bytes(const Widths& of, const std::string& method, DType dtype, std::int64_t rank) {
  std::int64_t bytes[2];
  for (const std::int64_t layers : {2, 3}) {
    nn::LlamaConfig config = tiny_llama_config();
    config.num_hidden_layers = layers;
    config.hidden_size = of.hidden;
    config.intermediate_size = of.intermediate;
    config.num_attention_heads = of.heads;
    config.num_key_value_heads = of.kv_heads;
    config.head_dim = of.head_dim;
    nn::Llama model(config, dtype);
    model.initialize(1);
    peft::PeftModel adapted(model);
    peft::AdapterConfig adapter = tiny_adapter(method);
    adapter.rank = rank;
    adapter.dtype = dtype;
    adapted.add(adapter);
    const SavedAudit audit;
    const Tensor y = model.hidden(tiny_input());
    bytes[layers - 2] = audit.bytes();
  }
  return bytes[1] - bytes[0];
}

TEST_CASE("a block keeps what the formulas say, to the byte") {
  const std::int64_t tokens = tiny_input().ids.numel(), rank = 4;
  for (const Widths& of : {Widths{16, 28, 4, 4, 4}, Widths{16, 28, 4, 2, 4}, Widths{32, 64, 4, 1, 8}})
    for (const DType dtype : {DType::f32, DType::bf16}) {
      const std::int64_t h = of.hidden, f = of.intermediate, kv = of.kv_heads * of.head_dim, e = size_of(dtype);
      // What a frozen block keeps anyway: two norms' inputs, q, k, v and the output, gate and up; a number per row of
      // each norm, and one per token and head.
      const std::int64_t floor = tokens * ((4 * h + 2 * kv + 2 * f) * e + 8 + 4 * of.heads);
      const std::int64_t lora = tokens * (2 * h + f + 7 * rank) * e;
      const std::int64_t outputs = 3 * h + 2 * kv + 2 * f;
      for (const auto& [method, added] : {std::pair<const char*, std::int64_t>{"lora", lora},
                                          {"rslora", lora},
                                          {"lora_plus", lora},
                                          {"pissa", lora},
                                          {"olora", lora},
                                          {"lora_fa", 7 * tokens * rank * e},
                                          {"dora", lora + tokens * outputs * e},
                                          {"bone", 4 * tokens * rank * e},
                                          {"miss", 4 * tokens * rank * e},
                                          {"miss_mini", 4 * tokens * rank * e},
                                          {"bat", tokens * (2 * h + f) * e}}) {
        CAPTURE(method);
        CAPTURE(name_of(dtype));
        CAPTURE(of.kv_heads);
        CHECK(block_bytes(of, method, dtype, rank) == floor + added);
      }
    }
}

}  // namespace
}  // namespace osteon::test
