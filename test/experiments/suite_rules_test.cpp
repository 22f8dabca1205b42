#include "experiments/sweep/suite_rules.hpp"

#include <doctest/doctest.h>

#include "backends/error.hpp"
#include "test/experiments/suite_text.hpp"

using namespace osteon;
using namespace osteon::experiments;
using osteon::test::error_of;
using osteon::test::ids;
using osteon::test::kBase;
using Strings = std::vector<std::string>;

namespace {

std::string set_error(const Suite& suite, std::string_view argument) {
  Suite copy = suite;
  try {
    set_in_suite(copy, argument);
  } catch (const ConfigError& error) {
    return error.what();
  }
  return "no error";
}

}  // namespace

TEST_CASE("--set reaches every cell, but no axis and no swept key") {
  Suite suite = parse_suite(
      "seeds = [1]\n" + kBase + "[axes]\nmethod = [\"lora\", \"bone\"]\n[sweep]\nlr = [1]\nseed = 9\n", "s.toml");
  set_in_suite(suite, "steps=3");
  set_in_suite(suite, "seeds=4,5");
  CHECK(suite.cells[1].config.steps == 3);
  CHECK(suite.seeds == std::vector<std::int64_t>{4, 5});
  CHECK(set_error(suite, "method=bat") == "--set method=bat: method is an axis of the suite");
  Suite fixed = suite;
  set_in_suite(fixed, "lr=0.5");
  CHECK_FALSE(fixed.sweep);
  CHECK(fixed.cells[0].config.lr == 0.5);
  CHECK(set_error(suite, "out=x") == "--set out=x: `osteon ablate` sets out for each run");
  CHECK(set_error(suite, "seeds=1,x") ==
        "--set seeds=1,x: expected whole numbers of at least 0, such as seeds=1,2,3, got \"x\"");
  CHECK(set_error(suite, "seed=1").find("expected seeds=") != std::string::npos);
  CHECK(set_error(suite, "seeds=9").find("expected seeds other than the sweep's, 9") != std::string::npos);
  CHECK(set_error(suite, "setps=1") == "--set setps=1: unknown key 'setps'; did you mean 'steps'?");
  CHECK(set_error(suite, "steps") == "--set: expected key=value, got \"steps\"");
}

TEST_CASE("[zip] walks lists of equal length together, and combines with cases and axes") {
  const Suite suite = parse_suite(kBase + R"([zip]
rank  = [4, 8]
steps = [10, 20]
[axes]
method = ["lora", "bone"]
)",
                                  "s.toml");
  CHECK(ids(suite.cells) == Strings{"4-10-lora", "4-10-bone", "8-20-lora", "8-20-bone"});
  CHECK(suite.cells[2].config.rank == 8);
  CHECK(suite.cells[2].config.steps == 20);
  CHECK(set_error(suite, "steps=3") == "--set steps=3: steps is an axis of the suite");
  CHECK(error_of("[zip]\nrank = [1, 2]\nsteps = [1]") ==
        "s.toml:6: zip.steps: expected 2 values, as many as rank has, got 1");
  CHECK(error_of("[zip]\nrank = []") == "s.toml:5: zip.rank: expected a list that is not empty, got an empty one");
  CHECK(error_of("[zip]\nrank = [1]\n[axes]\nrank = [2]") == "s.toml:7: axes.rank: a case or [zip] sets it too");
  CHECK(error_of("[[cases]]\nrank = 1\n[zip]\nrank = [1]") == "s.toml:7: zip.rank: a case sets it too");
}

TEST_CASE("a rule of fairness that contradicts itself or the cells names its line") {
  const std::string axes = "[axes]\nmethod = [\"lora\", \"bone\"]\n[fairness]\n";  // lines 4 to 6
  const auto rule = [&](const std::string& text) { return error_of(axes + text); };
  CHECK(rule("equal = \"memory\"\nreference = \"lroa\"") ==
        "s.toml:8: fairness.reference: expected the method or the name of a case, got \"lroa\"; did you mean 'lora'?");
  CHECK(rule("equal = \"memory\"\nreference = \"lora\"\nexcept = [\"lora\"]") ==
        "s.toml:8: fairness.reference: lora is excepted from the rule");
  CHECK(rule("equal = \"memory\"\nsolve = \"rank\"") ==
        "s.toml:8: fairness.solve: expected a reference beside it, such as reference = \"lora\"");
  CHECK(rule("equal = \"memory\"\nreference = \"lora\"\nsolve = \"lr\"") ==
        "s.toml:9: fairness.solve: expected a key that is a whole number, such as rank, got lr");
  CHECK(rule("tolerance = 0.1") ==
        "s.toml:7: fairness: expected equal = \"parameters\", \"memory\", \"time\" or \"flops\", got none");
  const std::string solve = "equal = \"flops\"\nreference = \"lora\"\nsolve = \"rank\"\n";
  CHECK(rule(solve) == "no error");
  CHECK(rule(solve + "[for.method.bone]\nrank = 8") ==
        "s.toml:11: rank: fairness solves for it, so that only the reference lora can be given one");
  CHECK(rule(solve + "[for.method.lora]\nrank = 8") == "no error");
  CHECK(rule(solve + "[sweep]\nrank = [1]\nseed = 9") == "s.toml:9: fairness.solve: rank is swept too");
  CHECK(error_of("[axes]\nrank = [1, 2]\nmethod = [\"lora\", \"bone\"]\n[fairness]\n" + solve) ==
        "s.toml:10: fairness.solve: rank is an axis too");
}

TEST_CASE("--set section.key=value takes the place of a list of the suite, in [quick] too") {
  const std::string text = kBase + "[axes]\nmethod = [\"lora\"]\nrank = [1]\n[quick.axes]\nrank = [2]\n";
  CHECK(ids(parse_suite(text, "s.toml", false, {"axes.rank=[16, 32]"}).cells) == Strings{"lora-16", "lora-32"});
  CHECK(ids(parse_suite(text, "s.toml", true, {"axes.rank=[16]"}).cells) == Strings{"lora-16"});
  CHECK_THROWS_WITH_AS(parse_suite(text, "s.toml", false, {"axes.rank=[0]"}),
                       "s.toml:6: rank: expected an integer of at least 1, got 0", ConfigError);
  CHECK_THROWS_WITH_AS(parse_suite(text, "s.toml", false, {"axes.steps=[1]"}),
                       "--set axes.steps=[1]: s.toml has no axes.steps", ConfigError);
  CHECK_THROWS_WITH_AS(parse_suite(text, "s.toml", false, {"axes.rank=[1"}), doctest::Contains("--set axes.rank=[1: "),
                       ConfigError);
}

TEST_CASE("--only keeps cells by name") {
  Suite suite = parse_suite(kBase + "[axes]\nmethod = [\"lora\", \"bone\", \"bat\"]\n", "s.toml");
  CHECK_THROWS_WITH_AS(keep_cells(suite, {"boen"}), "--only: s has no cell 'boen'; did you mean 'bone'?", ConfigError);
  keep_cells(suite, {"bat", "lora"});
  CHECK(ids(suite.cells) == Strings{"lora", "bat"});
}
