#include "experiments/scoring/glue.hpp"

#include <doctest/doctest.h>

#include "backends/error.hpp"
#include "test/experiments/temporary_file.hpp"
#include "test/paths.hpp"

using namespace osteon;
using namespace osteon::scoring;

TEST_CASE("glue: files with and without a header, each in its own columns") {
  const TemporaryFile rte("dev.tsv",
                          "index\tsentence1\tsentence2\tlabel\r\n7\tIt \"rains.\tIt is wet.\tentailment\r\n\r\n"
                          "8\tA.\tB.\tnot_entailment\r\n");
  const auto items = read_glue(glue_task("RTE"), rte.path());
  REQUIRE(items.size() == 2);
  CHECK(items[0] == GlueItem{.id = "rte:2", .first = "It \"rains.", .second = "It is wet.", .label = 0, .score = 0});
  CHECK(items[1].id == "rte:4");
  CHECK(items[1].label == 1);
  CHECK(glue_prompt(glue_task("rte"), items[0]) == "It \"rains.\nQuestion: It is wet. True or False?\nAnswer:");
  CHECK(glue_text(items[1]) == "A.\nB.");

  const TemporaryFile cola("dev.tsv", "gj04\t1\t\tIt rains.\ngj04\t0\t*\tRains it {2} it.\n");
  const auto sentences = read_glue(glue_task("cola"), cola.path());
  CHECK(sentences[1].label == 0);
  CHECK(glue_prompt(glue_task("cola"), sentences[1]) ==
        "Rains it {2} it.\nQuestion: Does this sentence make sense?\nAnswer:");
  CHECK(glue_text(sentences[0]) == "It rains.");

  const TemporaryFile mrpc("test.tsv",
                           "\xEF\xBB\xBFQuality\t#1 ID\t#2 ID\t#1 String\t#2 String\n1\t3\t4\tA b .\tB a .\n");
  CHECK(read_glue(glue_task("mrpc"), mrpc.path())[0].second == "B a .");
  const TemporaryFile stsb("dev.tsv", "0\tg\tf\ty\to\ts\ts\tA.\tB.\t3.800\n");
  CHECK(read_glue(glue_task("STS-B"), stsb.path())[0].score == 3.8);
  const TemporaryFile sst("dev.tsv", "sentence\tlabel\nfine film \t1\n");
  CHECK(read_glue(glue_task("SST-2"), sst.path())[0].first == "fine film");
}

TEST_CASE("glue: bad lines and names are errors that name them") {
  const auto refused = [](const char* task, const char* content, const char* expected) {
    const TemporaryFile file("t.tsv", content);
    CHECK_THROWS_WITH_AS(read_glue(glue_task(task), file.path()), doctest::Contains(expected), FileError);
  };
  refused("sst2", "sentence\tlabel\na\t2\n", "t.tsv:2: label: expected 0 or 1, got \"2\"");
  refused("rte", "0\ta\tb\tyes\n", "t.tsv:1: label: expected entailment or not_entailment, got \"yes\"");
  refused("rte", "0\ta\tb\tentailment\n1\ta\tentailment\n", "t.tsv:2: expected 4 columns as rte has, got 3");
  refused("rte", "sentence1\tlabel\na\tentailment\n", "t.tsv:1: expected a column 'sentence2', got none");
  refused("wnli", "0\ta\t \t1\n", "t.tsv:1: expected a sentence, got an empty one");
  refused("stsb", "0\tg\tf\ty\to\ts\ts\tA.\tB.\t5.1\n", "t.tsv:1: score: expected a number from 0 to 5, got \"5.1\"");
  refused("sst2", "sentence\tlabel\n", "expected at least one item, got a header only");
  CHECK_THROWS_WITH_AS(glue_task("qqp"), "glue: expected one of rte, mrpc, cola, sst2, stsb, wnli, got 'qqp'",
                       ConfigError);
}

TEST_CASE("glue: the real files, where they are") {
  const auto data = test::shared();
  if (!data || !std::filesystem::exists(*data / "data/glue"))
    return;
  const std::tuple<const char*, const char*, std::size_t> files[] = {
      {"rte", "RTE/dev.tsv", 277},      {"cola", "CoLA/dev.tsv", 1043},  {"wnli", "WNLI/dev.tsv", 71},
      {"sst2", "SST-2/test.tsv", 872},  {"mrpc", "MRPC/test.tsv", 1725}, {"stsb", "STS-B/dev.tsv", 1500},
      {"mrpc", "MRPC/train.tsv", 2576}, {"wnli", "WNLI/val.tsv", 117}};
  for (const auto& [task, file, count] : files) {
    CAPTURE(file);
    CHECK(read_glue(glue_task(task), *data / "data/glue" / file).size() == count);
  }
}
