#include "experiments/data/loader.hpp"

#include <algorithm>
#include <doctest/doctest.h>
#include <numeric>

#include "backends/error.hpp"
#include "experiments/data/draw.hpp"

using namespace osteon;
using namespace osteon::experiments;

namespace {

/// Example i has 1 + i mod 5 tokens, all of id i.
std::vector<Example> numbered(std::int32_t count) {
  std::vector<Example> examples;
  for (std::int32_t i = 0; i < count; ++i) {
    const std::vector<std::int32_t> ids(static_cast<std::size_t>(1 + i % 5), i);
    examples.push_back({ids, ids});
  }
  return examples;
}

std::vector<std::int64_t> sorted(std::vector<std::int64_t> ids) {
  std::sort(ids.begin(), ids.end());
  return ids;
}

}  // namespace

TEST_CASE("an epoch gives every example once, in an order of its own") {
  for (const bool packing : {false, true}) {
    CAPTURE(packing);
    DataLoader loader(numbered(23), {.batch_size = 2, .accumulate = 3, .seq_len = 8, .packing = packing, .seed = 5});
    std::vector<std::int64_t> all(23), first, second;
    std::iota(all.begin(), all.end(), 0);
    while (loader.state().epoch == 0 && first.size() < 23)
      for (const std::int64_t id : loader.next().sample_ids)
        first.push_back(id);
    while (second.size() < 23)
      for (const std::int64_t id : loader.next().sample_ids)
        second.push_back(id);
    CHECK(sorted(first) == all);
    CHECK(sorted(second) == all);
    CHECK(first != second);
    CHECK(first != all);
  }
}

TEST_CASE("steps hold whole windows, the last of an epoch what is left") {
  DataLoader loader(numbered(8), {.batch_size = 2, .accumulate = 3, .shuffle = false});
  CHECK(loader.steps_in(1) == 2);
  CHECK(loader.steps_in(2.5) == 5);
  const StepData one = loader.next(), two = loader.next(), three = loader.next();
  CHECK(one.batches.size() == 3);
  CHECK(one.sample_ids == std::vector<std::int64_t>{0, 1, 2, 3, 4, 5});
  CHECK(one.batches[1].input_ids == std::vector<std::int32_t>{2, 2, 2, 0, 3, 3, 3, 3});  // padded to the longest
  CHECK(one.loss_tokens() == 0 + 1 + 2 + 3 + 4 + 0);
  CHECK(two.batches.size() == 1);
  CHECK(two.sample_ids == std::vector<std::int64_t>{6, 7});
  CHECK(three.sample_ids == one.sample_ids);  // not shuffled: the file's order again
  CHECK(loader.state().epoch == 1);
}

TEST_CASE("packed epochs count their own rows") {
  DataLoader loader(numbered(40), {.batch_size = 3, .seq_len = 7, .packing = true, .seed = 1});
  const std::int64_t steps = loader.steps_in(2);
  std::int64_t tokens = 0;
  for (std::int64_t i = 0; i < steps; ++i) {
    for (const TokenBatch& batch : loader.next().batches) {
      CHECK(batch.seq_len == 7);
      tokens += real_tokens(batch);
    }
  }
  CHECK(tokens == 2 * 8 * (1 + 2 + 3 + 4 + 5));
  CHECK(loader.state().epoch == 1);
  loader.next();
  CHECK(loader.state().epoch == 2);
}

TEST_CASE("the seed decides the stream, and a restored loader goes on as if it had not stopped") {
  for (const bool packing : {false, true}) {
    CAPTURE(packing);
    const LoaderOptions options{.batch_size = 2, .accumulate = 2, .seq_len = 6, .packing = packing, .seed = 3};
    LoaderOptions other = options;
    other.seed = 4;
    DataLoader a(numbered(17), options), b(numbered(17), options), c(numbered(17), other);
    for (int step = 0; step < 3; ++step)
      a.next(), b.next(), c.next();
    CHECK(a.hash().value() == b.hash().value());
    CHECK(a.hash().value() != c.hash().value());
    for (int stop = 0; stop < 12; ++stop) {  // across epochs, at their ends too
      const StreamState state = a.state();
      DataLoader resumed(numbered(17), options);
      resumed.restore(state);
      CHECK(resumed.state() == state);
      const StepData expected = a.next(), got = resumed.next();
      CHECK(expected.batches == got.batches);
      CHECK(expected.sample_ids == got.sample_ids);
      CHECK(a.state() == resumed.state());
    }
  }
}

TEST_CASE("what a loader refuses") {
  CHECK_THROWS_WITH_AS(DataLoader({}, {}), "data: expected at least one example, got none", ConfigError);
  CHECK_THROWS_AS(DataLoader(numbered(3), {.batch_size = 0}), ConfigError);
  CHECK_THROWS_AS(DataLoader(numbered(3), {.accumulate = 0}), ConfigError);
  CHECK_THROWS_AS(DataLoader(numbered(3), {.packing = true}), ConfigError);
  CHECK_THROWS_AS(DataLoader(numbered(9), {.seq_len = 4, .packing = true}), ShapeError);  // an example of 5 tokens
  DataLoader loader(numbered(3), {});
  CHECK_THROWS_WITH_AS(loader.restore({.epoch = 0, .position = 4}), doctest::Contains("has the data changed?"),
                       ConfigError);
}

TEST_CASE("evaluation batches keep the order and hold everything") {
  const auto batches = evaluation_batches(numbered(5), 2, 0);
  REQUIRE(batches.size() == 3);
  CHECK(batches[1].input_ids == std::vector<std::int32_t>{2, 2, 2, 0, 3, 3, 3, 3});
  CHECK(batches[2].batch_size == 1);
  CHECK(evaluation_batches({}, 2, 0).empty());
}

TEST_CASE("draws are uniform, bounded and the same everywhere") {
  Draw draw({7, 1});
  std::vector<std::int64_t> counts(6);
  for (int i = 0; i < 6000; ++i)
    ++counts[static_cast<std::size_t>(draw.between(10, 15) - 10)];
  for (const std::int64_t count : counts)
    CHECK(std::abs(count - 1000) < 150);  // 5 standard deviations
  CHECK(draw.below(1) == 0);
  std::vector<int> order{0, 1, 2, 3, 4, 5, 6, 7};
  Draw(key_for(1, Purpose::data_order)).shuffle(std::span(order));
  CHECK(order == std::vector<int>{3, 7, 4, 0, 1, 2, 5, 6});  // pinned: a change here changes every run
}
