#include <doctest/doctest.h>

#include "backends/kernels/elementwise.hpp"
#include "backends/kernels/random.hpp"
#include "experiments/evaluation.hpp"
#include "experiments/model_loading.hpp"
#include "experiments/planner.hpp"
#include "nn/rwkv6.hpp"
#include "nn/rwkv7.hpp"
#include "peft/hf_format.hpp"
#include "test/experiments/small_run.hpp"

using namespace osteon;
using namespace osteon::experiments;
using osteon::test::TemporaryFolder;

namespace {

namespace fs = std::filesystem;

/// A file with a random byte-level model.
template <class Model, class Config>
void write_model(const fs::path& file, Config config) {
  config.vocab_size = 256;
  config.hidden_size = 32;
  config.intermediate_size = 64;
  config.num_hidden_layers = 2;
  config.heads = 2;
  Model model(config, DType::f32);
  std::uint64_t index = 0;
  model.visit([&](const std::string& name, Tensor& parameter) {
    const RandomKey key = RandomKey{7, 0}.split(index++);
    const bool scale = name.find("ln") != std::string::npos && name.ends_with(".weight");
    kernels::fill_normal(Cpu{}, parameter.mut(), scale ? 1.0 : 0.0, scale ? 0.0 : 0.2, key);
  });
  nn::save_rwkv(model, file);
}

fs::path seven_in(const fs::path& folder) {
  nn::Rwkv7Config config;
  config.decay_rank = config.rate_rank = config.value_rank = config.gate_rank = 8;
  write_model<nn::Rwkv7>(folder / "seven.pth", config);
  return folder / "seven.pth";
}
fs::path six_in(const fs::path& folder) {
  nn::Rwkv6Config config;
  config.mix_rank = config.decay_rank = 8;
  write_model<nn::Rwkv6>(folder / "six.safetensors", config);
  return folder / "six.safetensors";
}

}  // namespace

TEST_CASE("RWKV files train with every kind of method, as planned to the byte, and their adapters come back") {
  const TemporaryFolder folder;
  for (const fs::path& model : {seven_in(folder / ""), six_in(folder / "")})
    for (const char* method : {"lora", "pissa", "bone", "bat", "bat_row", "full"}) {
      CAPTURE(model.string());
      CAPTURE(method);
      RunConfig config = test::small_run(model, folder / join(model.stem().string(), "-", method), method);
      config.steps = 4;
      config.lr = 3e-3;
      const RunSummary summary = run(config, test::silent());
      REQUIRE(summary.completed);
      CHECK(*summary.evaluation.after->loss < *summary.evaluation.before->loss);
      CHECK(plan(config).peak.total() == measure(config).peak.total());
      const bool whole = std::string(method) == "full";
      RunConfig again = config;
      again.model = whole ? (fs::path(config.out) / "model/model.pth").string() : config.model;
      LoadedModel loaded = load_model(again);
      if (!whole)
        peft::load_adapter(*loaded.adapted, fs::path(config.out) / "adapter");
      const auto data =
          open_evaluation_data("down", Split::test, config, *loaded.tokenizer, ModelLimits(*loaded.model));
      CHECK(*evaluate(*loaded.model, data).scores.loss ==
            doctest::Approx(*summary.evaluation.after->loss).epsilon(1e-6));
    }
}

TEST_CASE("what a recurrent model cannot do is refused by name") {
  const TemporaryFolder folder;
  const fs::path model = seven_in(folder / "");
  const auto refused = [&](const char* start, const auto& change) {
    RunConfig config = test::small_run(model, folder / "out", "lora");
    change(config);
    CHECK_THROWS_WITH_AS(run(config, test::silent()), doctest::Contains(start), ConfigError);
  };
  refused("packing: expected false with the RWKV file", [](RunConfig& config) { config.packing = true; });
  refused("memory_policy: expected save with the RWKV file",
          [](RunConfig& config) { config.memory_policy = "checkpoint"; });
  refused("task_type: expected CAUSAL_LM with the RWKV file", [](RunConfig& config) {
    config.task = "glue:rte";
    config.data = config.eval_data = "dev.tsv";
  });
  RunConfig config = test::small_run(model, folder / "out", "lora");
  config.tokenizer.clear();
  CHECK_THROWS_WITH_AS(run(config, test::silent()), doctest::Contains("seven.pth: a model without tokenizer"),
                       FileError);
  config.tokenizer = "byte";
  RunOptions options = test::silent();
  options.from_random_weights = true;
  CHECK_THROWS_WITH_AS(run(config, options), doctest::Contains("model: expected a folder to draw weights for"),
                       ConfigError);
  const LoadedModel loaded = load_weights(config);
  CHECK_THROWS_WITH_AS(as_llama(loaded, "generate"),
                       doctest::Contains("generate: expected a Llama folder as model, got the RWKV file"), ConfigError);
}
