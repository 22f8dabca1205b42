#include "experiments/mpi/gradient_exchange.hpp"

#include <doctest/doctest.h>

#include "experiments/mpi/remote_runs.hpp"

namespace osteon::test {
namespace {

using namespace experiments;

TEST_CASE("ranks take consecutive rows, all of them, and differ by one at most") {
  for (std::int64_t ranks = 1; ranks <= 5; ++ranks)
    for (std::int64_t rows = 0; rows <= 12; ++rows) {
      CAPTURE(ranks);
      CAPTURE(rows);
      std::int64_t next = 0;
      for (std::int64_t rank = 0; rank < ranks; ++rank) {
        const mpi::Rows own = mpi::rows_of(rows, rank, ranks);
        CHECK(own.begin == next);
        CHECK(own.count() >= rows / ranks);
        CHECK(own.count() <= (rows + ranks - 1) / ranks);
        CHECK((own.count() > 0) == (rank < rows));  // the last ranks are those without
        next = own.end;
      }
      CHECK(next == rows);
    }
}

TEST_CASE("the parts of a batch are its rows, with their padding") {
  const std::vector<Example> examples = {{{1, 2, 3}, {1, 2, 3}}, {{4, 5}, {4, 5}}, {{6}, {6}}};
  const TokenBatch batch = pad_batch(examples, 0);
  TokenBatch joined;
  for (std::int64_t rank = 0; rank < 2; ++rank) {
    const TokenBatch part = mpi::part_of(batch, mpi::rows_of(3, rank, 2));
    CHECK(part.seq_len == 3);
    joined.batch_size += part.batch_size;
    joined.seq_len = part.seq_len;
    for (const auto member :
         {&TokenBatch::input_ids, &TokenBatch::labels, &TokenBatch::positions, &TokenBatch::key_range})
      (joined.*member).insert((joined.*member).end(), (part.*member).begin(), (part.*member).end());
  }
  CHECK(joined == batch);
  CHECK(!batch.key_range.empty());
}

TEST_CASE("the classes and scores of a classifier's rows go with them") {
  TokenBatch batch;
  batch.batch_size = 3;
  batch.seq_len = 2;
  batch.input_ids = {1, 2, 3, 4, 5, 6};
  batch.row_classes = {7, 8, 9};
  CHECK(mpi::part_of(batch, {1, 3}).row_classes == std::vector<std::int32_t>{8, 9});
  batch.row_classes = {};
  batch.row_scores = {0.5, 1.5, 2.5};
  CHECK(mpi::part_of(batch, {0, 2}).row_scores == std::vector<double>{0.5, 1.5});
  CHECK(mpi::part_of(batch, {0, 2}).classifies());
}

TEST_CASE("lists of texts travel as one") {
  for (const std::vector<std::string>& words : {std::vector<std::string>{}, {""}, {"a", "", "b c\n"}})
    CHECK(mpi::unpacked(mpi::packed(words)) == words);
}

}  // namespace
}  // namespace osteon::test
