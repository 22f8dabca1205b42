#include "experiments/scoring/predictions.hpp"

#include <doctest/doctest.h>

#include "backends/error.hpp"
#include "test/experiments/temporary_file.hpp"

using namespace osteon;
using namespace osteon::scoring;

TEST_CASE("predictions: what is written is read back, and nothing is there before the end") {
  const TemporaryFile folder("x");
  const auto file = folder.path().parent_path() / "predictions.jsonl";
  const std::vector<Prediction> written = {
      {.id = "a", .prompt_hash = prompt_hash("p"), .prompt = "p\n", .prediction = "1 \"é\"", .references = {"1", "2"}},
      {.id = "b",
       .prompt_hash = "",
       .prompt = {},
       .prediction = "",
       .references = {},
       .score = 1,
       .log_likelihoods = {-0.1, -2.5e-17},
       .scores = {{"official", 0}}}};
  LineWriter writer(file);
  for (const Prediction& one : written)
    writer.add(one);
  CHECK_FALSE(std::filesystem::exists(file));
  writer.commit();
  CHECK(read_predictions(file) == written);
  CHECK(prompt_hash("p") != prompt_hash("q"));
}

TEST_CASE("predictions: bytes that are no UTF-8 are written as U+FFFD") {
  const TemporaryFile folder("x");
  const auto file = folder.path().parent_path() / "predictions.jsonl";
  LineWriter writer(file);
  writer.add(Prediction{.id = "a", .prompt_hash = "", .prompt = {}, .prediction = "x\xFFy", .references = {}});
  writer.commit();
  CHECK(read_predictions(file)[0].prediction == "x\uFFFDy");
}

TEST_CASE("predictions: a place that cannot be written is refused before the first item") {
  CHECK_THROWS_WITH_AS(LineWriter("no/such/folder/p.jsonl"), doctest::Contains("no/such/folder/p.jsonl"), FileError);
}

TEST_CASE("predictions: a bad line is named") {
  const auto refused = [](const char* content, const char* expected) {
    const TemporaryFile file("p.jsonl", content);
    CHECK_THROWS_WITH_AS(read_predictions(file.path()), doctest::Contains(expected), FileError);
  };
  const std::string good = R"({"id": "a", "prediction": ""})";
  refused((good + "\n\n{\"id\":").c_str(), "p.jsonl:3: expected a JSON object, got malformed text");
  refused((good + "\n[1]\n").c_str(), "p.jsonl:2: expected a JSON object, got array");
  refused(R"({"id": "a"})", "p.jsonl:1: prediction: expected a value, got none");
  refused(R"({"id": 1, "prediction": ""})", "p.jsonl:1: id: expected a string, got 1");
  refused(R"({"id": "a", "prediction": "", "log_likelihoods": [0, "x"]})", "log_likelihoods[1]: expected a number");
  refused((good + "\n" + good).c_str(), "expected every id once, got \"a\" twice");
  refused("", "expected at least one item, got an empty file");
  refused("\x1F\x8B\x08", "p.jsonl:1: expected UTF-8 text, got other bytes (is it compressed?)");
}

TEST_CASE("predictions: HumanEval's completions end at its stop sequences and keep their samples") {
  CHECK(before_stops("    return 1\n\ndef g():\n", kHumanEvalStops) == "    return 1\n");
  CHECK(before_stops("    x = 1\n    # inside\n    if x:\n        print(x)\n", kHumanEvalStops) ==
        "    x = 1\n    # inside\n    if x:\n        print(x)\n");
  CHECK(before_stops("  a\nprint(1)\nclass B", kHumanEvalStops) == "  a");
  CHECK(before_stops("", kHumanEvalStops).empty());
  const TemporaryFile folder("x");
  const auto file = folder.path().parent_path() / "samples.jsonl";
  const std::vector<Completion> samples = {{"HumanEval/0", "  a\n"}, {"HumanEval/0", "  b\n"}, {"HumanEval/1", ""}};
  LineWriter writer(file);
  for (const Completion& sample : samples)
    writer.add(sample);
  writer.commit();
  CHECK(read_completions(file) == samples);
}
