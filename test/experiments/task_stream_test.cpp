#include "experiments/tasks/task_stream.hpp"

#include <doctest/doctest.h>
#include <map>
#include <regex>
#include <set>

#include "backends/error.hpp"
#include "test/experiments/byte_text.hpp"
#include "test/experiments/solve_task.hpp"

using namespace osteon;
using namespace osteon::experiments;

TEST_CASE("held-out prompts are fixed, distinct, and never drawn in training") {
  const ByteText tokenizer;
  for (const std::string& name : task_names()) {
    CAPTURE(name);
    const auto task = make_task(name);
    const HeldOut held = held_out(*task), again = held_out(*task);
    CHECK(held.validation.size() == kValidationItems);
    CHECK(held.test.size() == kTestItems);
    CHECK(held.prompts.size() == kValidationItems + kTestItems);  // so no prompt comes twice, in either
    CHECK(held.test == again.test);
    CHECK(held.validation == again.validation);
    const TaskStream stream(make_task(name), tokenizer, {.seed = 1});
    std::set<std::string> drawn;
    for (std::int64_t i = 0; i < 5000; ++i) {
      const Item item = stream.item(i);
      REQUIRE(!held.holds(item));
      drawn.insert(item.prompt);
    }
    // The check above can fail: without it a twentieth or more of the small tasks' draws would be held out.
    if (name == "sub") {
      Draw draw({9, 9});
      int hits = 0;
      for (int i = 0; i < 5000; ++i)
        hits += held.holds(task->sample(draw)) ? 1 : 0;
      CHECK(hits > 100);
    }
    CHECK(drawn.size() > 1000);
  }
}

TEST_CASE("items become rows whose loss counts the answer and its newline") {
  const ByteText tokenizer;
  const Example example = encode_item({"2+3=", "5"}, tokenizer);
  CHECK(tokenizer.decode(example.ids) == "\n2+3=5\n");
  CHECK(example.labels == std::vector<std::int32_t>{-100, -100, -100, -100, -100, '5', '\n'});
  const std::vector<Item> items{{"2+3=", "5"}, {"20+30=", "50"}, {"1+1=", "2"}};
  const auto batches = item_batches(items, tokenizer, 2, 12);
  REQUIRE(batches.size() == 2);
  CHECK(batches[0].seq_len == 12);
  CHECK(batches[1].batch_size == 1);
  CHECK(loss_tokens(batches[0]) == 2 + 3);
  CHECK(item_batches(items, tokenizer, 3)[0].seq_len == 10);
}

TEST_CASE("exact_match wants every token of the answer and its newline") {
  const ByteText tokenizer;
  const std::vector<Item> items{{"2+3=", "5"}, {"2+30=", "32"}};
  const TokenBatch batch = item_batches(items, tokenizer, 2)[0];
  std::vector<std::int32_t> predicted(batch.input_ids.begin() + 1, batch.input_ids.end());  // the next token everywhere
  predicted.push_back(0);
  CHECK(exact_match(batch, predicted) == std::vector<bool>{true, true});
  auto wrong = predicted;
  wrong[0] = 'x';  // the prompt does not count
  CHECK(exact_match(batch, wrong) == std::vector<bool>{true, true});
  wrong[4] = '6';  // the 5 of the first row
  CHECK(exact_match(batch, wrong) == std::vector<bool>{false, true});
  wrong = predicted;
  wrong[static_cast<std::size_t>(batch.seq_len) + 7] = ' ';  // the closing newline of the second
  CHECK(exact_match(batch, wrong) == std::vector<bool>{true, false});
  CHECK_THROWS_AS(exact_match(batch, std::vector<std::int32_t>(3)), ShapeError);
  const std::vector<Example> unlabelled{{{1, 2}, {-100, -100}}};
  CHECK(exact_match(pad_batch(unlabelled, 0), std::vector<std::int32_t>{2, 0}) == std::vector<bool>{false});
}

TEST_CASE("a task's stream: one shape, fresh items, the same for a seed, restored exactly") {
  const ByteText tokenizer;
  const auto stream_of = [&](std::int64_t seed) {
    return TaskStream(make_task("down"), tokenizer, {.batch_size = 4, .accumulate = 2, .seed = seed});
  };
  TaskStream a = stream_of(1), b = stream_of(1), c = stream_of(2);
  const StepData first = a.next(), same = b.next(), other = c.next();
  CHECK(a.steps_in(1) == 0);
  REQUIRE(first.batches.size() == 2);
  CHECK(first.batches[0].batch_size == 4);
  CHECK(first.batches[0].seq_len == 24);
  CHECK(first.sample_ids == std::vector<std::int64_t>{0, 1, 2, 3, 4, 5, 6, 7});
  CHECK(first.batches == same.batches);
  CHECK(first.batches[0].input_ids != other.batches[0].input_ids);
  CHECK(a.item(0).prompt != a.item(1).prompt);
  TaskStream resumed = stream_of(1);
  resumed.restore(a.state());
  CHECK(resumed.next().batches == a.next().batches);
  CHECK(resumed.state() == a.state());
  CHECK(resumed.hash().text() == a.hash().text());
}

TEST_CASE("rows of the mixture: a newline, then whole items, cut at the end; skills by weight") {
  const ByteText tokenizer;
  MixtureStream stream(tokenizer, {.batch_size = 24, .seq_len = 96, .seed = 1});
  std::map<std::string, int> counts;
  std::map<std::string, HeldOut> held;
  for (const std::string& name : skill_names())
    held[name] = held_out(*make_task(name));
  const std::regex word("([a-z]+) .*");
  int items = 0;
  for (std::int64_t r = 0; r < 1500; ++r) {
    const Example row = stream.row(r);
    REQUIRE(row.ids.size() == 96);
    REQUIRE(row.ids[0] == '\n');
    const std::string text = tokenizer.decode(row.ids);
    std::size_t at = 1;
    for (std::size_t end = text.find('\n', 1); end != std::string::npos; at = end + 1, end = text.find('\n', at)) {
      const std::string line = text.substr(at, end - at);
      std::size_t split = line.find(':') + 1;
      if (split == 0)
        split = line.find('=') + 1;
      const std::string prompt = line.substr(0, split);
      std::smatch m;
      std::string name = prompt.find('+') != std::string::npos ? "add" : "sub";
      if (std::regex_match(prompt, m, word))
        name = held.contains(m[1].str()) ? m[1].str() : "story";
      REQUIRE(line.substr(split) == solve(name, prompt));
      REQUIRE(!held[name].prompts.contains(prompt));
      for (std::size_t t = at; t <= end; ++t)
        REQUIRE(row.labels[t] == (t < at + split ? kIgnored : row.ids[t]));
      ++counts[name], ++items;
    }
  }
  const std::map<std::string, double> weights{{"add", 3}, {"sub", 3},  {"rev", 2},  {"copy", 1},
                                              {"up", 1},  {"sort", 1}, {"pick", 1}, {"story", 1}};
  for (const auto& [name, weight] : weights) {
    CAPTURE(name);
    CHECK(counts[name] ==
          doctest::Approx(items * weight / 13).epsilon(name == "story" ? 0.3 : 0.15));  // long items are cut more
  }
  const StepData step = stream.next();
  CHECK(step.batches[0].positions.empty());  // plain causal attention across the row
  CHECK(step.batches[0].key_range.empty());
  MixtureStream resumed(tokenizer, {.batch_size = 24, .seq_len = 96, .seed = 1});
  resumed.restore(stream.state());
  CHECK(resumed.next().batches == stream.next().batches);
  CHECK(resumed.state() == stream.state());
  CHECK(tokenizer.decode(stream.row(0).ids) ==
        "\n76+60=136\n91+52=143\n71-54=17\n34-17=17\n93+24=117\njim has 15 eggs and gets 9:15+9=24\ncopy biu:biu");
}
