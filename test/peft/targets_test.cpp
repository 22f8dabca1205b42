#include "peft/targets.hpp"

#include <doctest/doctest.h>

#include "test/nn/io_messages.hpp"
#include "test/peft/tiny_model.hpp"

namespace osteon::test {
namespace {

std::vector<std::string> linear_names() {
  const auto model = tiny_model();
  std::vector<std::string> names;
  for (const nn::Linear* linear : model->linears())
    names.push_back(linear->name());
  return names;
}

peft::AdapterConfig targeting(const std::vector<std::string>& modules, bool pattern = false) {
  peft::AdapterConfig config = tiny_adapter("lora");
  config.target_modules = modules;
  config.target_is_pattern = pattern;
  return config;
}

using Names = std::vector<std::string>;

TEST_CASE("targets: lists of names and suffixes, patterns, all-linear, exclusions, layers") {
  const Names linears = linear_names();
  const auto chosen = [&](const peft::AdapterConfig& config) { return peft::select_targets(config, linears); };
  const std::string q0 = "model.layers.0.self_attn.q_proj", q1 = "model.layers.1.self_attn.q_proj";
  CHECK(chosen(targeting({"q_proj"})) == Names{q0, q1});
  CHECK(chosen(targeting({"self_attn.q_proj"})) == Names{q0, q1});
  CHECK(chosen(targeting({q1})) == Names{q1});
  CHECK(chosen(targeting({"q_proj", "lm_head"})) == Names{q0, q1, "lm_head"});
  CHECK(chosen(targeting({R"(.*\.1\..*q_proj)"}, true)) == Names{q1});
  CHECK(chosen(targeting({"all-linear"}, true)).size() == 14);  // not the head
  CHECK(chosen(targeting({"ALL-LINEAR"}, true)).size() == 14);
  peft::AdapterConfig config = targeting({"q_proj", "v_proj"});
  config.exclude_modules = {"v_proj"};
  CHECK(chosen(config) == Names{q0, q1});
  config.exclude_modules = {R"(.*layers\.0.*)"};
  config.exclude_is_pattern = true;
  CHECK(chosen(config) == Names{q1, "model.layers.1.self_attn.v_proj"});
  config = targeting({"q_proj"});
  config.layers_to_transform = {1};
  CHECK(chosen(config) == Names{q1});
  config.layers_pattern = {"layers"};
  CHECK(chosen(config) == Names{q1});
  config.layers_pattern = {"blocks", "lay.rs"};  // several, as peft takes them; the first that fits counts
  CHECK(chosen(config) == Names{q1});
  config.layers_to_transform = {0, 1};
  CHECK(chosen(config) == Names{q0, q1});
  config = targeting({"q_proj", "lm_head"});
  config.modules_to_save = {"lm_head"};
  CHECK(chosen(config) == Names{q0, q1});
}

TEST_CASE("all-linear of chosen layers is a list of names, which peft can choose layers from") {
  const Names linears = linear_names();
  peft::AdapterConfig config = targeting({"all-linear"}, true);
  CHECK(peft::with_listed_targets(config, linears).target_is_pattern);
  config.layers_to_transform = {1};
  const peft::AdapterConfig listed = peft::with_listed_targets(config, linears);
  CHECK_FALSE(listed.target_is_pattern);
  CHECK(listed.target_modules.size() == 7);
  const Names chosen = peft::select_targets(listed, linears);
  CHECK(chosen.size() == 7);
  for (const std::string& name : chosen)
    CHECK(contains(name, ".1."));
}

TEST_CASE("a suffix is a whole part of the name") {
  const Names linears = linear_names();
  CHECK(
      contains(message_of([&] { peft::select_targets(targeting({"proj"}), linears); }), "no linear matches \"proj\""));
  CHECK(contains(message_of([&] { peft::select_targets(targeting({"q_proj"}, true), linears); }),
                 "no linear matches \"q_proj\""));  // a pattern must match the whole name
}

TEST_CASE("targets: errors say which case it is") {
  const Names linears = linear_names();
  const auto error = [&](const peft::AdapterConfig& config) {
    return message_of([&] { peft::select_targets(config, linears); });
  };
  CHECK(contains(error(targeting({})), "target_modules: expected names, a regular expression or \"all-linear\""));
  CHECK(contains(error(targeting({"q_porj"})), "no linear matches \"q_porj\""));
  CHECK(contains(error(targeting({"q_porj"})), "q_proj"));
  CHECK(
      contains(error(targeting({"(q_proj"}, true)), "target_modules: expected a regular expression, got \"(q_proj\""));
  peft::AdapterConfig config = targeting({"q_proj"});
  config.exclude_modules = {"q_proj"};
  CHECK(contains(error(config), "all matching modules are excluded by exclude_modules"));
  config.exclude_modules = {"[a"};
  config.exclude_is_pattern = true;
  CHECK(contains(error(config), "exclude_modules: expected a regular expression, got \"[a\""));
  config = targeting({".*q_proj"}, true);
  config.layers_to_transform = {0};
  CHECK(contains(error(config), "cannot be used with layers_to_transform"));
  config = targeting({"q_proj"});
  config.layers_to_transform = {5};
  CHECK(contains(error(config), "layers_to_transform: expected layers from 0 to 1, got 5"));
  config.layers_pattern = {"h"};
  CHECK(error(config) ==
        "layers_pattern: expected the name before a layer's number, as in \"model.layers.0.self_attn.q_proj\", got "
        "\"h\"");
}

TEST_CASE("a new adapter uses all that its config names; one from a folder may name more, as with peft") {
  const auto error = [](const peft::AdapterConfig& config, bool initialise) {
    const auto model = tiny_model();
    peft::PeftModel adapted(*model);
    return message_of([&] { adapted.add(config, "default", initialise); });
  };
  const auto refused = [&](const peft::AdapterConfig& config, const std::string& message) {
    CHECK(error(config, true) == message);
    CHECK(error(config, false) == "no error");
  };
  refused(targeting({"q_proj", "vproj"}), "target_modules: no linear matches \"vproj\"; did you mean 'v_proj'?");
  peft::AdapterConfig config = targeting({"q_proj", "v_proj"});
  config.layers_to_transform = {0, 2};
  refused(config, "layers_to_transform: expected layers from 0 to 1, got 2");
  config = targeting({"q_proj", "v_proj"});
  config.rank_pattern = {{"v_proj", 2}, {"k_proj", 2}};
  refused(config, "rank_pattern: no adapted linear matches \"k_proj\"; did you mean 'q_proj'?");
  config.rank_pattern.clear();
  config.alpha_pattern = {{R"(1\..*q_proj)", 2}, {"quer", 2}};
  refused(config, "alpha_pattern: no adapted linear matches \"quer\"");
}

TEST_CASE("rank and alpha patterns: the first match decides, on whole parts of the name") {
  peft::AdapterConfig config = tiny_adapter("lora");
  config.rank_pattern = {{"layers.1.self_attn.q_proj", 2}, {"q_proj", 3}};
  config.alpha_pattern = {{"v_proj", 12}};
  CHECK(config.for_module("model.layers.1.self_attn.q_proj").rank == 2);
  CHECK(config.for_module("model.layers.0.self_attn.q_proj").rank == 3);
  CHECK(config.for_module("model.layers.0.self_attn.v_proj").rank == 4);
  CHECK(config.for_module("model.layers.0.self_attn.v_proj").alpha == 12);
  CHECK(config.for_module("model.layers.0.self_attn.q_proj").alpha == 6);
  CHECK(config.for_module("model.layers.0.self_attn.eq_proj").rank == 4);
  const auto model = tiny_model();
  peft::PeftModel adapted(*model);
  peft::ModelAdapter& adapter = adapted.add(config);
  CHECK(adapter.modules.at("model.layers.1.self_attn.q_proj")->parameters()[0].second.dim(0) == 2);
  CHECK(adapter.modules.at("model.layers.0.self_attn.k_proj")->parameters()[0].second.dim(0) == 4);
}

TEST_CASE("configs that cannot be are refused before the model changes") {
  const auto error = [](const peft::AdapterConfig& config) {
    const auto model = tiny_model();
    const auto base = state_of(*model);
    peft::PeftModel adapted(*model);
    const std::string message = message_of([&] { adapted.add(config); });
    CHECK(adapted.adapter_names().empty());
    CHECK(state_of(*model) == base);
    return message;
  };
  for (const std::string& method : adapting_methods()) {
    peft::AdapterConfig config = tiny_adapter(method);
    config.rank = 0;
    CHECK(error(config) == method + ": rank: expected 1 to 16777216, got 0");
    config.rank = 4;
    config.rank_pattern = {{"down_proj", 0}};
    CHECK(contains(error(config), "rank: expected 1 to 16777216, got 0 (model.layers.0.mlp.down_proj)"));
    config = tiny_adapter(method);
    config.dropout = 1.0;
    CHECK(contains(error(config), method + ": dropout: expected "));
  }
  peft::AdapterConfig bat = tiny_adapter("bat");
  bat.rank = 8;  // divides 16 and 8, not 28
  CHECK(contains(error(bat), "expected multiples of rank, got rank 8 (model.layers.0.mlp.gate_proj)"));
  for (const std::string form : {"bat_product", "bat_hadamard", "bat_ab", "bat_tile"}) {
    peft::AdapterConfig other = tiny_adapter(form);
    other.rank = 8;
    CHECK(
        contains(error(other), form + ": in_features 16 and out_features 28: expected multiples of rank, got rank 8"));
  }
  peft::AdapterConfig tile = tiny_adapter("bat_tile");
  tile.tile_rows = 3;
  CHECK(contains(error(tile),
                 "bat_tile: tile_rows: expected a divisor of the 4 blocks of out_features, got 3 "
                 "(model.layers.0.self_attn.q_proj)"));
  tile.tile_rows = 1;
  tile.tile_columns = 3;
  CHECK(contains(error(tile), "bat_tile: tile_columns: expected a divisor of the 4 blocks of in_features, got 3"));
  tile.tile_columns = 0;
  CHECK(error(tile) == "bat_tile: tile_columns: expected at least 1, got 0");
  peft::AdapterConfig mini = tiny_adapter("miss_mini");
  mini.mini_rank = 5;
  CHECK(
      contains(error(mini), "mini_r: expected a divisor of out_features 16, got 5 (model.layers.0.self_attn.q_proj)"));
  peft::AdapterConfig unknown = tiny_adapter("bonne");
  CHECK(contains(error(unknown), "method: unknown method \"bonne\""));
  CHECK(contains(error(unknown), "bone"));
}

}  // namespace
}  // namespace osteon::test
