#include "experiments/config/adapter_options.hpp"

#include <doctest/doctest.h>

#include "backends/error.hpp"
#include "peft/methods.hpp"

using namespace osteon;
using namespace osteon::experiments;

namespace {

RunConfig filled(const std::string& method, const std::string& init = "true", bool rslora = false) {
  RunConfig config;
  config.method = method;
  config.init_weights = init;
  config.use_rslora = rslora;
  fill_adapter_defaults(config);
  return config;
}

}  // namespace

TEST_CASE("every method has defaults, and its configuration is one that it accepts") {
  for (const std::string& name : peft::method_names()) {
    CAPTURE(name);
    const RunConfig config = filled(name);
    CHECK(config.method == name);
    CHECK(config.rank.has_value() == peft::find_method(name).adapts_linears());
    CHECK(adapter_config(config).method == name);
    RunConfig again = config;
    fill_adapter_defaults(again);
    CHECK(again == config);
  }
}

TEST_CASE("rank and alpha left open") {
  CHECK(filled("bone").rank == 64);
  CHECK(filled("lora").rank == 8);
  CHECK(filled("lora").alpha == 8 * peft::find_method("lora").default_alpha_over_rank());
  RunConfig config;
  config.method = "lora";
  config.rank = 5;
  config.alpha = 3;
  fill_adapter_defaults(config);
  CHECK(config.rank == 5);
  CHECK(config.alpha == 3);
}

TEST_CASE("Hugging Face's ways to say another method") {
  CHECK(filled("bone", "bat").method == "bat");
  CHECK(filled("miss", "mini").method == "miss_mini");
  CHECK(filled("lora", "olora").method == "olora");
  CHECK(filled("lora", "pissa_niter_4").method == "pissa");
  CHECK(filled("lora", "pissa_niter_4").init_weights == "pissa_niter_4");
  CHECK(filled("lora", "true", true).method == "rslora");
  CHECK(filled("lora", "gaussian", true).init_weights == "gaussian");
}

TEST_CASE("adapter keys reach the peft layer") {
  RunConfig config;
  config.model = "m";
  config.method = "lora";
  config.rank = 3;
  config.alpha = 6;
  config.dropout = 0.5;
  config.init_weights = "gaussian";
  config.mini_r = 2;
  config.tile_rows = 5;
  config.tile_columns = 7;
  config.loraplus_lr_ratio = 4;
  config.bias = "all";
  config.adapter_dtype = "bf16";
  config.seed = 9;
  config.exclude_modules = {{"o_proj"}, ""};
  config.rank_pattern = {{"q_proj", 1}};
  config.alpha_pattern = {{"q_proj", 2}};
  config.modules_to_save = {"lm_head"};
  config.train_parts = {"ln"};
  peft::AdapterConfig made = adapter_config(config);
  CHECK(made.rank == 3);
  CHECK(made.alpha == 6);
  CHECK(made.dropout == 0.5);
  CHECK(made.init == "gaussian");
  CHECK(made.mini_rank == 2);
  CHECK(made.tile_rows == 5);
  CHECK(made.tile_columns == 7);
  CHECK(made.learning_rate_ratio == 4);
  CHECK(made.bias == "all");
  CHECK(made.dtype == DType::bf16);
  CHECK(made.seed == 9);
  CHECK(made.target_modules == std::vector<std::string>{"all-linear"});
  CHECK(made.target_is_pattern);
  CHECK(made.exclude_modules == std::vector<std::string>{"o_proj"});
  CHECK(!made.exclude_is_pattern);
  CHECK(made.rank_pattern == config.rank_pattern);
  CHECK(made.alpha_pattern == config.alpha_pattern);
  CHECK(made.modules_to_save == config.modules_to_save);
  CHECK(made.train_parts == config.train_parts);
  CHECK(made.base_model_name_or_path == "m");
  config.target_modules = {{"q_proj", "v_proj"}, ""};
  config.layers_to_transform = {1};
  config.layers_pattern = {"layers"};
  made = adapter_config(config);
  CHECK(made.target_modules == config.target_modules.names);
  CHECK(!made.target_is_pattern);
  CHECK(made.layers_to_transform == config.layers_to_transform);
  CHECK(made.layers_pattern == std::vector<std::string>{"layers"});
}

TEST_CASE("keys that a method has no use for are found, and no others") {
  using Keys = std::vector<std::string>;
  const auto unused = [](RunConfig config) {
    fill_adapter_defaults(config);
    return unused_keys(config);
  };
  RunConfig given;
  given.rank = 4;
  given.alpha = 9;
  given.alpha_pattern = {{"q_proj", 2}};
  given.mini_r = 2;
  given.loraplus_lr_ratio = 4;
  given.dropout = 0.1;
  const auto with = [&](const std::string& method) {
    RunConfig config = given;
    config.method = method;
    return unused(config);
  };
  CHECK(with("lora") == Keys{"mini_r", "loraplus_lr_ratio"});
  CHECK(with("lora_plus") == Keys{"mini_r"});
  CHECK(with("bone") == Keys{"alpha", "alpha_pattern", "mini_r", "loraplus_lr_ratio"});
  CHECK(with("miss_mini") == Keys{"alpha", "alpha_pattern", "loraplus_lr_ratio"});
  given.tile_rows = given.tile_columns = 2;
  given.dropout = 0;  // bat_tile refuses any
  CHECK(with("lora_plus") == Keys{"mini_r", "tile_rows", "tile_columns"});
  CHECK(with("bat_tile") == Keys{"alpha", "alpha_pattern", "mini_r", "loraplus_lr_ratio"});
  given.tile_rows = given.tile_columns = 1;
  given.dropout = 0.1;
  CHECK(with("full") == Keys{"rank", "dropout", "alpha", "alpha_pattern", "mini_r", "loraplus_lr_ratio"});
  for (const std::string& method : peft::method_names()) {
    CAPTURE(method);
    CHECK(unused(filled(method)).empty());
  }
}

TEST_CASE("what the methods refuse") {
  CHECK_THROWS_WITH_AS(filled("bnoe"), doctest::Contains("did you mean 'bone'?"), ConfigError);
  CHECK_THROWS_WITH_AS(filled("bone", "gaussian"), doctest::Contains("init_weights: expected true or false"),
                       ConfigError);
  CHECK_THROWS_AS(filled("lora", "bat"), ConfigError);
  CHECK_THROWS_WITH_AS(filled("bone", "true", true), "use_rslora: expected the method lora, got bone", ConfigError);
  CHECK_THROWS_AS(dtype_named("f16"), ConfigError);
}
