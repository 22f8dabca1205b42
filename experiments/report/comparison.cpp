#include "experiments/report/comparison.hpp"

#include <algorithm>
#include <set>
#include <tuple>

#include "backends/error.hpp"
#include "experiments/report/palette.hpp"
#include "experiments/report/task_tests.hpp"

namespace osteon::report {

using experiments::RunSummary;

namespace {

/// A setting that may tell two contestants of one method apart.
struct Setting {
  const char* name;
  std::string (*text)(const RunSummary&);
};

std::string number(double value) { return join(value); }

const std::vector<Setting>& settings() {
  static const std::vector<Setting> all = {
      {"case", [](const RunSummary& s) { return s.case_name.value_or(""); }},
      {"rank", [](const RunSummary& s) { return s.rank ? std::to_string(*s.rank) : std::string(); }},
      {"alpha", [](const RunSummary& s) { return s.alpha ? number(*s.alpha) : std::string(); }},
      {"lr", [](const RunSummary& s) { return s.lr ? number(*s.lr) : std::string(); }},
      {"model", [](const RunSummary& s) { return s.model; }},
      {"targets",
       [](const RunSummary& s) {
         std::string text;
         for (const std::string& module : s.target_modules)
           text += (text.empty() ? "" : ",") + module;
         return text;
       }},
      {"steps", [](const RunSummary& s) { return std::to_string(s.steps); }},
      {"batch", [](const RunSummary& s) { return std::to_string(s.batch_size); }},
      {"seq", [](const RunSummary& s) { return std::to_string(s.seq_len); }},
      {"init", [](const RunSummary& s) { return s.init_weights.value_or("true"); }},
      {"l2_wrap", [](const RunSummary& s) { return std::string(s.l2_wrap.value_or(false) ? "on" : "off"); }},
      {"memory",
       [](const RunSummary& s) {
         return experiments::memory_policy_text(s.memory_policy.empty() ? "save" : s.memory_policy,
                                                s.checkpoint_layers.value_or(0));
       }},
  };
  return all;
}

/// Builds the comparison piece by piece; every step reads what the ones before it left.
class Builder {
 public:
  explicit Builder(const RunCollection& collection) : collection_(collection) { out_.absent = collection.absent; }

  Comparison build(const std::vector<std::string>& order) {
    for (const Run& run : collection_.runs)
      (run.summary.purpose == "sweep" ? sweeps_ : finals_).push_back(&run);
    drop_unscored();
    check<FileError>(!finals_.empty(), "report: expected at least one completed run with an evaluation, got none",
                     out_.absent.empty() ? ""
                                         : "; the first that could not be used: " + out_.absent.front().name + ": " +
                                               out_.absent.front().reason);
    find_varying_settings();
    name_contestants();
    for (const Run* run : finals_)
      place(*run);
    const auto place_of = [&](const Task& task) {
      return std::find(order.begin(), order.end(), task.name) - order.begin();
    };
    std::sort(out_.tasks.begin(), out_.tasks.end(), [&](const Task& a, const Task& b) {
      return std::pair(place_of(a), a.name) < std::pair(place_of(b), b.name);
    });
    for (Task& task : out_.tasks)
      finish(task);
    for (const Run* run : sweeps_)
      place_sweep(*run);
    average_sweeps();
    list_missing();
    describe_machines();
    out_.sweep_runs = sweeps_.size();
    return std::move(out_);
  }

 private:
  static bool has_accuracy(const Run& run) {
    return run.summary.evaluation.after && run.summary.evaluation.after->accuracy;
  }
  static bool has_loss(const Run& run) { return run.summary.evaluation.after && run.summary.evaluation.after->loss; }

  void leave_out(const Run& run, const std::string& reason) { out_.absent.push_back({run.summary.name, reason}); }

  /// A task is scored by accuracy when all its runs have one, else by loss; runs that lack the measure are left out.
  void drop_unscored() {
    for (const Run* run : finals_)
      by_accuracy_.try_emplace(run->summary.task, true).first->second &= has_accuracy(*run) || !has_loss(*run);
    std::erase_if(finals_, [&](const Run* run) {
      const bool by_accuracy = by_accuracy_.at(run->summary.task);
      const bool scored = by_accuracy ? has_accuracy(*run) : has_loss(*run);
      if (!scored)
        leave_out(*run, by_accuracy ? "left out: no evaluation.after" : "left out: no loss in evaluation.after");
      return !scored;
    });
  }

  /// A setting is told where runs of one method and task differ in it, and alike in all that is told before: alpha goes
  /// without saying where it follows the rank.
  void find_varying_settings() {
    for (std::size_t i = 0; i < settings().size(); ++i) {
      std::map<std::tuple<std::string, std::string, std::string>, std::set<std::string>> values;
      for (const Run* run : finals_)
        values[{run->summary.task, run->summary.method, label(run->summary)}].insert(settings()[i].text(run->summary));
      for (const auto& [key, different] : values)
        if (different.size() > 1)
          varying_.insert({std::get<1>(key), settings()[i].name});
    }
  }

  /// Whether runs of the method are told apart by this setting.
  bool varies(const RunSummary& summary, const std::string& setting) const {
    return varying_.contains({summary.method, setting});
  }

  std::string label(const RunSummary& summary, bool with_lr = true) const {
    std::string text = display_name(summary.method);
    for (std::size_t i = 0; i < settings().size(); ++i)
      if (varies(summary, settings()[i].name) && (with_lr || settings()[i].name != std::string("lr")))
        text += (i == 0 ? "" : join(" ", settings()[i].name)) + " " + settings()[i].text(summary);  // a case is a name
    return text;
  }

  void name_contestants() {
    using Key = std::tuple<std::size_t, std::string, std::int64_t, double, std::string, std::string>;
    std::set<Key> keys;
    for (const Run* run : finals_) {
      const RunSummary& s = run->summary;
      keys.insert({method_order(s.method), s.method, varies(s, "rank") || varies(s, "case") ? s.rank.value_or(0) : 0,
                   varies(s, "lr") ? s.lr.value_or(0) : 0, label(s), label(s, /*with_lr=*/false)});
    }
    // The usual five keep their colours in every report; others take those that are left.
    const std::map<std::string, std::size_t> usual = {{"full", 0}, {"lora", 1}, {"pissa", 2}, {"bone", 3}, {"bat", 4}};
    std::set<std::size_t> taken;
    for (const auto& [order, method, rank, lr, text, without_lr] : keys) {
      Contestant contestant{.method = method, .label = text, .label_without_lr = without_lr, .style = kStyles.size()};
      if (const auto own = usual.find(method); own != usual.end() && taken.insert(own->second).second)
        contestant.style = own->second;
      out_.contestants.push_back(contestant);
    }
    std::size_t extra = 0;
    for (Contestant& contestant : out_.contestants)
      if (contestant.style == kStyles.size()) {
        std::size_t free = 0;
        while (free < kStyles.size() && taken.contains(free))
          ++free;
        contestant.style = free < kStyles.size() ? free : extra++ % kStyles.size();
        taken.insert(contestant.style);
      }
  }

  std::size_t contestant(const std::string& text) const {
    std::size_t index = 0;
    while (index < out_.contestants.size() && out_.contestants[index].label != text)
      ++index;
    return index;
  }

  void place(const Run& run) {
    const RunSummary& s = run.summary;
    auto task = std::find_if(out_.tasks.begin(), out_.tasks.end(), [&](const Task& t) { return t.name == s.task; });
    if (task == out_.tasks.end()) {
      task = out_.tasks.insert(task, Task{});
      task->name = s.task;
      task->by_accuracy = by_accuracy_.at(s.task);
      task->loss_unit = s.loss_unit.value_or(task->loss_unit);
    }
    const std::size_t who = contestant(label(s));
    auto entry =
        std::find_if(task->entries.begin(), task->entries.end(), [&](const Entry& e) { return e.contestant >= who; });
    if (entry == task->entries.end() || entry->contestant != who) {
      entry = task->entries.insert(entry, Entry{});
      entry->contestant = who;
    }
    const auto at = std::lower_bound(entry->seeds.begin(), entry->seeds.end(), s.seed);
    if (at != entry->seeds.end() && *at == s.seed)
      return leave_out(run, join("left out: another run of ", label(s), " on ", s.task, " has seed ", s.seed, " too"));
    entry->runs.insert(entry->runs.begin() + (at - entry->seeds.begin()), &run);
    entry->seeds.insert(at, s.seed);
    ++out_.final_runs;
    if (!s.suite.empty() && std::find(out_.suites.begin(), out_.suites.end(), s.suite) == out_.suites.end())
      out_.suites.push_back(s.suite);
  }

  void finish(Task& task) {
    std::set<std::int64_t> seeds;
    std::set<std::string> data;
    for (Entry& entry : task.entries) {
      seeds.insert(entry.seeds.begin(), entry.seeds.end());
      for (const Run* run : entry.runs)
        if (!run->summary.data_hash.empty())
          data.insert(run->summary.data_hash);
      summarise(entry, task.by_accuracy);
    }
    task.seeds.assign(seeds.begin(), seeds.end());
    if (data.size() > 1)
      out_.cautions.push_back(join(task.name, ": the runs used ", data.size(),
                                   " different data sets (data_hash); they are not a fair comparison"));
    test_task(task, out_.cautions);
    test_metrics(task);
  }

  void place_sweep(const Run& run) {
    const auto task =
        std::find_if(out_.tasks.begin(), out_.tasks.end(), [&](const Task& t) { return t.name == run.summary.task; });
    const std::size_t who = contestant(label(run.summary, /*with_lr=*/false));
    if (task == out_.tasks.end() || who == out_.contestants.size() || !run.summary.lr)
      return;
    if (task->by_accuracy ? has_accuracy(run) : has_loss(run))
      sweep_scores_[{task - out_.tasks.begin(), who, *run.summary.lr}].push_back(
          task->by_accuracy ? *run.summary.evaluation.after->accuracy : *run.summary.evaluation.after->loss);
  }

  void average_sweeps() {
    for (const auto& [key, scores] : sweep_scores_) {
      const auto& [task, who, lr] = key;
      out_.tasks[static_cast<std::size_t>(task)].sweep[who].push_back({lr, mean(scores)});
    }
  }

  /// A contestant that meets a task in one of its suites should have run it with every seed.
  void list_missing() {
    std::map<std::size_t, std::set<std::string>> suites_of;
    for (const Task& task : out_.tasks)
      for (const Entry& entry : task.entries)
        for (const Run* run : entry.runs)
          suites_of[entry.contestant].insert(run->summary.suite);
    for (const Task& task : out_.tasks)
      for (std::size_t who = 0; who < out_.contestants.size(); ++who) {
        const auto entry =
            std::find_if(task.entries.begin(), task.entries.end(), [&](const Entry& e) { return e.contestant == who; });
        const bool expected = std::any_of(task.entries.begin(), task.entries.end(), [&](const Entry& e) {
          return suites_of[who].contains(e.runs.front()->summary.suite);
        });
        std::string missing;
        for (const std::int64_t seed : task.seeds)
          if (expected &&
              (entry == task.entries.end() || !std::binary_search(entry->seeds.begin(), entry->seeds.end(), seed)))
            missing += (missing.empty() ? "" : ", ") + std::to_string(seed);
        if (!missing.empty())
          out_.absent.push_back({out_.contestants[who].label + " on " + task.name, "no run for seed " + missing});
      }
  }

  void describe_machines() {
    std::set<std::string> seen;
    for (const Run* run : finals_)
      if (run->environment) {
        experiments::Environment common = *run->environment;
        common.date.clear();
        common.gemm_implementations.clear();
        if (seen.insert(to_json(common)).second)
          out_.environments.push_back(*run->environment);
      }
    if (out_.environments.size() > 1)
      out_.cautions.push_back(join("The runs come from ", out_.environments.size(),
                                   " machines, builds or settings: do not compare their times"));
  }

  const RunCollection& collection_;
  Comparison out_;
  std::vector<const Run*> finals_, sweeps_;
  std::map<std::string, bool> by_accuracy_;
  std::set<std::pair<std::string, std::string>> varying_;  ///< (method, setting)
  std::map<std::tuple<std::ptrdiff_t, std::size_t, double>, std::vector<double>> sweep_scores_;
};

}  // namespace

std::optional<double> Pair::decisive_p() const {
  if (seeds_holm && items_holm)
    return std::max(*seeds_holm, *items_holm);
  return seeds_holm ? seeds_holm : items_holm;
}

bool alike_but_lr(const RunSummary& a, const RunSummary& b) {
  return a.method == b.method && std::all_of(settings().begin(), settings().end(), [&](const Setting& setting) {
           return setting.name == std::string_view("lr") || setting.text(a) == setting.text(b);
         });
}

Comparison compare(const RunCollection& collection, const std::vector<std::string>& tasks) {
  return Builder(collection).build(tasks);
}

}  // namespace osteon::report
