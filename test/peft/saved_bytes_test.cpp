#include <doctest/doctest.h>

#include "autograd/audit.hpp"
#include "backends/memory.hpp"
#include "test/peft/tiny_model.hpp"

namespace osteon::test {
namespace {

struct Widths {
  std::int64_t hidden, intermediate, heads, kv_heads, head_dim;
};

struct Kept {
  std::int64_t audited, live;
};

/// What a forward pass of a model keeps for its backward: by the audit, and by the allocator.
Kept kept_by(const nn::LlamaConfig& config, const peft::AdapterConfig& adapter, nn::MemoryPolicy policy) {
  nn::Llama model(config, adapter.dtype.value_or(DType::f32));
  model.initialize(1);
  model.set_memory_policy(policy);
  peft::PeftModel adapted(model);
  adapted.add(adapter);
  const auto live = [] { return memory_report(default_device()).live[Category::activation]; };
  const nn::TokenInput input = tiny_input();
  const std::int64_t before = live();
  const SavedAudit audit;
  const Tensor y = model.logits(input);
  return {audit.bytes(), live() - before};
}

/// The same for one block whose input has a gradient: a model with three layers less one with two, since the first
/// block's input may need none.
Kept block_bytes(const Widths& of, const std::string& method, DType dtype, std::int64_t rank, nn::MemoryPolicy policy) {
  Kept kept[2];
  for (const std::int64_t layers : {2, 3}) {
    nn::LlamaConfig config = tiny_llama_config();
    config.num_hidden_layers = layers;
    config.hidden_size = of.hidden;
    config.intermediate_size = of.intermediate;
    config.num_attention_heads = of.heads;
    config.num_key_value_heads = of.kv_heads;
    config.head_dim = of.head_dim;
    peft::AdapterConfig adapter = tiny_adapter(method);
    adapter.rank = rank;
    adapter.dtype = dtype;
    kept[layers - 2] = kept_by(config, adapter, policy);
  }
  return {kept[1].audited - kept[0].audited, kept[1].live - kept[0].live};
}

struct MethodBytes {
  const char* method;
  std::int64_t save, recompute_cheap;  ///< beyond what a frozen block keeps
};

TEST_CASE("a block keeps what the formulas say, to the byte, under each policy") {
  const std::int64_t tokens = tiny_input().ids.numel(), rank = 4;
  for (const Widths& of : {Widths{16, 28, 4, 4, 4}, Widths{16, 28, 4, 2, 4}, Widths{32, 64, 4, 1, 8}})
    for (const DType dtype : {DType::f32, DType::bf16}) {
      const std::int64_t h = of.hidden, f = of.intermediate, kv = of.kv_heads * of.head_dim, e = size_of(dtype);
      // What a frozen block keeps anyway: two norms' inputs, q, k, v and the output, gate and up; a number per row of
      // each norm, and one per token and head.
      const std::int64_t floor = tokens * ((4 * h + 2 * kv + 2 * f) * e + 8 + 4 * of.heads);
      const std::int64_t inputs = tokens * (2 * h + f) * e;  // of the linears: two norms' results and SwiGLU's
      const std::int64_t seven = 7 * tokens * rank * e;      // x A^T of each linear
      const std::int64_t sums = 4 * tokens * rank * e;       // one for q, k, v, and one for gate, up
      const std::int64_t outputs = tokens * (3 * h + 2 * kv + 2 * f) * e;
      for (const MethodBytes& of_method : {MethodBytes{"lora", inputs + seven, seven},
                                           {"rslora", inputs + seven, seven},
                                           {"lora_plus", inputs + seven, seven},
                                           {"pissa", inputs + seven, seven},
                                           {"olora", inputs + seven, seven},
                                           {"lora_fa", seven, seven},
                                           {"dora", inputs + seven + outputs, seven + outputs},
                                           {"bone", sums, 0},
                                           {"miss", sums, 0},
                                           {"miss_mini", sums, 0},
                                           {"bat", inputs, 0},
                                           {"bat_row", inputs, 0},
                                           {"bat_product", inputs, 0},
                                           {"bat_hadamard", inputs, 0},
                                           {"bat_ab", inputs, 0},
                                           {"bat_tile", inputs, 0},
                                           {"full", inputs, 0}}) {
        CAPTURE(of_method.method);
        CAPTURE(name_of(dtype));
        CAPTURE(of.kv_heads);
        const auto kept = [&](nn::MemoryPolicy policy) {
          const Kept both = block_bytes(of, of_method.method, dtype, rank, policy);
          CHECK(both.live == both.audited);  // the audit tells what is really kept
          return both.audited;
        };
        CHECK(kept(nn::MemoryPolicy::save) == floor + of_method.save);
        CHECK(kept(nn::MemoryPolicy::recompute_cheap) == floor + of_method.recompute_cheap);
        CHECK(kept(nn::MemoryPolicy::checkpoint) == tokens * h * e);
      }
    }
}

TEST_CASE("no method keeps more by recomputing, wherever its adapters are") {
  const nn::LlamaConfig config = tiny_llama_config();
  for (const std::string& method : adapting_methods())
    for (const std::vector<std::string>& targets :
         {std::vector<std::string>{"q_proj"}, {"o_proj", "up_proj"}, {"down_proj"}, {"lm_head"}}) {
      CAPTURE(method);
      CAPTURE(targets[0]);
      peft::AdapterConfig adapter = tiny_adapter(method);
      adapter.target_modules = targets;
      adapter.target_is_pattern = false;
      const Kept save = kept_by(config, adapter, nn::MemoryPolicy::save);
      const Kept recompute = kept_by(config, adapter, nn::MemoryPolicy::recompute_cheap);
      CHECK(recompute.live <= save.live);
    }
}

}  // namespace
}  // namespace osteon::test
