#include "experiments/scoring/run_task.hpp"

#include <cmath>
#include <doctest/doctest.h>

#include "backends/error.hpp"
#include "experiments/scoring/bleu.hpp"
#include "nn/generate.hpp"
#include "nn/llama.hpp"
#include "test/experiments/byte_text.hpp"
#include "test/experiments/temporary_file.hpp"
#include "test/paths.hpp"

using namespace osteon;
using namespace osteon::scoring;
using doctest::Approx;

namespace {

/// A random model of bytes with special tokens above.
const nn::Llama& model() {
  static const auto made = [] {
    nn::LlamaConfig config;
    config.vocab_size = 260;
    config.hidden_size = 16;
    config.intermediate_size = 24;
    config.num_hidden_layers = 2;
    config.num_attention_heads = 2;
    config.num_key_value_heads = 1;
    config.head_dim = 8;
    config.max_position_embeddings = 48;
    config.initializer_range = 0.4;
    auto llama = std::make_unique<nn::Llama>(config, DType::f32);
    llama->initialize(3);
    llama->set_requires_grad(false);
    return llama;
  }();
  return *made;
}

Prediction answered(const RealTask& task, std::size_t item, std::string text) {
  Prediction prediction;
  prediction.id = task.items[item].id;
  prediction.prediction = std::move(text);
  prediction.references = task.items[item].references;
  return prediction;
}

}  // namespace

TEST_CASE("real tasks: the likelihood of a choice is that of its tokens, one after the other") {
  const ByteText plain, with_ends({.bos = 256, .eos = 257, .pad = {}, .add_bos = true});
  for (const ByteText* tokenizer : {&plain, &with_ends}) {
    const std::vector<std::string> choices = {" yes", " no", "x"};
    const std::vector<double> sums = choice_log_likelihoods(model(), *tokenizer, "Is it?", choices);
    REQUIRE(sums.size() == choices.size());
    for (std::size_t c = 0; c < choices.size(); ++c) {
      std::vector<std::int32_t> ids = tokenizer->encode("Is it?");
      if (tokenizer->special().add_bos)
        ids.insert(ids.begin(), 256);
      double expected = 0;
      for (const char byte : choices[c]) {
        const auto input = nn::token_input(ids, 1, static_cast<std::int64_t>(ids.size()));
        const std::vector<double> logits = model().last_logits(input).to_doubles();
        double sum = 0;
        for (const double logit : logits)
          sum += std::exp(logit);
        expected += logits[static_cast<std::size_t>(byte)] - std::log(sum);
        ids.push_back(byte);
      }
      CHECK(sums[c] == Approx(expected).epsilon(1e-5));
    }
  }
  const std::vector<std::string> long_choice = {std::string(50, 'a')};
  CHECK(choice_log_likelihoods(model(), plain, "Is it?", long_choice).empty());
}

TEST_CASE("real tasks: a text is greedy decoding's, up to a stop, an end token, or the last position") {
  const ByteText tokenizer;
  const std::vector<std::int32_t> prompt = tokenizer.encode("Once");
  nn::GenerateOptions options;
  options.max_new_tokens = 44;
  const std::vector<std::int32_t> ids = nn::generate(model(), prompt, options);
  const Continuation whole = continue_text(model(), tokenizer, "Once", {}, {}, 1000);
  CHECK(whole.tokens == 44);  // 48 positions, 4 of them the prompt's
  CHECK_FALSE(whole.too_long);
  CHECK(continue_text(model(), tokenizer, "Once", {}, {}, 7).tokens == 7);

  // The fourth token as the end: the text has three.
  const std::vector<std::int32_t> ends = {ids[3]};
  const auto first = static_cast<std::int64_t>(std::find(ids.begin(), ids.end(), ids[3]) - ids.begin());
  CHECK(continue_text(model(), tokenizer, "Once", {}, ends, 1000).tokens == first + 1);

  const std::string stop_text = whole.text.substr(0, 2);
  const std::vector<std::string_view> stops = {stop_text};
  const Continuation stopped = continue_text(model(), tokenizer, "Once", stops, {}, 1000);
  CHECK(stopped.text.empty());
  CHECK(stopped.tokens < whole.tokens);
  CHECK(continue_text(model(), tokenizer, std::string(48, 'a'), {}, {}, 5).too_long);
}

TEST_CASE("real tasks: gsm8k asks with the template and counts each rule") {
  const TemporaryFile file("t.jsonl",
                           "{\"question\": \"1+1?\", \"answer\": \"It is 2.\\n#### 2\"}\n"
                           "{\"question\": \"A lot?\", \"answer\": \"#### 1,000\"}\n"
                           "{\"question\": \"None?\", \"answer\": \"#### 0\"}\n");
  const RealTask task = open_real_task("gsm8k", file.path(), "auto", 0);
  REQUIRE(task.items.size() == 3);
  CHECK(task.items[1].id == "gsm8k:2");
  CHECK(task.items[0].prompt.ends_with("### Instruction:\n1+1?\n\n### Response: Let's think step by step."));
  CHECK(open_real_task("gsm8k", file.path(), "none", 2).items[0].prompt == "1+1?");
  CHECK(open_real_task("gsm8k", file.path(), "none", 2).items.size() == 2);
  const TaskResult result = run_task(model(), ByteText(), open_real_task("gsm8k", file.path(), "none", 0),
                                     {.stop_ids = {}, .max_new_tokens = 5});
  REQUIRE(result.predictions.size() == 3);
  CHECK(result.generated_tokens == 15);
  CHECK(result.metrics[0].first == "accuracy");
  CHECK(result.predictions[0].scores.size() == 2);
}

TEST_CASE("real tasks: e2e gathers an MR's references; its metrics are the corpus'") {
  const TemporaryFile file("t.txt", "a : b||One text . \nc : d||Two .\na : b||Another text .\n");
  const RealTask task = open_real_task("e2e", file.path(), "auto", 0);
  REQUIRE(task.items.size() == 2);
  CHECK(task.items[0].prompt == "a : b||");
  CHECK(task.items[0].references == std::vector<std::string>{"One text .", "Another text ."});
  const Metrics right = task_metrics(task, {answered(task, 0, "Another text ."), answered(task, 1, "Two .")});
  CHECK(right[3].first == "rouge_l");
  CHECK(*right[3].second == Approx(1));
  CHECK(*right[4].second == Approx(1));
}

TEST_CASE("real tasks: every text has scores of its own, ROUGE-L's mean is the corpus'") {
  const TemporaryFile file("t.txt", "a : b||One text .\nc : d||Two longer texts .\na : b||Another text .\n");
  const RealTask task = open_real_task("e2e", file.path(), "auto", 0);
  const TaskResult result = run_task(model(), ByteText(), task, {.max_new_tokens = 6});
  REQUIRE(result.predictions.size() == 2);
  for (const std::size_t metric : {3, 4}) {
    const std::string& name = result.metrics[metric].first;
    CHECK((result.predictions[0].scores.at(name) + result.predictions[1].scores.at(name)) / 2 ==
          Approx(*result.metrics[metric].second));
  }
  const Candidate alone{result.predictions[1].prediction, task.items[1].references};
  CHECK(result.predictions[1].scores.at("bleu") == corpus_bleu(std::span(&alone, 1), kMtevalBleu).score);
}

TEST_CASE("real tasks: webnlg and humaneval are read as they are published") {
  const TemporaryFile webnlg("t.json", R"({"entries": [{"1": {"modifiedtripleset": [
      {"subject": "A", "property": "is", "object": "B"}, {"subject": "A", "property": "has", "object": "C"}],
      "lexicalisations": [{"lex": "A is B ."}, {"lex": "B is A ."}]}}]})");
  const RealTask task = open_real_task("webnlg", webnlg.path(), "auto", 0);
  CHECK(task.items[0].prompt == "A : is : B | A : has : C||");
  CHECK(task.items[0].references.size() == 2);
  const TemporaryFile bad("t.json", R"({"entries": [{"1": {"modifiedtripleset": []}}]})");
  CHECK_THROWS_WITH_AS(open_real_task("webnlg", bad.path(), "auto", 0),
                       doctest::Contains("t.json: entry 1: expected modifiedtripleset and lexicalisations"), FileError);
  const TemporaryFile code("t.jsonl",
                           R"({"task_id": "HumanEval/0", "prompt": "def f():\n", "canonical_solution": "x"})");
  const RealTask human = open_real_task("humaneval", code.path(), "auto", 0);
  CHECK(human.items[0].id == "HumanEval/0");
  CHECK(human.stops.size() == 5);
  CHECK(task_metrics(human, {answered(human, 0, "  return 1")}).empty());
}

TEST_CASE("real tasks: glue answers by the likelier choice, sts-b by the mean of the scale") {
  const TemporaryFile file("t.tsv", "sentence\tlabel\nfine\t1\nbad\t0\nso so\t0\n");
  const RealTask task = open_real_task("glue:sst2", file.path(), "auto", 0);
  const TaskResult short_result = run_task(model(), ByteText(), task, {});
  CHECK(short_result.too_long == 3);  // 48 positions are too few for the question
  CHECK(*short_result.metrics[0].second == 0);
  const Metrics metrics = task_metrics(
      task, {answered(task, 0, " positive"), answered(task, 1, " positive"), answered(task, 2, " negative")});
  CHECK(metrics[0].first == "accuracy");
  CHECK(*metrics[0].second == Approx(2.0 / 3));
  CHECK(*metrics[1].second == Approx(2.0 / 3));

  RealTask similar{.name = "glue:stsb", .kind = TaskKind::glue};
  similar.items = {{"a", "A?", {}, {" 0", " 1"}, 0}, {"b", "Be?", {}, {" 0", " 1"}, 1}};
  const TaskResult result = run_task(model(), ByteText(), similar, {});
  const Prediction& one = result.predictions[0];
  CHECK(one.scores.at("expected") == Approx(1 / (1 + std::exp(one.log_likelihoods[0] - one.log_likelihoods[1]))));
  CHECK(result.metrics[0].first == "pearson");
  CHECK(std::abs(*result.metrics[0].second) == Approx(1));  // two items lie on a line
}

TEST_CASE("real tasks: math compares boxed answers") {
  const TemporaryFile file("t.jsonl", R"({"problem": "half?", "solution": "So \\boxed{\\frac12}."})");
  const RealTask task = open_real_task("math", file.path(), "none", 0);
  CHECK(task.items[0].prompt == "half?");
  CHECK(task.items[0].references[0] == "So \\boxed{\\frac12}.");
}

TEST_CASE("real tasks: a run can be ended between items") {
  RealTask task{.name = "e2e", .kind = TaskKind::text};
  task.max_new_tokens = 3;
  task.items = {{"a", "A", {"x"}, {}, 0}, {"b", "B", {"y"}, {}, 0}};
  std::string seen;
  TaskOptions options;
  options.on_item = [&](const Prediction& prediction) {
    seen += prediction.id;
    return false;
  };
  CHECK(run_task(model(), ByteText(), task, options).predictions.size() == 1);
  CHECK(seen == "a");
}

TEST_CASE("real tasks: wrong names and files are errors that name them") {
  const TemporaryFile file("t.jsonl", "{\"question\": \"a\"}\n");
  CHECK_THROWS_WITH_AS(
      open_real_task("gsm9k", file.path(), "auto", 0),
      doctest::Contains("--task: expected gsm8k, math, e2e, webnlg, humaneval or glue:NAME, got 'gsm9k'"), ConfigError);
  CHECK_THROWS_WITH_AS(open_real_task("gsm8k", file.path(), "auto", 0),
                       doctest::Contains("t.jsonl:1: answer: expected a string, got none"), FileError);
  const TemporaryFile none("t.jsonl", "{\"question\": \"a\", \"answer\": \"who knows\"}\n");
  CHECK_THROWS_WITH_AS(open_real_task("gsm8k", none.path(), "auto", 0),
                       doctest::Contains("t.jsonl:1: answer: expected a number, got \"who knows\""), FileError);
  CHECK_THROWS_WITH_AS(open_real_task("e2e", none.path(), "auto", 0),
                       doctest::Contains("expected MR||reference lines, got other data"), FileError);
}

TEST_CASE("real tasks: the published files, where they are") {
  const auto data = test::shared();
  if (!data || !std::filesystem::exists(*data / "data/gsm8k"))
    return;
  CHECK(open_real_task("gsm8k", *data / "data/gsm8k/test.jsonl", "auto", 0).items.size() == 1319);
  CHECK(open_real_task("webnlg", *data / "data/webnlg-dart/webnlg2017-dev.json", "auto", 0).items.size() == 872);
  const RealTask e2e = open_real_task("e2e", *data / "data/e2e-nlg/test.txt", "auto", 0);
  std::size_t references = 0;
  for (const TaskItem& item : e2e.items)
    references += item.references.size();
  CHECK(references == 4693);
  CHECK(e2e.items.size() == 630);  // as the challenge counts its test set
}
