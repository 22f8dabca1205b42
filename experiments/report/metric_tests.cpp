#include <algorithm>

#include "experiments/report/task_tests.hpp"

namespace osteon::report {
namespace {

using Scores = std::vector<double>;

const Scores* scores_of(const Run& run, const std::string& metric) {
  const auto found = run.summary.item_scores.find(metric);
  return found == run.summary.item_scores.end() || found->second.empty() ? nullptr : &found->second;
}

/// Metrics of which every run of the task has as many items' scores as the others.
std::vector<std::string> common_metrics(const Task& task) {
  std::vector<std::string> common;
  for (const auto& [metric, first] : task.entries.front().runs.front()->summary.item_scores) {
    const auto has = [&metric = metric, &first = first](const Run* run) {
      const Scores* const scores = scores_of(*run, metric);
      return scores != nullptr && scores->size() == first.size();
    };
    if (std::all_of(task.entries.begin(), task.entries.end(),
                    [&](const Entry& entry) { return std::all_of(entry.runs.begin(), entry.runs.end(), has); }))
      common.push_back(metric);
  }
  return common;
}

/// The mean over items of each seed's run.
Scores means(const Entry& entry, const std::vector<std::int64_t>& seeds, const std::string& metric) {
  Scores row;
  for (const std::int64_t seed : seeds)
    row.push_back(mean(*scores_of(run_with_seed(entry, seed), metric)));
  return row;
}

MetricPair tested(const Entry& a, const Entry& b, const std::string& metric, const SeedTests& tests) {
  MetricPair pair;
  pair.metric = metric;
  const std::vector<std::int64_t> seeds = common_seeds(a, b);
  if (seeds.empty()) {
    pair.difference = mean(means(a, a.seeds, metric)) - mean(means(b, b.seeds, metric));
    return pair;
  }
  const Scores means_a = means(a, seeds, metric), means_b = means(b, seeds, metric);
  pair.difference = mean(means_a) - mean(means_b);
  const bool pooled = tests.blocks && !tests.plain_t;
  if (const auto test =
          pooled ? tests.blocks->test(pair.difference, std::ssize(seeds)) : paired_t_test(means_a, means_b))
    pair.seeds_p = test->p_value;
  Scores differences(scores_of(run_with_seed(a, seeds[0]), metric)->size(), 0);
  for (const std::int64_t seed : seeds)
    for (std::size_t i = 0; i < differences.size(); ++i)
      differences[i] +=
          (*scores_of(run_with_seed(a, seed), metric))[i] - (*scores_of(run_with_seed(b, seed), metric))[i];
  pair.items_p = paired_permutation_of_scores(differences);
  return pair;
}

}  // namespace

void test_metrics(Task& task) {
  for (const std::string& metric : common_metrics(task)) {
    SeedTests tests;
    if (const std::vector<std::int64_t> complete = complete_seeds(task); complete.size() > 1) {
      std::vector<Scores> rows;
      for (const Entry& entry : task.entries)
        rows.push_back(means(entry, complete, metric));
      tests = seed_tests(rows, 0);
    }
    std::vector<MetricPair> pairs;
    for (std::size_t a = 0; a < task.entries.size(); ++a)
      for (std::size_t b = a + 1; b < task.entries.size(); ++b) {
        MetricPair& pair = pairs.emplace_back(tested(task.entries[a], task.entries[b], metric, tests));
        pair.a = a;
        pair.b = b;
      }
    correct(pairs, &MetricPair::seeds_p, &MetricPair::seeds_holm);
    correct(pairs, &MetricPair::items_p, &MetricPair::items_holm);
    for (MetricPair& pair : pairs)
      pair.told_apart = both_pass(pair.seeds_holm, pair.items_holm);
    task.metric_pairs.insert(task.metric_pairs.end(), pairs.begin(), pairs.end());
  }
}

}  // namespace osteon::report
