#include <doctest/doctest.h>
#include <optional>

#include "backends/kernels/elementwise.hpp"
#include "backends/kernels/random.hpp"
#include "experiments/adapter_options.hpp"
#include "experiments/evaluation.hpp"
#include "experiments/model_loading.hpp"
#include "experiments/planner.hpp"
#include "nn/rwkv6.hpp"
#include "nn/rwkv7.hpp"
#include "peft/hf_format.hpp"
#include "peft/rwkv_format.hpp"
#include "test/experiments/small_run.hpp"
#include "test/golden_case.hpp"

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

TEST_CASE("a run leaves RWKV-PEFT's files, which merge to the weights of its own adapter") {
  const TemporaryFolder folder;
  for (const fs::path& model : {seven_in(folder / ""), six_in(folder / "")})
    for (const char* method : {"lora", "pissa", "bone", "bat_row"}) {
      CAPTURE(model.string());
      CAPTURE(method);
      RunConfig config = test::small_run(model, folder / join("peft-", model.stem().string(), "-", method), method);
      config.steps = 3;
      config.rwkv_peft = true;
      config.train_parts = {"ln", "att.output"};
      CHECK(plan(config).peak.total() == measure(config).peak.total());
      REQUIRE(run(config, test::silent()).completed);
      const fs::path files = fs::path(config.out) / "rwkv-peft";
      const bool starts = std::string(method) == "pissa";
      CHECK(fs::exists(files / "init_pissa.pth") == starts);
      const io::TensorFile base(config.model), adapter(files / "adapter.pth");
      std::optional<io::TensorFile> start;
      if (starts)
        start.emplace(files / "init_pissa.pth");
      peft::merge_rwkv(base, adapter, start ? &*start : nullptr, peft::rwkv_kind_of(adapter_config(config)),
                       *filled(config).alpha, folder / "merged.pth");
      LoadedModel loaded = load_weights(config);
      CHECK(peft::load_adapter(*loaded.adapted, fs::path(config.out) / "adapter").config.train_parts ==
            config.train_parts);
      loaded.adapted->merge();
      const io::ModelFiles merged(folder / "merged.pth"), before{fs::path(config.model)};
      for (const auto& [name, parameter] : loaded.model->parameters()) {
        CAPTURE(name);
        const Tensor written = test::read_tensor(merged, name, DType::f32);
        CHECK(test::relative_error(written, parameter) <= 1e-6);
        const bool trains = name.find("ln") != std::string::npos || name.find(".key.") != std::string::npos ||
                            name.find("att.output") != std::string::npos;
        if (trains)
          CHECK(test::relative_error(written, test::read_tensor(before, name, DType::f32)) > 0);
      }
    }
}

TEST_CASE("RWKV-PEFT's files are refused before a run whose adapter they cannot hold") {
  const TemporaryFolder folder;
  const fs::path model = seven_in(folder / "");
  const auto refused = [&](const fs::path& base, const char* method, const char* says, const auto& change) {
    RunConfig config = test::small_run(base, folder / "out", method);
    config.rwkv_peft = true;
    change(config);
    CHECK_THROWS_WITH_AS(run(config, test::silent()), doctest::Contains(says), ConfigError);
    CHECK(!fs::exists(folder / "out"));
  };
  const auto as_it_is = [](RunConfig&) {};
  refused(model, "dora", "rwkv-peft: method: its files hold adapters of lora", as_it_is);
  refused(model, "full", "got full", as_it_is);
  refused(model, "pissa", "expected alpha = rank = 4, got 8", [](RunConfig& config) { config.alpha = 8; });
  refused(model, "lora", "train_parts: no parameter of the model has \"time\" in its name", [](RunConfig& config) {
    config.train_parts = {"time"};
    config.out.clear();
  });
  test::make_model(folder / "llama");
  refused(folder / "llama", "lora", "rwkv_peft: expected an RWKV file as model, got", as_it_is);
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
