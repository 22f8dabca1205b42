#include <algorithm>
#include <doctest/doctest.h>
#include <map>
#include <set>

#include "backends/error.hpp"
#include "experiments/tasks/held_out.hpp"
#include "test/experiments/solve_task.hpp"

using namespace osteon;
using namespace osteon::experiments;

namespace {

/// The first three items of a task, from a stream of their own.
std::string first_items(const std::string& name) {
  const auto task = make_task(name);
  Draw draw({1, 2});
  std::string out;
  for (int i = 0; i < 3; ++i) {
    const Item item = task->sample(draw);
    out += (i ? " " : "") + item.prompt + item.answer;
  }
  return out;
}

}  // namespace

TEST_CASE("the first items of every task are what they were") {
  const std::map<std::string, std::string> expected{
      {"add", "99+15=114 2+9=11 31+86=117"},
      {"sub", "99-15=84 9-2=7 86-31=55"},
      {"rev", "rev budbmd:dmbdub rev zjqxgx:xgxqjz rev kahng:gnhak"},
      {"copy", "copy budbmd:budbmd copy zjqxgx:zjqxgx copy kahng:kahng"},
      {"up", "up budbmd:BUDBMD up zjqxgx:ZJQXGX up kahng:KAHNG"},
      {"sort", "sort 529163:123569 sort 354983:334589 sort 82718:12788"},
      {"pick", "pick 2 budbmd:u pick 4 jqxg:g pick 1 kahng:k"},
      {"story",
       "eva has 9 bags and loses 2:9-2=7 jim has 23 eggs and loses 13:23-13=10 bob has 18 bags and gets 23:18+23=41"},
      {"op", "99@45@52:99+45=144-52=92 99@81@26:99+81=180-26=154 53@53@93:53+53=106-93=13"},
      {"story2",
       "Ron had 99 oars, won 81, sold 26:99+81=180-26=154 Zoe had 65 toys, sold 39, won 54:65-39=26+54=80 "
       "Leo had 68 maps, won 52, sold 87:68+52=120-87=33"},
      {"flip", "flip budbmdlz>ZLDMBDUB flip qxgx>XGXQ flip kahng>GNHAK"},
      {"down", "down 52916333>96533321 down 4983>9843 down 82718>88721"},
  };
  for (const std::string& name : task_names())
    CHECK(first_items(name) == expected.at(name));
}

TEST_CASE("answers are right, never negative, and fit the row") {
  for (const std::string& name : task_names()) {
    const auto task = make_task(name);
    CAPTURE(name);
    CHECK(task->name() == name);
    Draw draw({3, 4});
    std::int64_t longest = 0;
    for (int i = 0; i < 5000; ++i) {
      const Item item = task->sample(draw);
      REQUIRE(item.answer == solve(name, item.prompt));
      REQUIRE(item.answer.find("=-") == std::string::npos);
      longest = std::max(longest, static_cast<std::int64_t>(item.prompt.size() + item.answer.size() + 2));
    }
    CHECK(longest == task->max_length());
  }
}

TEST_CASE("answers of the downstream tasks use only bytes that pretraining has as targets") {
  // Embedding and head are tied and frozen under an adapter: a byte that was never a target could not be learned.
  std::set<char> targets, wanted;
  const auto collect = [](const std::vector<std::string>& names, std::set<char>& into) {
    for (const std::string& name : names) {
      const auto task = make_task(name);
      Draw draw({5, 6});
      for (int i = 0; i < 3000; ++i)
        for (const char c : task->sample(draw).answer)
          into.insert(c);
    }
  };
  collect(skill_names(), targets);
  collect(downstream_names(), wanted);
  CHECK(std::includes(targets.begin(), targets.end(), wanted.begin(), wanted.end()));
}

TEST_CASE("names: lists, prefix, and suggestions for wrong ones") {
  CHECK(skill_names() == std::vector<std::string>{"add", "sub", "rev", "copy", "up", "sort", "pick", "story"});
  CHECK(downstream_names() == std::vector<std::string>{"op", "story2", "flip", "down"});
  CHECK(make_task("synthetic:op")->name() == "op");
  CHECK(is_task("down"));
  CHECK(is_task("synthetic:mixture"));
  CHECK(!is_task("down.jsonl"));
  CHECK_THROWS_WITH_AS(make_task("synthetic:stroy2"), "unknown task 'synthetic:stroy2'; did you mean 'story2'?",
                       ConfigError);
}

namespace {

/// A user's own task with a given number of prompts.
class Few final : public Task {
 public:
  explicit Few(std::int64_t prompts, std::string name = "few") : prompts_(prompts), name_(std::move(name)) {}
  std::string_view name() const override { return name_; }
  std::string_view summary() const override { return "5>  ->  5"; }
  std::int64_t max_length() const override { return 12; }
  Item sample(Draw& draw) const override {
    const std::string number = std::to_string(draw.below(prompts_));
    return {number + ">", number};
  }

 private:
  std::int64_t prompts_;
  std::string name_;
};

}  // namespace

TEST_CASE("a task of the user's own needs a name of its own and enough prompts") {
  CHECK_THROWS_WITH_AS(register_task([] { return std::make_unique<Few>(10, "op"); }),
                       "register_task: expected another name than that of an embedded task, got op", ConfigError);
  CHECK_THROWS_AS(register_task([] { return std::make_unique<Few>(10, "mixture"); }), ConfigError);
  CHECK_THROWS_WITH_AS(held_out(Few(600)),
                       "task few: expected many more than 700 distinct prompts, found none in 10000 draws",
                       ConfigError);
  const Few just(700);
  const HeldOut all = held_out(just);  // which leaves none to train on
  CHECK(all.prompts.size() == 700);
  Draw draw({1, 2});
  CHECK_THROWS_WITH_AS(training_item(just, all, draw),
                       "task few: expected many more than 700 prompts that are not held out, found none in 10000 draws",
                       ConfigError);
  CHECK(held_out(Few(5000)).test.size() == 500);
}
