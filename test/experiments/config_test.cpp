#include "experiments/config/config.hpp"

#include <doctest/doctest.h>
#include <fstream>
#include <nlohmann/json.hpp>

#include "backends/error.hpp"
#include "experiments/config/keys.hpp"
#include "experiments/config/values.hpp"

using namespace osteon;
using namespace osteon::experiments;

namespace {

/// The message of the ConfigError that reading `text` as run.toml throws.
std::string error_of(std::string_view text) {
  RunConfig config;
  try {
    read_config_text(text, "run.toml", config);
  } catch (const ConfigError& error) {
    return error.what();
  }
  return "no error";
}

std::string set_error(std::string_view argument) {
  RunConfig config;
  try {
    set_argument(config, argument);
  } catch (const ConfigError& error) {
    return error.what();
  }
  return "no error";
}

}  // namespace

TEST_CASE("a TOML file sets keys of every type and leaves the others alone") {
  RunConfig config;
  read_config_text(R"(
model = "m"
rank = 16
alpha = 8
lr = 1e-3
packing = true
target_modules = ["q_proj", "v_proj"]
exclude_modules = '.*\.0\..*'
layers_to_transform = 3
rank_pattern = { up_proj = 4, down_proj = 2 }
alpha_pattern = { "q_proj" = 2.5 }
layers_pattern = ""
modules_to_save = "lm_head"
train_parts = ["time", "ln"]
init_weights = false
template = "alpaca"
)",
                   "run.toml", config);
  RunConfig expected;
  expected.model = "m";
  expected.rank = 16;
  expected.alpha = 8;
  expected.lr = 1e-3;
  expected.packing = true;
  expected.target_modules = {{"q_proj", "v_proj"}, ""};
  expected.exclude_modules = {{}, ".*\\.0\\..*"};
  expected.layers_to_transform = {3};
  expected.rank_pattern = {{"up_proj", 4}, {"down_proj", 2}};  // the file's order: the first match counts
  expected.alpha_pattern = {{"q_proj", 2.5}};
  expected.modules_to_save = {"lm_head"};
  expected.train_parts = {"time", "ln"};
  expected.init_weights = "false";
  expected.template_name = "alpaca";
  CHECK(config == expected);
}

TEST_CASE("config.toml reads back as the same configuration") {
  RunConfig config;
  CHECK(to_toml(config).find("rank = ") == std::string::npos);  // open
  SUBCASE("defaults") {}
  SUBCASE("everything changed") {
    config.model = "a \"quoted\" \\ folder\twith a tab";
    config.rank = 7;
    config.alpha = 0.1;
    config.target_modules = {{"q_proj", "v_proj"}, ""};
    config.exclude_modules = {{}, "a|b"};
    config.layers_to_transform = {0, 2};
    config.layers_pattern = {"layers", "h"};
    config.rank_pattern = {{"z", 1}, {"a", 2}};
    config.alpha_pattern = {{"z.*", 1e-9}, {"a", 2}};
    config.modules_to_save = {"lm_head", "embed_tokens"};
    config.lr = 1.0 / 3;
    config.epochs = 2;
    config.resume = true;
    config.seed = (std::int64_t{1} << 62) + 1;
  }
  RunConfig again;
  again.lr = 5;  // the file names every key, so nothing of this remains
  again.resume = !config.resume;
  read_config_text(to_toml(config), "config.toml", again);
  CHECK(again == config);
  CHECK(to_toml(again) == to_toml(config));
}

TEST_CASE("every key: written, read, set from text and shown in JSON") {
  const RunConfig defaults;
  const auto json = to_json(defaults);
  CHECK(json.size() == config_keys().size());
  for (const Key& key : config_keys()) {
    CAPTURE(key.name);
    CHECK(json.contains(std::string(key.name)));
    CHECK(!key.help.empty());
    const std::string text = key_text(defaults, key.name);
    if (text.empty())
      continue;
    RunConfig config;
    set_key(config, key.name, text, "test");
    CHECK(config == defaults);
  }
}

TEST_CASE("--set and options take the same values as the file") {
  RunConfig config;
  set_argument(config, "rank=8");
  set_argument(config, "batch-size=3");
  set_argument(config, "lr=.5");
  set_argument(config, "target_modules=q_proj,v_proj");
  set_argument(config, "layers_to_transform=1,2");
  set_argument(config, "rank_pattern=q_proj=4,v_proj=2");
  set_argument(config, "alpha_pattern={ q_proj = 4 }");
  set_argument(config, "modules_to_save=[\"a,b\"]");
  set_argument(config, "packing=true");
  set_argument(config, "model=12");
  set_argument(config, "init_weights=pissa_niter_4");
  CHECK(config.rank == 8);
  CHECK(config.batch_size == 3);
  CHECK(config.lr == 0.5);
  CHECK(config.target_modules.names == std::vector<std::string>{"q_proj", "v_proj"});
  CHECK(config.layers_to_transform == std::vector<std::int64_t>{1, 2});
  CHECK(config.rank_pattern == Pattern<std::int64_t>{{"q_proj", 4}, {"v_proj", 2}});
  CHECK(config.alpha_pattern == Pattern<double>{{"q_proj", 4}});
  CHECK(config.modules_to_save == std::vector<std::string>{"a,b"});
  CHECK(config.packing);
  CHECK(config.model == "12");
  CHECK(config.init_weights == "pissa_niter_4");
  set_argument(config, "target_modules=.*(q|v)_proj");
  CHECK(config.target_modules.pattern == ".*(q|v)_proj");
  set_argument(config, "target_modules=all-linear");
  CHECK(config.target_modules.pattern == "all-linear");
}

TEST_CASE("errors name file, line, key, what was expected and what came") {
  CHECK(error_of("model = \"m\"\nrnak = 8") == "run.toml:2: unknown key 'rnak'; did you mean 'rank'?");
  CHECK(error_of("\n\nrank = \"eight\"") == "run.toml:3: rank: expected an integer of at least 1, got \"eight\"");
  CHECK(error_of("rank = 0") == "run.toml:1: rank: expected an integer of at least 1, got 0");
  CHECK(error_of("rank = 8.0") == "run.toml:1: rank: expected an integer of at least 1, got 8");
  CHECK(error_of("dropout = 1") == "run.toml:1: dropout: expected a number in [0, 1), got 1");
  CHECK(error_of("lr = nan") == "run.toml:1: lr: expected a number of at least 0, got nan");
  CHECK(error_of("lr = true") == "run.toml:1: lr: expected a number of at least 0, got true");
  CHECK(error_of("packing = 1") == "run.toml:1: packing: expected true or false, got 1");
  CHECK(error_of("data = [\"a\"]") == "run.toml:1: data: expected a string, got a list");
  CHECK(error_of("schedule = \"cosin\"") ==
        "run.toml:1: schedule: expected one of constant, linear, cosine, got \"cosin\"; did you mean 'cosine'?");
  CHECK(error_of("init_weights = \"pissa_niter_x\"").find("run.toml:1: init_weights: expected one of true, ") == 0);
  CHECK(error_of("target_modules = 3") ==
        "run.toml:1: target_modules: expected a list of module names, all-linear, or a regular expression, got 3");
  CHECK(error_of("layers_to_transform = [1, -1]") ==
        "run.toml:1: layers_to_transform: expected a list, each an integer of at least 0, got -1");
  CHECK(error_of("rank_pattern = { q = 0 }") ==
        "run.toml:1: rank_pattern: expected pairs name = value, each value an integer of at least 1, got 0");
  CHECK(error_of("[optimizer]\nlr = 1") == "run.toml:1: unknown key 'optimizer'");
  CHECK(error_of("data = 1979-05-27") == "run.toml:1: data: expected a string, got a date");
}

TEST_CASE("malformed TOML names file, line and column") {
  CHECK(error_of("model = \"m\"\nrank = = 8").find("run.toml:2:8: ") == 0);
  CHECK(error_of("rank = 8\nrank = 9").find("run.toml:2:") == 0);
  CHECK(error_of("model = \"open").find("run.toml:1:") == 0);
}

TEST_CASE("errors of --set repeat the argument") {
  CHECK(set_error("rank") == "--set: expected key=value, got \"rank\"");
  CHECK(set_error("=3") == "--set: expected key=value, got \"=3\"");
  CHECK(set_error("rank=x") == "--set rank=x: rank: expected an integer of at least 1, got \"x\"");
  CHECK(set_error("rank=") == "--set rank=: rank: expected an integer of at least 1, got \"\"");
  CHECK(set_error("ranks=3") == "--set ranks=3: unknown key 'ranks'; did you mean 'rank'?");
  CHECK(set_error("rank_pattern=q_proj") ==
        "--set rank_pattern=q_proj: rank_pattern: expected pairs name = value, each value an integer of at least 1, "
        "got \"q_proj\"");
  CHECK(set_error("layers_to_transform=[1").find("--set layers_to_transform=[1:1:") == 0);
  CHECK(set_error("modules_to_save=[\"a\"]\nrank = 3").find("expected one value") != std::string::npos);
}

TEST_CASE("files that cannot be read") {
  RunConfig config;
  CHECK_THROWS_AS(read_config("no/such/file.toml", config), FileError);
  CHECK_THROWS_AS(read_config(std::filesystem::temp_directory_path(), config), FileError);
}

TEST_CASE("rules between keys") {
  RunConfig config;
  CHECK_THROWS_WITH_AS(check_config(config), doctest::Contains("model: expected"), ConfigError);
  config.model = "m";
  CHECK_THROWS_WITH_AS(check_config(config), doctest::Contains("data: expected"), ConfigError);
  config.data = "d";
  CHECK_NOTHROW(check_config(config));
  config.layers_to_transform = {0};
  CHECK_NOTHROW(check_config(config));
  config.target_modules = {{}, ".*q_proj"};
  CHECK_THROWS_WITH_AS(check_config(config), doctest::Contains("layers_to_transform"), ConfigError);
  config.layers_to_transform.clear();
  config.layers_pattern = {"h"};
  CHECK_THROWS_WITH_AS(check_config(config), doctest::Contains("layers_pattern"), ConfigError);
  config.layers_pattern.clear();
  config.steps = 10;
  config.warmup_steps = 11;
  CHECK_THROWS_WITH_AS(check_config(config), "warmup_steps: expected at most steps = 10, got 11", ConfigError);
  config.warmup_steps = 10;
  config.early_stop = 1;
  CHECK_THROWS_WITH_AS(check_config(config), doctest::Contains("early_stop"), ConfigError);
  config.eval_every = 5;
  CHECK_THROWS_WITH_AS(check_config(config), doctest::Contains("eval_every: expected eval_data"), ConfigError);
  config.eval_data = "e";
  CHECK_NOTHROW(check_config(config));
  config.device = "gpu";
  CHECK_THROWS_WITH_AS(check_config(config), doctest::Contains("device: expected auto"), ConfigError);
}

TEST_CASE("checkpoint is another way to write two memory policies") {
  RunConfig config;
  read_config_text("checkpoint = true", "run.toml", config);
  CHECK(config.memory_policy == "checkpoint");
  read_config_text("checkpoint = false", "run.toml", config);
  CHECK(config.memory_policy == "save");
  set_argument(config, "checkpoint=true");
  CHECK(config.memory_policy == "checkpoint");
  CHECK(to_toml(config).find("\ncheckpoint =") == std::string::npos);
  CHECK(error_of("checkpoint = 3") ==
        "run.toml:1: memory_policy: expected one of save, recompute_cheap, checkpoint, auto, got 3");
}
