#include <doctest/doctest.h>
#include <optional>

#include "experiments/config/adapter_options.hpp"
#include "experiments/measure/planner.hpp"
#include "experiments/training/model_loading.hpp"
#include "peft/hf_format.hpp"
#include "peft/rwkv_format.hpp"
#include "test/experiments/rwkv_files.hpp"
#include "test/experiments/small_run.hpp"
#include "test/golden_case.hpp"

using namespace osteon;
using namespace osteon::experiments;
using osteon::test::seven_in;
using osteon::test::six_in;
using osteon::test::TemporaryFolder;
namespace fs = std::filesystem;

TEST_CASE("a run leaves RWKV-PEFT's files, which merge to the weights of its own adapter") {
  const TemporaryFolder folder;
  for (const fs::path& model : {seven_in(folder / ""), six_in(folder / "")})
    for (const std::string method : {"lora", "pissa", "bone", "bat_row", "state"}) {
      CAPTURE(model.string());
      CAPTURE(method);
      RunConfig config = test::small_run(model, folder / join("peft-", model.stem().string(), "-", method), method);
      config.steps = 3;
      config.rwkv_peft = true;
      config.train_parts = {"ln", "att.output"};
      CHECK(plan(config).peak.total() == measure(config).peak.total());
      REQUIRE(run(config, test::silent()).completed);
      const fs::path files = fs::path(config.out) / "rwkv-peft";
      const bool starts = method == "pissa";
      CHECK(fs::exists(files / "init_pissa.pth") == starts);
      const io::TensorFile base(config.model), adapter(files / "adapter.pth");
      std::optional<io::TensorFile> start;
      if (starts)
        start.emplace(files / "init_pissa.pth");
      peft::merge_rwkv(base, adapter, start ? &*start : nullptr, peft::rwkv_kind_of(adapter_config(config)),
                       filled(config).alpha.value_or(16), folder / "merged.pth");
      LoadedModel loaded = load_weights(config);
      CHECK(peft::load_adapter(*loaded.adapted, fs::path(config.out) / "adapter").config.train_parts ==
            config.train_parts);
      loaded.adapted->merge();
      const io::ModelFiles merged(folder / "merged.pth"), before{fs::path(config.model)};
      for (const auto& [name, parameter] : loaded.model->parameters()) {
        CAPTURE(name);
        const Tensor written = test::read_tensor(merged, name, DType::f32);
        CHECK(test::relative_error(written, parameter) <= 1e-6);
        const bool trains = name.find("ln") != std::string::npos || name.find("att.output") != std::string::npos ||
                            (method != "state" && name.find(".key.") != std::string::npos);
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
