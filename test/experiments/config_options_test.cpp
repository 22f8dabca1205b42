#include <CLI/CLI.hpp>
#include <doctest/doctest.h>
#include <fstream>

#include "backends/error.hpp"
#include "experiments/config/options.hpp"

using namespace osteon;
using namespace osteon::experiments;

namespace {

RunConfig parse(std::vector<std::string> words, ConfigArguments& arguments) {
  CLI::App app;
  add_config_options(app, arguments);
  std::reverse(words.begin(), words.end());  // CLI11 takes them last first
  app.parse(words);
  return resolve_config(arguments);
}

}  // namespace

TEST_CASE("the options of design.md set their keys") {
  ConfigArguments arguments;
  const RunConfig config = parse({"--model",
                                  "m",
                                  "--data",
                                  "d.jsonl",
                                  "--eval-data",
                                  "e",
                                  "--method",
                                  "lora",
                                  "--adapter",
                                  "a",
                                  "--rank",
                                  "4",
                                  "--alpha",
                                  "8",
                                  "--target-modules",
                                  "q_proj,v_proj",
                                  "--steps",
                                  "10",
                                  "--epochs",
                                  "2",
                                  "--lr",
                                  "1e-3",
                                  "--weight-decay",
                                  "0.1",
                                  "--schedule",
                                  "linear",
                                  "--warmup-steps",
                                  "3",
                                  "--clip-norm",
                                  "0.5",
                                  "--batch-size",
                                  "2",
                                  "--accumulate",
                                  "3",
                                  "--seq-len",
                                  "64",
                                  "--dtype",
                                  "bf16",
                                  "--adapter-dtype",
                                  "bf16",
                                  "--device",
                                  "cpu",
                                  "--threads",
                                  "2",
                                  "--seed",
                                  "7",
                                  "--out",
                                  "o",
                                  "--resume",
                                  "--no-shuffle"},
                                 arguments);
  RunConfig expected;
  expected.model = "m", expected.data = "d.jsonl", expected.eval_data = "e", expected.method = "lora",
  expected.adapter = "a";
  expected.rank = 4, expected.alpha = 8, expected.target_modules = {{"q_proj", "v_proj"}, ""};
  expected.steps = 10, expected.epochs = 2, expected.lr = 1e-3, expected.weight_decay = 0.1,
  expected.schedule = "linear";
  expected.warmup_steps = 3, expected.clip_norm = 0.5, expected.batch_size = 2, expected.accumulate = 3;
  expected.seq_len = 64, expected.dtype = "bf16", expected.adapter_dtype = "bf16", expected.device = "cpu";
  expected.threads = 2, expected.seed = 7, expected.out = "o", expected.resume = true, expected.shuffle = false;
  CHECK(config == expected);
}

TEST_CASE("file, then --set, then options") {
  const auto file = std::filesystem::temp_directory_path() / "osteon_config_options_test.toml";
  std::ofstream(file) << "rank = 1\nlr = 1\nsteps = 1\nmodel = \"m\"\n";
  ConfigArguments arguments;
  const RunConfig config = parse({file.string(), "--steps", "3", "--set", "lr=2", "--set", "steps=2"}, arguments);
  std::filesystem::remove(file);
  CHECK(config.model == "m");
  CHECK(config.rank == 1);
  CHECK(config.lr == 2);
  CHECK(config.steps == 3);
}

TEST_CASE("--checkpoint is a memory policy") {
  ConfigArguments arguments;
  CHECK(parse({"--checkpoint"}, arguments).memory_policy == "checkpoint");
  CHECK(arguments.given() == std::vector<std::string>{"checkpoint"});
  ConfigArguments others;
  CHECK(parse({"--memory-policy", "recompute_cheap", "--memory-limit", "16GiB"}, others).memory_limit == "16GiB");
  CHECK(parse({"--no-checkpoint"}, others).memory_policy == "save");
}

TEST_CASE("errors of options name the option") {
  ConfigArguments arguments;
  CHECK_THROWS_WITH_AS(parse({"--batch-size", "0"}, arguments),
                       "--batch-size: batch_size: expected an integer in [1, 65536], got 0", ConfigError);
}

TEST_CASE("unknown options are refused and every key is in the help") {
  ConfigArguments arguments;
  CHECK_THROWS_AS(parse({"--rnak", "8"}, arguments), CLI::ParseError);
  CLI::App app;
  add_config_options(app, arguments);
  const std::string help = app.help();
  CHECK(help.find("--target-modules") != std::string::npos);
  CHECK(help.find("constant, linear, cosine [cosine]") != std::string::npos);
  CHECK(help.find("--set KEY=VALUE") != std::string::npos);
}
