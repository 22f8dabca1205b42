#include <doctest/doctest.h>
#include <fstream>
#include <malloc.h>
#include <string>

#include "backends/memory.hpp"
#include "nn/io/pretrained.hpp"
#include "test/nn/temporary_folder.hpp"

namespace osteon::test {
namespace {

nn::LlamaConfig nine_million_parameters() {
  nn::LlamaConfig config;
  config.vocab_size = 8192;
  config.hidden_size = 512;
  config.intermediate_size = 768;  // so that all but the embedding are smaller than a huge page
  config.num_hidden_layers = 2;
  config.num_attention_heads = 8;
  config.num_key_value_heads = 8;
  config.head_dim = 64;
  config.max_position_embeddings = 64;
  config.tie_word_embeddings = true;
  return config;
}

/// Bytes of this process: "VmRSS", those in memory now, or "VmHWM", the most since forget_high_water().
std::int64_t process_bytes(const std::string& key) {
  std::ifstream status("/proc/self/status");
  for (std::string line; std::getline(status, line);)
    if (line.starts_with(key + ":"))
      return std::stoll(line.substr(key.size() + 1)) * 1024;
  return 0;
}

bool forget_high_water() { return static_cast<bool>(std::ofstream("/proc/self/clear_refs") << 5 << std::flush); }

struct Growth {
  std::int64_t allocator, process, model;
};

/// The most that `make` needed beyond what was there before it; what it makes is a model.
template <class Make>
Growth growth_of(Make make) {
  release_idle_memory(default_device());
  malloc_trim(0);  // else it is made of what the last one left
  reset_memory_peak(default_device());
  const std::int64_t live = memory_report(default_device()).live.total(), resident = process_bytes("VmRSS");
  REQUIRE(forget_high_water());
  const std::unique_ptr<nn::Llama> model = make();
  const std::int64_t model_bytes = model->parameter_count() * size_of(model->dtype());
  return {memory_report(default_device()).peak.total() - live, process_bytes("VmHWM") - resident, model_bytes};
}

/// No second copy, neither counted nor in the process.
void check_in_place(const Growth& growth) {
  CHECK(growth.allocator == growth.model);
#if !defined(__SANITIZE_ADDRESS__)  // whose own memory would be compared too
  // A file's chunks, and huge pages that a block touches in part. A copy of the embedding alone would be 8 or 16 MiB.
  constexpr std::int64_t kBuffers = 6 << 20;
  CHECK(growth.process <= growth.model * 17 / 16 + kBuffers);  // the pool rounds up by at most a sixteenth
  CHECK(growth.process >= growth.model * 3 / 4);               // it is measured
#endif
}

TEST_CASE("a model is read, converted and drawn straight into place: never two copies") {
  const nn::LlamaConfig config = nine_million_parameters();
  const TemporaryFolder folder;
  const auto random = [&](DType dtype) {
    auto model = std::make_unique<nn::Llama>(config, dtype);
    model->initialize(1);
    return model;
  };
  for (const DType written : {DType::f32, DType::bf16}) {
    CAPTURE(written);
    nn::save_llama(*random(written), folder / std::string(name_of(written)));
    for (const DType read : {DType::f32, DType::bf16}) {
      CAPTURE(read);
      check_in_place(growth_of([&] { return nn::load_llama(folder / std::string(name_of(written)), read); }));
    }
    check_in_place(growth_of([&] { return random(written); }));
  }
}

}  // namespace
}  // namespace osteon::test
