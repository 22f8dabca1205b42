#include <cmath>
#include <doctest/doctest.h>

#include "experiments/config/adapter_options.hpp"
#include "experiments/measure/planner.hpp"
#include "experiments/scoring/predictions.hpp"
#include "experiments/scoring/run_task.hpp"
#include "experiments/training/evaluation.hpp"
#include "experiments/training/model_loading.hpp"
#include "experiments/training/task_score.hpp"
#include "experiments/training/tiny_models.hpp"
#include "nn/io/atomic_file.hpp"
#include "peft/hf_format.hpp"
#include "test/experiments/rwkv_files.hpp"
#include "test/experiments/small_run.hpp"
#include "test/experiments/temporary_file.hpp"

using namespace osteon;
using namespace osteon::experiments;
using osteon::test::seven_in;
using osteon::test::six_in;
using osteon::test::TemporaryFolder;
namespace fs = std::filesystem;

TEST_CASE("RWKV files are scored by real tasks, in words and by likelihoods, as the run's folder says") {
  const TemporaryFolder folder;
  const TemporaryFile questions("t.jsonl",
                                "{\"question\": \"1+1?\", \"answer\": \"It is 2.\\n#### 2\"}\n"
                                "{\"question\": \"None?\", \"answer\": \"#### 0\"}\n");
  const TemporaryFile rows("rte.tsv",
                           "index\tsentence1\tsentence2\tlabel\n"
                           "0\tIt rains.\tIt is wet.\tentailment\n"
                           "1\tIt rains.\tIt is dry.\tnot_entailment\n");
  for (const fs::path& model : {seven_in(folder / ""), six_in(folder / "")}) {
    CAPTURE(model.string());
    RunConfig config = test::small_run(model, folder / (model.stem().string() + "-task"), "bone");
    config.steps = 2;
    config.task = "gsm8k";
    config.task_data = questions.path().string();
    const RunSummary summary = run(config, test::silent());
    CHECK(summary.items.size() == 2);

    LoadedModel loaded = load_model(config);
    peft::load_adapter(*loaded.adapted, fs::path(config.out) / "adapter");
    const scoring::RealTask gsm8k = scoring::open_real_task("gsm8k", questions.path(), "auto", 0);
    const scoring::TaskResult again =
        scoring::run_task(*loaded.model, *loaded.tokenizer, gsm8k, task_options(config, loaded));
    CHECK(scoring::read_predictions(fs::path(config.out) / "predictions.jsonl") == again.predictions);
    CHECK(again.generated_tokens > 2);
    CHECK(again.metrics.front() ==
          std::pair(std::string("accuracy"), std::optional(summary.task_metrics.at("accuracy"))));

    const scoring::RealTask rte = scoring::open_real_task("glue:rte", rows.path(), "auto", 0);
    const scoring::TaskResult result = scoring::run_task(*loaded.model, *loaded.tokenizer, rte, {});
    REQUIRE(result.predictions.size() == 2);
    for (const scoring::Prediction& prediction : result.predictions)
      CHECK(prediction.log_likelihoods.size() == 2);
    CHECK(result.too_long == 0);
  }
}

TEST_CASE(
    "RWKV models are pretrained from a config, from a file's shapes and by name, and fine-tuned from their folder") {
  const TemporaryFolder folder;
  for (const char* version : {"rwkv6", "rwkv7"}) {
    fs::create_directories(folder / version);
    io::write_file_atomically(
        folder / (std::string(version) + "/config.json"),
        join(R"({"model_type": ")", version,
             R"(", "vocab_size": 256, "hidden_size": 32, "num_hidden_layers": 2, "head_dim": 16})"));
  }
  for (const std::string& model : {(folder / "rwkv6").string(), (folder / "rwkv7").string(),
                                   seven_in(folder / "").string(), std::string(kTinyRwkv6), std::string(kTinyRwkv7)}) {
    CAPTURE(model);
    const bool named = model.starts_with("synthetic:");
    RunConfig config = test::small_run(model, folder / ("pretrained-" + fs::path(model).stem().string()), "full");
    config.steps = named ? 3 : 12;
    RunOptions options = test::silent();
    options.from_random_weights = true;
    const RunSummary summary = run(config, options);
    REQUIRE(summary.completed);
    CHECK(*summary.evaluation.before->loss == doctest::Approx(std::log(256)).epsilon(0.1));  // it knows nothing yet
    CHECK(*summary.evaluation.after->loss < *summary.evaluation.before->loss - 0.5);
    const Plan planned = plan(config);
    const std::int64_t beyond = summary.peak_bytes->total - planned.peak.total();
    CHECK(beyond >= 0);
    CHECK(beyond <= 8 * planned.tokens_per_step);  // a padded batch comes with its rows' key ranges

    RunConfig tuned = test::small_run(fs::path(config.out) / "model", folder / "tuned", "bone");
    tuned.lr = 1e-3;
    tuned.tokenizer.clear();  // the folder has it
    const LoadedModel loaded = load_model(tuned);
    const auto data = open_evaluation_data("down", Split::test, tuned, *loaded.tokenizer, ModelLimits(*loaded.model));
    CHECK(*evaluate(*loaded.model, data).scores.loss == *summary.evaluation.after->loss);
    const RunSummary after = run(tuned, test::silent());
    CHECK(*after.evaluation.before->loss == *summary.evaluation.after->loss);
    CHECK(*after.evaluation.after->loss < *after.evaluation.before->loss);
  }
}

TEST_CASE("of the layers that are chosen all-linear adapts every linear") {
  const TemporaryFolder folder;
  for (const auto& [model, linears] : {std::pair(seven_in(folder / ""), 6), std::pair(six_in(folder / ""), 8)}) {
    RunConfig config = test::small_run(model, folder / "out", "bone");
    config.target_modules = {{}, "all-linear"};
    config.layers_to_transform = {1};
    const LoadedModel loaded = load_model(config);
    const peft::ModelAdapter& adapter = loaded.adapted->add(adapter_config(config));
    CHECK(adapter.modules.size() == static_cast<std::size_t>(linears));
    for (const auto& [name, one] : adapter.modules)
      CHECK(name.starts_with("blocks.1."));
  }
}

TEST_CASE("an RWKV model that a name tells the size of is drawn, always the same") {
  const auto parameters = [](const std::string& model) {
    RunConfig config;
    config.model = model;
    return load_weights(config, Weights::pretrained, Device::meta).model->parameter_count();
  };
  CHECK(parameters("synthetic:rwkv7-L12-D768") == 191'034'624);  // as the published models of these sizes
  CHECK(parameters("synthetic:rwkv7-L24-D2048") == 1'527'404'544);
  CHECK(parameters("synthetic:rwkv7-L32-D2560") == 2'947'735'040);
  CHECK(parameters("synthetic:rwkv6-L24-D2048") == 1'599'873'024);
  CHECK(parameters("synthetic:rwkv7-L1-D64-V256") < parameters("synthetic:rwkv7-L2-D64-V256"));

  RunConfig config = test::small_run("synthetic:rwkv6-L1-D64-V256", "", "bone");
  config.tokenizer.clear();
  const LoadedModel one = load_model(config);
  config.seed += 1;
  const LoadedModel two = load_model(config);
  CHECK(one.tokenizer->kind() == "byte");
  for (std::size_t i = 0; i < one.model->parameters().size(); ++i)
    CHECK(one.model->parameters()[i].second.to_doubles() == two.model->parameters()[i].second.to_doubles());
  for (const char* model : {"synthetic:rwkv7-L0-D64", "synthetic:rwkv7-L2-D100", "synthetic:rwkv7-L2-D64-V0"})
    CHECK_THROWS_WITH_AS(parameters(model),
                         doctest::Contains("expected at least one layer and id, and channels in 64s"), ConfigError);
  CHECK_THROWS_WITH_AS(parameters("synthetic:rwkv5-L2-D64"), doctest::Contains("or an embedded model"), ConfigError);
}

TEST_CASE("an RWKV file's text ends where the tokenizer says") {
  const TemporaryFolder folder;
  RunConfig config;
  config.model = seven_in(folder / "").string();
  config.tokenizer = "byte";
  CHECK(end_token_ids(load_model(config)).empty());
}

TEST_CASE("what a recurrent model cannot do is refused by name") {
  const TemporaryFolder folder;
  const fs::path model = seven_in(folder / "");
  const auto refused = [&](const char* start, const auto& change) {
    RunConfig config = test::small_run(model, folder / "out", "lora");
    change(config);
    CHECK_THROWS_WITH_AS(run(config, test::silent()), doctest::Contains(start), ConfigError);
  };
  refused("packing: expected false with the RWKV model", [](RunConfig& config) { config.packing = true; });
  refused("checkpoint_layers: expected at most 2, the layers of",
          [](RunConfig& config) { config.checkpoint_layers = 3; });
  refused("task_type: expected CAUSAL_LM with the RWKV model", [](RunConfig& config) {
    config.task = "glue:rte";
    config.data = config.eval_data = "dev.tsv";
  });
  RunConfig config = test::small_run(model, folder / "out", "lora");
  config.tokenizer.clear();
  CHECK_THROWS_WITH_AS(run(config, test::silent()), doctest::Contains("seven.pth: a model without tokenizer"),
                       FileError);
  config.tokenizer = "byte";
  fs::create_directory(folder / "config alone");
  io::write_file_atomically(folder / "config alone/config.json", R"({"model_type": "rwkv7"})");
  config.model = (folder / "config alone").string();
  CHECK_THROWS_WITH_AS(load_weights(config),
                       doctest::Contains("config alone: expected model.pth or model.safetensors, found neither"),
                       FileError);
  config.model = (folder / "config alone/config.json").string();
  CHECK_THROWS_WITH_AS(load_weights(config),
                       doctest::Contains("or an RWKV file that ends in .pth or .safetensors, got"), ConfigError);
  config.model = (folder / "gone.pth").string();
  CHECK_THROWS_WITH_AS(load_weights(config), doctest::Contains("gone.pth: cannot open"), FileError);
}
