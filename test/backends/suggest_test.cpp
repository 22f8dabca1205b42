#include "backends/suggest.hpp"

#include <doctest/doctest.h>
#include <vector>

using namespace osteon;

TEST_CASE("edit_distance counts insertions, deletions, replacements and swaps") {
  CHECK(edit_distance("", "") == 0);
  CHECK(edit_distance("", "abc") == 3);
  CHECK(edit_distance("rank", "rank") == 0);
  CHECK(edit_distance("rank", "rnak") == 1);
  CHECK(edit_distance("kitten", "sitting") == 3);
  CHECK(edit_distance("ab", "ba") == 1);
}

TEST_CASE("nearest_name finds what was meant and nothing where nothing is near") {
  const std::vector<std::string> names{"rank", "batch_size", "lr", "learning", "bone", "bat"};
  CHECK(nearest_name("rnak", names) == "rank");
  CHECK(nearest_name("Batch-Size", names) == "batch_size");
  CHECK(nearest_name("batchsize", names) == "batch_size");
  CHECK(nearest_name("bones", names) == "bone");
  CHECK(nearest_name("bta", names) == "bat");
  CHECK(nearest_name("learning_rate", names) == "learning");  // longer than the distance allows, but it begins so
  CHECK(nearest_name("zzzzzz", names).empty());
  CHECK(nearest_name("xy", names).empty());
  CHECK(nearest_name("rank", {}).empty());
  CHECK(suggestion("rnk", names) == "; did you mean 'rank'?");
  CHECK(suggestion("qqqqqqq", names).empty());
}
