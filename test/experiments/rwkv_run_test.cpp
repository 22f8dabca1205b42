#include <doctest/doctest.h>

#include "experiments/config/adapter_options.hpp"
#include "experiments/measure/planner.hpp"
#include "experiments/training/evaluation.hpp"
#include "experiments/training/model_loading.hpp"
#include "nn/io/atomic_file.hpp"
#include "peft/hf_format.hpp"
#include "test/experiments/rwkv_files.hpp"
#include "test/experiments/small_run.hpp"
#include "test/golden_case.hpp"
#include "test/peft/adapter_case.hpp"

using namespace osteon;
using namespace osteon::experiments;
using osteon::test::seven_in;
using osteon::test::six_in;
using osteon::test::TemporaryFolder;
namespace fs = std::filesystem;

TEST_CASE("RWKV files train with every kind of method, as planned to the byte, and their adapters come back") {
  const TemporaryFolder folder;
  for (const fs::path& model : {seven_in(folder / ""), six_in(folder / "")})
    for (const std::string method : {"lora", "pissa", "bone", "bat", "bat_row", "full", "state"}) {
      CAPTURE(model.string());
      CAPTURE(method);
      RunConfig config = test::small_run(model, folder / join(model.stem().string(), "-", method), method);
      config.steps = 4;
      config.lr = method == "state" ? 0.1 : 3e-3;
      const RunSummary summary = run(config, test::silent());
      REQUIRE(summary.completed);
      CHECK(*summary.evaluation.after->loss < *summary.evaluation.before->loss);
      CHECK(plan(config).peak.total() == measure(config).peak.total());
      const bool whole = method == "full";
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

TEST_CASE("memory policies of RWKV end with the same bits, as planned to the byte, and auto takes what fits a limit") {
  const TemporaryFolder folder;
  for (const int version : {6, 7})
    for (const char* method : {"lora", "bone", "full"}) {
      CAPTURE(version);
      CAPTURE(std::string(method));
      const fs::path model = folder / join(version, ".pth");
      nn::save_rwkv(*test::tiny_rwkv(version, 256, 6), model);
      const auto settings = [&](const std::string& policy, std::int64_t layers) {
        RunConfig config = test::small_run(model, folder / join(version, '-', method, '-', policy, layers), method);
        config.l2_wrap = "off";  // so that the layers decide the peak
        config.memory_policy = policy;
        config.checkpoint_layers = layers;
        return config;
      };
      const auto trained = [&](const RunConfig& config) {
        const RunSummary summary = run(config, test::silent());
        REQUIRE(summary.completed);
        return summary;
      };
      const RunSummary save = trained(settings("save", 0));
      std::int64_t before = save.peak_bytes->activation;
      for (const auto& [policy, layers] : {std::pair("save", 3), std::pair("recompute_cheap", 5)}) {
        const RunConfig config = settings(policy, layers);
        CHECK(plan(config).peak.total() == measure(config).peak.total());
        const RunSummary other = trained(config);
        CHECK(*other.final_train_loss == *save.final_train_loss);
        CHECK(*other.evaluation.after->loss == *save.evaluation.after->loss);
        CHECK(other.peak_bytes->activation < before);
        before = other.peak_bytes->activation;
      }
      const RunConfig all = settings("checkpoint", 0);
      CHECK(plan(all).peak.total() == measure(all).peak.total());
      CHECK(*trained(all).final_train_loss == *save.final_train_loss);

      RunConfig open = settings("auto", 0);
      const std::int64_t most = plan(settings("save", 0)).needed_bytes();
      open.memory_limit = join((most - 1) / 1024, "KiB");
      const RunSummary chosen = trained(open);
      CHECK(*chosen.final_train_loss == *save.final_train_loss);
      CHECK(chosen.memory_policy == "recompute_cheap");
      CHECK(plan(settings("recompute_cheap", chosen.checkpoint_layers.value_or(0))).needed_bytes() < most);
    }
}

TEST_CASE("L2Wrap: on for RWKV as its trainers have it, recorded, planned, the same however a window is cut, resumed") {
  const TemporaryFolder folder;
  const fs::path model = seven_in(folder / "");
  const auto block_in = [](const fs::path& out) {
    const io::ModelFiles files(out / "adapter", "adapter_model");
    return test::read_tensor(files, "base_model.model.blocks.0.att.key.bone_block", DType::f32).to_doubles();
  };
  const auto trained = [&](const char* out, const auto& change) {
    RunConfig config = test::small_run(model, folder / out, "bone");
    change(config);
    CHECK(plan(config).peak.total() == measure(config).peak.total());
    const RunSummary summary = run(config, test::silent());
    REQUIRE(summary.completed);
    return std::pair(summary, block_in(config.out));
  };
  const auto [on, with] = trained("on", [](RunConfig& config) { config.l2_wrap = "on"; });
  const auto [automatic, by_default] = trained("auto", [](RunConfig&) {});
  const auto [off, without] = trained("off", [](RunConfig& config) { config.l2_wrap = "off"; });
  const auto [halves, cut] = trained("halves", [](RunConfig& config) {
    config.batch_size /= 2;
    config.accumulate *= 2;
  });
  CHECK(on.l2_wrap == std::optional(true));
  CHECK(off.l2_wrap == std::optional(false));
  CHECK(read_summary(folder / "auto").l2_wrap == std::optional(true));
  CHECK(on.config_hash == automatic.config_hash);
  CHECK(with == by_default);
  const double pull = test::largest_error(without, with);
  CHECK(pull > 1e-5);
  CHECK(test::largest_error(cut, with) <= 0.01 * pull);

  RunConfig again = test::small_run(model, folder / "resumed", "bone");
  RunOptions stopping = test::silent();
  int asked = 0;
  stopping.should_stop = [&] { return ++asked > 3; };
  CHECK_FALSE(run(again, stopping).completed);
  again.resume = true;
  RunConfig other = again;
  other.l2_wrap = "off";
  CHECK_THROWS_WITH_AS(run(other, test::silent()), doctest::Contains("l2_wrap = off (there on)"), ConfigError);
  REQUIRE(run(again, test::silent()).completed);
  CHECK(block_in(again.out) == with);

  test::make_model(folder / "llama");
  RunConfig llama = test::small_run(folder / "llama", folder / "llama-run", "bone");
  llama.l2_wrap = "on";
  CHECK_THROWS_WITH_AS(run(llama, test::silent()),
                       doctest::Contains("l2_wrap: expected off, or an RWKV file as model, got on with"), ConfigError);
  llama.l2_wrap = "auto";
  CHECK_FALSE(run(llama, test::silent()).l2_wrap.has_value());
}
