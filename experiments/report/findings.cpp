#include "experiments/report/findings.hpp"

#include <algorithm>
#include <cmath>
#include <map>

#include "backends/error.hpp"
#include "experiments/report/format.hpp"

namespace osteon::report {

namespace {

using Names = std::vector<std::string>;

constexpr std::size_t kMostPairs = 6;      // further ones are left to the tables
constexpr std::size_t kMostSentences = 3;  // of a headline

/// Contestants with the p value of each against one other.
struct Named {
  Names names;
  std::vector<std::optional<double>> p_values;

  void add(const std::string& name, std::optional<double> p) {
    names.push_back(name);
    p_values.push_back(p);
  }
  std::string p(std::size_t i) const { return p_values[i] ? " (" + p_text(*p_values[i]) + ")" : " (not tested)"; }
  /// "A (p = 0.01) and B (p = 0.02)"; of more than three, the largest or smallest p speaks for all.
  std::string text(const char* last, bool largest) const {
    Names parts = names;
    if (names.size() <= 3) {
      for (std::size_t i = 0; i < parts.size(); ++i)
        parts[i] += p(i);
      return enumerate(parts, last);
    }
    std::vector<double> known;
    for (const auto& value : p_values)
      if (value)
        known.push_back(*value);
    if (known.size() < names.size())
      return enumerate(parts, last) + " (not all tested)";
    const double bound =
        largest ? *std::max_element(known.begin(), known.end()) : *std::min_element(known.begin(), known.end());
    if (bound >= 0.995 && !largest)
      return enumerate(parts, last) + " (" + p_text(bound) + ")";
    const std::string sign = bound < 0.001 ? "p " : largest ? "p \u2264 " : "p \u2265 ";
    return enumerate(parts, last) + " (" + sign + p_value(bound) + ")";
  }
};

class Writer {
 public:
  explicit Writer(const Comparison& comparison) : comparison_(comparison) {}

  Findings write() {
    findings_.headline = headline();
    for (const Task& task : comparison_.tasks)
      findings_.tasks.push_back({task.name, of_task(task)});
    memory();
    step_time();
    return std::move(findings_);
  }

 private:
  const std::string& name(const Task& task, std::size_t entry) const {
    return comparison_.contestants[task.entries[entry].contestant].label;
  }

  /// Winner and loser of a pair that is told apart.
  std::pair<std::size_t, std::size_t> order(const Task& task, const Pair& pair) const {
    return task.better(pair.difference) > 0 ? std::pair(pair.a, pair.b) : std::pair(pair.b, pair.a);
  }

  std::string headline() const {
    std::map<std::size_t, std::map<std::size_t, Names>> wins;  // contestant -> loser -> tasks
    std::size_t pairs = 0, tested = 0, apart = 0;
    bool on_one_seed = false;
    for (const Task& task : comparison_.tasks)
      for (const Pair& pair : task.pairs) {
        ++pairs;
        tested += pair.decisive_p().has_value();
        if (!pair.told_apart)
          continue;
        ++apart;
        on_one_seed |= task.seeds.size() == 1;
        const auto [winner, loser] = order(task, pair);
        wins[task.entries[winner].contestant][task.entries[loser].contestant].push_back(task.name);
      }
    const bool several = comparison_.tasks.size() > 1;
    if (pairs == 0)
      return "There is one method only: nothing to compare.";
    if (tested == 0)
      return "No test was possible: one seed a method, and no recorded answers to the test items.";
    if (apart == 0)
      return several ? "No two methods are told apart on any task." : "No two methods are told apart.";

    std::vector<std::pair<Names, std::string>> sentences;  // winners whose phrases are equal share a sentence
    for (const auto& [winner, losers] : wins) {
      const std::string phrase = phrase_of(losers, several);
      auto same = std::find_if(sentences.begin(), sentences.end(), [&](const auto& s) { return s.second == phrase; });
      if (same == sentences.end())
        same = sentences.insert(same, {{}, phrase});
      same->first.push_back(comparison_.contestants[winner].label);
    }
    std::string text;
    for (std::size_t i = 0; i < std::min(sentences.size(), kMostSentences); ++i)
      text += enumerate(sentences[i].first) + (sentences[i].first.size() > 1 ? " are" : " is") + " ahead " +
              sentences[i].second + ". ";
    if (sentences.size() > kMostSentences)
      text += "More pairs are told apart, see the tests. ";
    if (apart < pairs)
      text += join("The other ", pairs - apart, " of ", pairs, " comparisons are within noise. ");
    if (on_one_seed)
      text += "With one seed a method this speaks of the test items only: training again may undo it.";
    while (text.back() == ' ')
      text.pop_back();
    return text;
  }

  /// "of LoRA on op and down and of PiSSA on down": losers met on the same tasks share a part.
  std::string phrase_of(const std::map<std::size_t, Names>& losers, bool several) const {
    std::vector<std::pair<Names, Names>> by_tasks;  // tasks -> losers
    for (const auto& entry : losers) {
      auto same =
          std::find_if(by_tasks.begin(), by_tasks.end(), [&](const auto& t) { return t.first == entry.second; });
      if (same == by_tasks.end())
        same = by_tasks.insert(same, {entry.second, {}});
      same->second.push_back(comparison_.contestants[entry.first].label);
    }
    std::stable_sort(by_tasks.begin(), by_tasks.end(),
                     [](const auto& a, const auto& b) { return a.first.size() > b.first.size(); });
    Names parts;
    for (const auto& [tasks, names] : by_tasks)
      parts.push_back("of " + enumerate(names) + (several ? " on " + tasks_text(tasks) : ""));
    return enumerate(parts);
  }

  std::string tasks_text(const Names& tasks) const {
    return tasks.size() == comparison_.tasks.size() ? (tasks.size() == 2 ? "both tasks" : "every task")
                                                    : enumerate(tasks);
  }

  std::string of_task(const Task& task) const {
    if (task.entries.size() < 2)
      return name(task, 0) + " alone: nothing to compare.";
    std::vector<std::size_t> order(task.entries.size());
    for (std::size_t i = 0; i < order.size(); ++i)
      order[i] = i;
    std::stable_sort(order.begin(), order.end(), [&](std::size_t i, std::size_t j) {
      return task.better(task.entries[i].score.mean) > task.better(task.entries[j].score.mean);
    });
    const std::size_t best = order.front();
    if (task.entries[best].score.mean == task.entries[order.back()].score.mean)
      return join(order.size() == 2 ? "Both" : join("All ", order.size()), " methods have the same mean ",
                  task.by_accuracy ? "accuracy" : "loss", ", ", score_text(task, task.entries[best].score.mean),
                  task.by_accuracy ? "%." : ".");
    const auto pair_of = [&](std::size_t i, std::size_t j) {
      return *std::find_if(task.pairs.begin(), task.pairs.end(), [&](const Pair& pair) {
        return (pair.a == i && pair.b == j) || (pair.a == j && pair.b == i);
      });
    };
    Named behind, level;
    for (std::size_t i = 1; i < order.size(); ++i) {
      const Pair pair = pair_of(best, order[i]);
      (pair.told_apart ? behind : level).add(name(task, order[i]), pair.decisive_p());
    }
    std::string text = name(task, best) + " has the " +
                       (task.by_accuracy ? "highest mean accuracy" : "lowest mean loss") + ", " +
                       score_text(task, task.entries[best].score.mean) + (task.by_accuracy ? "%" : "") + ". ";
    if (!behind.names.empty())
      text += "It is ahead of " + behind.text("and", /*largest=*/true) + (level.names.empty() ? ". " : "; ");
    if (level.names.size() == 1)
      text += name(task, best) + " and " + level.names[0] + " are not told apart" + level.p(0) + ". ";
    else if (!level.names.empty())
      text += std::string(behind.names.empty() ? "It is" : "it is") + " not told apart from " +
              level.text("or", /*largest=*/false) + ". ";
    std::string others;
    std::size_t count = 0;
    for (std::size_t i = 1; i < order.size(); ++i) {
      Named losers;
      for (std::size_t j = i + 1; j < order.size(); ++j)
        if (const Pair pair = pair_of(order[i], order[j]); pair.told_apart)
          losers.add(name(task, order[j]), pair.decisive_p());
      count += losers.names.size();
      if (!losers.names.empty())
        others += name(task, order[i]) + " is ahead of " + losers.text("and", /*largest=*/true) + ". ";
    }
    text += count <= kMostPairs ? others : join(count, " more pairs are told apart, see the tests. ");
    if (task.threshold)
      text += "Differences below " + score_text(task, *task.threshold) + " " + score_unit(task) + " are within noise.";
    while (text.back() == ' ')
      text.pop_back();
    return text;
  }

  /// Peak bytes are counted, not measured: equal runs give equal bytes, so no test is needed.
  void memory() {
    std::map<Names, Names> least;  // labels that share the lowest peak -> tasks
    std::string example;
    for (const Task& task : comparison_.tasks) {
      const Entry *low = nullptr, *high = nullptr;
      for (const Entry& entry : task.entries) {
        if (!entry.peak_bytes)
          continue;
        low = !low || entry.peak_bytes->total < low->peak_bytes->total ? &entry : low;
        high = !high || entry.peak_bytes->total > high->peak_bytes->total ? &entry : high;
      }
      if (!low || low->peak_bytes->total == high->peak_bytes->total)
        continue;
      Names labels;
      for (const Entry& entry : task.entries)
        if (entry.peak_bytes && entry.peak_bytes->total == low->peak_bytes->total)
          labels.push_back(comparison_.contestants[entry.contestant].label);
      least[labels].push_back(task.name);
      example = ": " + mebibytes(low->peak_bytes->total) + " MiB against " + mebibytes(high->peak_bytes->total) +
                " MiB for " + comparison_.contestants[high->contestant].label + " on " + task.name;
    }
    for (const auto& [labels, tasks] : least)
      findings_.costs.push_back(enumerate(labels) + (labels.size() > 1 ? " have" : " has") + " the lowest peak memory" +
                                (comparison_.tasks.size() > 1 ? " on " + tasks_text(tasks) : "") +
                                (least.size() == 1 ? example : "") + ".");
  }

  /// The two shortest mean steps, compared by a paired t-test of log seconds over all tasks and seeds they share.
  void step_time() {
    std::map<std::size_t, std::map<std::pair<std::size_t, std::int64_t>, double>> logs;  // contestant -> run -> log s
    for (std::size_t t = 0; t < comparison_.tasks.size(); ++t)
      for (const Entry& entry : comparison_.tasks[t].entries)
        for (std::size_t i = 0; i < entry.runs.size(); ++i)
          if (const auto& seconds = entry.runs[i]->summary.step_seconds; seconds && seconds->median > 0)
            logs[entry.contestant][{t, entry.seeds[i]}] = std::log(seconds->median);
    std::vector<std::pair<double, std::size_t>> order;
    for (const auto& [contestant, runs] : logs) {
      double sum = 0;
      for (const auto& [run, value] : runs)
        sum += value;
      order.emplace_back(sum / static_cast<double>(runs.size()), contestant);
    }
    if (order.size() < 2)
      return;
    std::sort(order.begin(), order.end());
    const std::size_t first = order[0].second, second = order[1].second;
    std::vector<double> a, b;
    for (const auto& [run, value] : logs[first])
      if (const auto other = logs[second].find(run); other != logs[second].end()) {
        a.push_back(value);
        b.push_back(other->second);
      }
    const auto test = paired_t_test(a, b);
    const std::string &one = comparison_.contestants[first].label, &two = comparison_.contestants[second].label;
    if (test && test->p_value < 0.05)
      findings_.costs.push_back(one + " has the shortest step, " + fixed(100 * (1 - std::exp(mean(a) - mean(b))), 0) +
                                "% shorter than " + two + "\u2019s (" + p_text(test->p_value) + ").");
    else if (test)
      findings_.costs.push_back(one + " and " + two + " have the shortest steps; their times are not told apart (" +
                                p_text(test->p_value) + ").");
  }

  const Comparison& comparison_;
  Findings findings_;
};

}  // namespace

Findings findings_of(const Comparison& comparison) { return Writer(comparison).write(); }

}  // namespace osteon::report
