#include "experiments/data/example.hpp"

#include <doctest/doctest.h>

#include "backends/error.hpp"

using namespace osteon;
using namespace osteon::experiments;

namespace {

constexpr std::int32_t no = kIgnored;
using Ints = std::vector<std::int32_t>;

Example example(Ints ids, std::size_t prompt) {
  Example out{ids, ids};
  for (std::size_t i = 0; i < prompt; ++i)
    out.labels[i] = no;
  return out;
}

}  // namespace

TEST_CASE("pad_batch pads on the right and tells attention where rows end") {
  const std::vector<Example> examples{example({1, 2, 3}, 1), example({4}, 0)};
  const TokenBatch batch = pad_batch(examples, 9, 4);
  CHECK(batch.batch_size == 2);
  CHECK(batch.seq_len == 4);
  CHECK(batch.input_ids == Ints{1, 2, 3, 9, 4, 9, 9, 9});
  CHECK(batch.labels == Ints{no, 2, 3, no, 4, no, no, no});
  CHECK(batch.positions.empty());
  CHECK(batch.key_range == Ints{0, 1, 0, 2, 0, 3, 0, 3, 0, 1, 0, 1, 0, 1, 0, 1});
  CHECK(loss_tokens(batch) == 2);  // nothing predicts the first token of a row
  CHECK(real_tokens(batch) == 4);
  CHECK(pad_batch(examples, 9).seq_len == 3);
}

TEST_CASE("full rows need no key ranges") {
  const std::vector<Example> examples{example({1, 2}, 0), example({3, 4}, 1)};
  const TokenBatch batch = pad_batch(examples, 9);
  CHECK(batch.key_range.empty());
  CHECK(loss_tokens(batch) == 2);
  CHECK(real_tokens(batch) == 4);
}

TEST_CASE("pack_batch: positions restart, attention stays inside, first labels are ignored") {
  const Example a = example({1, 2, 3}, 1), b = example({4, 5}, 0), c = example({6}, 0);
  const std::vector<std::vector<const Example*>> rows{{&a, &b}, {&c}};
  const TokenBatch batch = pack_batch(rows, 9, 6);
  CHECK(batch.input_ids == Ints{1, 2, 3, 4, 5, 9, 6, 9, 9, 9, 9, 9});
  CHECK(batch.labels == Ints{no, 2, 3, no, 5, no, no, no, no, no, no, no});
  CHECK(batch.positions == Ints{0, 1, 2, 0, 1, 2, 0, 1, 2, 3, 4, 5});
  CHECK(batch.key_range == Ints{0, 1, 0, 2, 0, 3, 3, 4, 3, 5, 3, 5, 0, 1, 0, 1, 0, 1, 0, 1, 0, 1, 0, 1});
  CHECK(loss_tokens(batch) == loss_tokens(a) + loss_tokens(b) + loss_tokens(c));
  CHECK(real_tokens(batch) == 6);
}

TEST_CASE("pack_rows: best fit, in order, every example once") {
  const std::vector<std::int64_t> lengths{5, 4, 3, 2, 8, 1};
  CHECK(pack_rows(lengths, 8) == std::vector<std::vector<std::int64_t>>{{0, 2}, {1, 3, 5}, {4}});
  CHECK(pack_rows({}, 8).empty());
}

TEST_CASE("batches refuse examples that do not fit") {
  const std::vector<Example> none, longer{example({1, 2, 3}, 0)}, empty{Example{}}, uneven{Example{{1, 2}, {1}}};
  CHECK_THROWS_AS(pad_batch(none, 0), ShapeError);
  CHECK_THROWS_WITH_AS(pad_batch(longer, 0, 2), "batch: example 0: expected 1 to 2 tokens, got 3", ShapeError);
  CHECK_THROWS_AS(pad_batch(empty, 0, 2), ShapeError);
  CHECK_THROWS_WITH_AS(pad_batch(uneven, 0, 2), "batch: example 0: expected as many labels as ids, got 1 and 2",
                       ShapeError);
  const std::vector<std::vector<const Example*>> no_rows, bare(1), crowded{{&longer[0], &longer[0]}};
  CHECK_THROWS_AS(pack_batch(no_rows, 0, 4), ShapeError);
  CHECK_THROWS_AS(pack_batch(bare, 0, 4), ShapeError);
  CHECK_THROWS_WITH_AS(pack_batch(crowded, 0, 4), "batch: example 1: expected 1 to 1 tokens, got 3", ShapeError);
  const std::vector<std::int64_t> lengths{9}, zero{0};
  CHECK_THROWS_WITH_AS(pack_rows(lengths, 8), "pack_rows: example 0: expected 1 to 8 tokens, got 9", ShapeError);
  CHECK_THROWS_AS(pack_rows(zero, 8), ShapeError);
}

TEST_CASE("ids and labels outside the vocabulary") {
  CHECK_NOTHROW(check_vocabulary(example({0, 4}, 1), 5, "x"));
  CHECK_THROWS_WITH_AS(check_vocabulary(example({0, 5}, 1), 5, "f.jsonl:3"),
                       "f.jsonl:3: token 1: expected an id in [0, 5), got 5", IndexError);
  CHECK_THROWS_AS(check_vocabulary(example({-1}, 0), 5, "x"), IndexError);
  CHECK_THROWS_WITH_AS(check_vocabulary(Example{{1, 1}, {no, -1}}, 5, "x"),
                       "x: label 1: expected -100 or an id in [0, 5), got -1", IndexError);
}

TEST_CASE("the hash tells streams apart") {
  CHECK(fnv1a("") == 0xcbf29ce484222325);
  CHECK(fnv1a("foobar") == 0x85944171f73967e8);  // published test vector of FNV-1a 64
  const std::vector<Example> one{example({1, 2}, 0)}, other{example({1, 2}, 1)};
  BatchHash a, b, c;
  CHECK(a.text() == "cbf29ce484222325");
  a.add(pad_batch(one, 0));
  b.add(pad_batch(other, 0));  // the same ids, other labels
  CHECK(a.value() != b.value());
  c.restore(a.value());
  a.add(pad_batch(one, 0));
  c.add(pad_batch(one, 0));
  CHECK(a.text() == c.text());
}
