#include <algorithm>
#include <array>
#include <functional>

#include "backends/error.hpp"
#include "backends/suggest.hpp"
#include "experiments/tasks/task.hpp"

namespace osteon::experiments {
namespace {

// ---- pieces of prompts and answers

std::string number(std::int64_t value) { return std::to_string(value); }

std::string word(Draw& draw, std::int64_t shortest, std::int64_t longest) {
  std::string out(static_cast<std::size_t>(draw.between(shortest, longest)), ' ');
  for (char& c : out)
    c = static_cast<char>('a' + draw.below(26));
  return out;
}

std::string digits(Draw& draw, std::int64_t shortest, std::int64_t longest) {
  std::string out(static_cast<std::size_t>(draw.between(shortest, longest)), ' ');
  for (char& c : out)
    c = static_cast<char>('0' + draw.below(10));
  return out;
}

std::string reversed(std::string text) {
  std::reverse(text.begin(), text.end());
  return text;
}

std::string upper(std::string text) {
  for (char& c : text)
    c = static_cast<char>(c - 'a' + 'A');
  return text;
}

std::string sorted(std::string text, bool descending = false) {
  std::sort(text.begin(), text.end());
  return descending ? reversed(std::move(text)) : text;
}

/// "37+58=95" or "95-20=75": a sum as it is written in answers.
struct Sum {
  std::string text;
  std::int64_t value;

  explicit Sum(std::int64_t first) : text(number(first)), value(first) {}
  Sum& then(char sign, std::int64_t operand) {
    value += sign == '+' ? operand : -operand;
    text += sign + number(operand) + "=" + number(value);
    return *this;
  }
};

struct Two {
  std::int64_t larger, smaller;
};
Two ordered_pair(Draw& draw, std::int64_t first, std::int64_t last) {
  const std::int64_t a = draw.between(first, last), b = draw.between(first, last);
  return {std::max(a, b), std::min(a, b)};
}

// ---- the skills of the pretraining mixture

Item add(Draw& draw) {
  const std::int64_t a = draw.below(100), b = draw.below(100);
  return {number(a) + "+" + number(b) + "=", number(a + b)};
}

Item sub(Draw& draw) {
  const Two two = ordered_pair(draw, 0, 99);
  return {number(two.larger) + "-" + number(two.smaller) + "=", number(two.larger - two.smaller)};
}

Item rev(Draw& draw) {
  const std::string text = word(draw, 3, 6);
  return {"rev " + text + ":", reversed(text)};
}

Item copy(Draw& draw) {
  const std::string text = word(draw, 3, 6);
  return {"copy " + text + ":", text};
}

Item up(Draw& draw) {
  const std::string text = word(draw, 3, 6);
  return {"up " + text + ":", upper(text)};
}

Item sort(Draw& draw) {
  const std::string text = digits(draw, 3, 6);
  return {"sort " + text + ":", sorted(text)};
}

Item pick(Draw& draw) {
  const std::string text = word(draw, 3, 6);
  const std::int64_t place = draw.between(1, static_cast<std::int64_t>(text.size()));
  return {"pick " + number(place) + " " + text + ":", text.substr(static_cast<std::size_t>(place - 1), 1)};
}

Item story(Draw& draw) {
  static constexpr std::array names = {"tom", "ann", "bob", "sue", "jim", "eva"};
  static constexpr std::array things = {"pens", "eggs", "cups", "hats", "nuts", "bags"};
  const std::string name = draw.one_of(names), thing = draw.one_of(things);
  std::int64_t has = draw.below(100), change = draw.below(100);
  const bool gets = draw.below(2) == 0;
  if (!gets && change > has)
    std::swap(has, change);
  return {name + " has " + number(has) + " " + thing + " and " + (gets ? "gets " : "loses ") + number(change) + ":",
          Sum(has).then(gets ? '+' : '-', change).text};
}

// ---- the downstream tasks, each a shift of skills

Item op(Draw& draw) {
  std::int64_t a = 0, b = 0, c = 0;
  do
    a = draw.between(10, 99), b = draw.between(10, 99), c = draw.between(10, 99);
  while (a + b < c);
  return {number(a) + "@" + number(b) + "@" + number(c) + ":", Sum(a).then('+', b).then('-', c).text};
}

Item story2(Draw& draw) {
  static constexpr std::array names = {"Max", "Zoe", "Leo", "Ida", "Kim", "Ron"};
  static constexpr std::array things = {"keys", "toys", "figs", "maps", "jars", "oars"};
  const std::string name = draw.one_of(names), thing = draw.one_of(things);
  const bool won_first = draw.below(2) == 0;
  std::int64_t had = 0, won = 0, sold = 0;
  do
    had = draw.between(10, 99), won = draw.between(10, 99), sold = draw.between(10, 99);
  while (won_first ? had + won < sold : had < sold);
  Sum sum(had);
  std::string events;
  for (const bool win : {won_first, !won_first}) {
    events += (win ? ", won " : ", sold ") + number(win ? won : sold);
    sum.then(win ? '+' : '-', win ? won : sold);
  }
  return {name + " had " + number(had) + " " + thing + events + ":", sum.text};
}

Item flip(Draw& draw) {
  const std::string text = word(draw, 4, 8);
  return {"flip " + text + ">", upper(reversed(text))};
}

Item down(Draw& draw) {
  const std::string text = digits(draw, 4, 8);
  return {"down " + text + ">", sorted(text, /*descending=*/true)};
}

// ---- the list

struct Entry {
  std::string_view name;
  std::string_view summary;
  Item (*sample)(Draw&);
  std::int64_t max_length;
  std::int64_t steps;   // of the embedded ablation; 0 = a skill, trained in the mixture only
  std::int64_t weight;  // in the mixture; 0 = a downstream task
};

constexpr std::array kEntries = {
    Entry{"add", "37+58=  ->  95", add, 11, 0, 3},
    Entry{"sub", "58-37=  ->  21", sub, 10, 0, 3},
    Entry{"rev", "rev abcd:  ->  dcba", rev, 19, 0, 2},
    Entry{"copy", "copy abcd:  ->  abcd", copy, 20, 0, 1},
    Entry{"up", "up abcd:  ->  ABCD", up, 18, 0, 1},
    Entry{"sort", "sort 3142:  ->  1234", sort, 20, 0, 1},
    Entry{"pick", "pick 2 abcd:  ->  b", pick, 17, 0, 1},
    Entry{"story", "tom has 12 pens and gets 30:  ->  12+30=42", story, 39, 0, 1},
    Entry{"op", "37@58@20:  ->  37+58=95-20=75", op, 27, 240, 0},
    Entry{"story2", "Max had 37 keys, won 58, sold 20:  ->  37+58=95-20=75", story2, 51, 240, 0},
    Entry{"flip", "flip abcdef>  ->  FEDCBA", flip, 24, 150, 0},
    Entry{"down", "down 31428>  ->  84321", down, 24, 120, 0},
};

class ListedTask final : public Task {
 public:
  explicit ListedTask(const Entry& entry) : entry_(entry) {}

  std::string_view name() const override { return entry_.name; }
  std::string_view summary() const override { return entry_.summary; }
  Item sample(Draw& draw) const override { return entry_.sample(draw); }
  std::int64_t max_length() const override { return entry_.max_length; }
  std::int64_t steps() const override { return entry_.steps; }

 private:
  const Entry& entry_;
};

std::string_view without_prefix(std::string_view name) {
  constexpr std::string_view prefix = "synthetic:";
  return name.starts_with(prefix) ? name.substr(prefix.size()) : name;
}

std::vector<std::string> names_where(const std::function<bool(const Entry&)>& keep) {
  std::vector<std::string> names;
  for (const Entry& entry : kEntries)
    if (keep(entry))
      names.emplace_back(entry.name);
  return names;
}

struct Registered {
  std::string name;
  std::function<std::unique_ptr<Task>()> make;
};

std::vector<Registered>& registered() {
  static std::vector<Registered> all;
  return all;
}

}  // namespace

std::unique_ptr<Task> make_task(std::string_view name) {
  for (const Entry& entry : kEntries)
    if (entry.name == without_prefix(name))
      return std::make_unique<ListedTask>(entry);
  for (const Registered& own : registered())
    if (own.name == without_prefix(name))
      return own.make();
  fail<ConfigError>("unknown task '", name, "'", suggestion(without_prefix(name), task_names()));
}

void register_task(std::function<std::unique_ptr<Task>()> make) {
  const std::string name(make()->name());
  const std::vector<std::string> embedded = names_where([](const Entry&) { return true; });
  check<ConfigError>(name != kMixture && std::find(embedded.begin(), embedded.end(), name) == embedded.end(),
                     "register_task: expected another name than that of an embedded task, got ", name);
  std::erase_if(registered(), [&](const Registered& own) { return own.name == name; });
  registered().push_back({name, std::move(make)});
}

bool is_task(std::string_view name) {
  const std::vector<std::string> names = task_names();
  return without_prefix(name) == kMixture || std::find(names.begin(), names.end(), without_prefix(name)) != names.end();
}

std::vector<std::string> task_names() {
  std::vector<std::string> names = names_where([](const Entry&) { return true; });
  for (const Registered& own : registered())
    names.push_back(own.name);
  return names;
}

std::vector<std::string> skill_names() {
  return names_where([](const Entry& entry) { return entry.weight > 0; });
}

std::vector<std::string> downstream_names() {
  return names_where([](const Entry& entry) { return entry.weight == 0; });
}

std::vector<WeightedTask> mixture_skills() {
  std::vector<WeightedTask> skills;
  for (const Entry& entry : kEntries)
    if (entry.weight > 0)
      skills.push_back({std::make_unique<ListedTask>(entry), entry.weight});
  return skills;
}

}  // namespace osteon::experiments
