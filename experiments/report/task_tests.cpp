#include "experiments/report/task_tests.hpp"

#include <algorithm>
#include <cmath>
#include <iterator>
#include <set>

#include "backends/error.hpp"

namespace osteon::report {

namespace {

constexpr double kSignificance = 0.05;
constexpr double kUnequalSpread = 0.01;  // Bartlett's p below which residuals are not pooled

Sample sample_of(std::vector<double> values) {
  Sample sample;
  sample.mean = mean(values);
  sample.sd = standard_deviation(values);
  sample.interval = t_interval(values);
  sample.values = std::move(values);
  return sample;
}

/// `get` over the runs of an entry; empty unless every run has it.
template <class Get>
std::optional<std::vector<double>> over_runs(const Entry& entry, Get&& get) {
  std::vector<double> values;
  for (const Run* run : entry.runs) {
    const std::optional<double> value = get(run->summary);
    if (!value)
      return std::nullopt;
    values.push_back(*value);
  }
  return values;
}

template <class Get>
std::optional<Sample> sample_over_runs(const Entry& entry, Get&& get) {
  auto values = over_runs(entry, get);
  return values ? std::optional(sample_of(std::move(*values))) : std::nullopt;
}

template <class Get>
std::optional<double> median_over_runs(const Entry& entry, Get&& get) {
  auto values = over_runs(entry, get);
  return values ? std::optional(median(std::move(*values))) : std::nullopt;
}

std::optional<Interval> interval_over_items(const Entry& entry) {
  const std::size_t items = entry.runs.front()->summary.items.size();
  std::vector<double> shares(items, 0.0);
  for (const Run* run : entry.runs) {
    if (run->summary.items.size() != items)
      return std::nullopt;
    for (std::size_t i = 0; i < items; ++i)
      shares[i] += static_cast<double>(run->summary.items[i]) / static_cast<double>(entry.runs.size());
  }
  return bootstrap_interval(shares);
}

double score_with_seed(const Entry& entry, std::int64_t seed) {
  const auto at = std::lower_bound(entry.seeds.begin(), entry.seeds.end(), seed);
  return entry.score.values[static_cast<std::size_t>(at - entry.seeds.begin())];
}

/// The randomized block design over the seeds that every entry has, and whether its residuals may be pooled.
void pool_residuals(Task& task, std::vector<std::string>& cautions) {
  const std::vector<std::int64_t> complete = complete_seeds(task);
  std::vector<std::vector<double>> groups;
  for (const Entry& entry : task.entries)
    groups.push_back(entry.score.values);
  task.f = one_way_f(groups);
  if (complete.size() < 2)
    return;
  std::vector<std::vector<double>> rows;
  for (const Entry& entry : task.entries) {
    std::vector<double>& row = rows.emplace_back();
    for (const std::int64_t seed : complete)
      row.push_back(score_with_seed(entry, seed));
  }
  // A share of `items` answers is rounded to 1 / items: uniform rounding noise of that width.
  const double step = task.items > 0 ? 1 / static_cast<double>(task.items) : 0;
  const SeedTests tests = seed_tests(rows, task.by_accuracy ? step * step / 12 : 0);
  task.blocks = tests.blocks;
  task.plain_t = tests.plain_t;
  if (task.plain_t)
    cautions.push_back(task.name +
                       ": the seeds scatter much more for some methods than for others (Bartlett's test), so " +
                       "plain paired t-tests decide here, which find less");
  else if (task.blocks && task.blocks->residual_sd > 0)
    task.threshold = task.blocks->least_significant_difference(kSignificance);
}

std::optional<double> spread_of_differences(std::span<const double> a, std::span<const double> b) {
  std::vector<double> differences(a.begin(), a.end());
  for (std::size_t i = 0; i < b.size(); ++i)
    differences[i] -= b[i];
  return standard_deviation(differences);
}

void test_pair(const Task& task, Pair& pair) {
  const Entry &a = task.entries[pair.a], &b = task.entries[pair.b];
  const std::vector<std::int64_t> seeds = common_seeds(a, b);
  if (seeds.empty()) {
    pair.difference = a.score.mean - b.score.mean;
    return;
  }
  std::vector<double> scores_a, scores_b;
  bool items = true;
  for (const std::int64_t seed : seeds) {
    scores_a.push_back(score_with_seed(a, seed));
    scores_b.push_back(score_with_seed(b, seed));
    const auto &items_a = run_with_seed(a, seed).summary.items, &items_b = run_with_seed(b, seed).summary.items;
    items &= task.items > 0 && items_a.size() == task.items && items_b.size() == task.items;
  }
  pair.difference = mean(scores_a) - mean(scores_b);
  pair.plain = paired_t_test(scores_a, scores_b);
  pair.effect = cohen_d(scores_a, scores_b);
  const bool pooled = task.blocks && !task.plain_t;
  if (const auto test = pooled ? task.blocks->test(pair.difference, std::ssize(seeds)) : pair.plain)
    pair.seeds_p = test->p_value;
  if (const auto sd =
          pooled ? std::optional(task.blocks->residual_sd * std::sqrt(2)) : spread_of_differences(scores_a, scores_b))
    pair.seeds_needed = pairs_needed(pair.difference, *sd);
  if (!items)
    return;
  std::vector<std::int64_t> differences(task.items, 0);
  for (const std::int64_t seed : seeds)
    for (std::size_t i = 0; i < task.items; ++i)
      differences[i] += run_with_seed(a, seed).summary.items[i] - run_with_seed(b, seed).summary.items[i];
  pair.items_p = paired_permutation(differences);
  if (seeds.size() == 1)
    pair.mcnemar = mcnemar_exact(run_with_seed(a, seeds[0]).summary.items, run_with_seed(b, seeds[0]).summary.items);
}

void mark_front(Task& task, bool Entry::*front, const std::vector<std::optional<double>>& costs) {
  std::vector<double> known, values;
  std::vector<Entry*> entries;
  for (std::size_t i = 0; i < costs.size(); ++i)
    if (costs[i]) {
      known.push_back(*costs[i]);
      values.push_back(task.better(task.entries[i].score.mean));
      entries.push_back(&task.entries[i]);
    }
  const std::vector<bool> on_front = pareto_front(known, values);
  for (std::size_t i = 0; i < entries.size(); ++i)
    entries[i]->*front = on_front[i];
}

/// A seed fixes the batches: then the pairs are pairs in truth.
bool batches_agree(const Task& task) {
  for (const std::int64_t seed : task.seeds) {
    std::set<std::string> hashes;
    for (const Entry& entry : task.entries)
      if (std::binary_search(entry.seeds.begin(), entry.seeds.end(), seed))
        hashes.insert(run_with_seed(entry, seed).summary.batch_hash);
    if (hashes.size() != 1 || hashes.begin()->empty())
      return false;
  }
  return true;
}

}  // namespace

const Run& run_with_seed(const Entry& entry, std::int64_t seed) {
  const auto at = std::lower_bound(entry.seeds.begin(), entry.seeds.end(), seed);
  return *entry.runs[static_cast<std::size_t>(at - entry.seeds.begin())];
}

std::vector<std::int64_t> common_seeds(const Entry& a, const Entry& b) {
  std::vector<std::int64_t> common;
  std::set_intersection(a.seeds.begin(), a.seeds.end(), b.seeds.begin(), b.seeds.end(), std::back_inserter(common));
  return common;
}

std::vector<std::int64_t> complete_seeds(const Task& task) {
  std::vector<std::int64_t> complete = task.seeds;
  for (const Entry& entry : task.entries) {
    std::vector<std::int64_t> both;
    std::set_intersection(complete.begin(), complete.end(), entry.seeds.begin(), entry.seeds.end(),
                          std::back_inserter(both));
    complete = both;
  }
  return complete;
}

SeedTests seed_tests(const std::vector<std::vector<double>>& rows, double floor_variance) {
  SeedTests tests;
  tests.blocks = block_design(rows);
  const auto equal_spread = bartlett(rows, floor_variance);
  tests.plain_t = tests.blocks && rows.size() > 2 && (!equal_spread || *equal_spread < kUnequalSpread) &&
                  tests.blocks->residual_sd > 0;
  return tests;
}

bool both_pass(const std::optional<double>& seeds_holm, const std::optional<double>& items_holm) {
  const auto passes = [](const std::optional<double>& p) { return !p || *p < kSignificance; };
  return (seeds_holm || items_holm) && passes(seeds_holm) && passes(items_holm);
}

void summarise(Entry& entry, bool by_accuracy) {
  using experiments::RunSummary;
  entry.accuracy = sample_over_runs(entry, [](const RunSummary& s) { return s.evaluation.after->accuracy; });
  entry.loss = sample_over_runs(entry, [](const RunSummary& s) { return s.evaluation.after->loss; });
  entry.score = by_accuracy ? *entry.accuracy : *entry.loss;
  entry.keep = sample_over_runs(entry, [](const RunSummary& s) -> std::optional<double> {
    if (s.evaluation.keep.empty())
      return std::nullopt;
    double sum = 0;
    for (const auto& [skill, accuracy] : s.evaluation.keep)
      sum += accuracy;
    return sum / static_cast<double>(s.evaluation.keep.size());
  });
  entry.forgotten = sample_over_runs(entry, [](const RunSummary& s) -> std::optional<double> {
    const auto &before = s.evaluation.retained_before, &after = s.evaluation.retained_after;
    return before && after && before->loss && after->loss ? std::optional(*after->loss - *before->loss) : std::nullopt;
  });
  for (const auto& [name, value] : entry.runs.front()->summary.task_metrics) {
    const auto sample = sample_over_runs(entry, [&, &metric = name](const RunSummary& s) {
      const auto found = s.task_metrics.find(metric);
      return found == s.task_metrics.end() ? std::nullopt : std::optional(found->second);
    });
    if (sample && name != "accuracy")
      entry.task_metrics[name] = *sample;
  }
  const auto seconds = [&](double experiments::StepSeconds::*member) {
    return median_over_runs(entry, [member](const RunSummary& s) {
      return s.step_seconds ? std::optional((*s.step_seconds).*member) : std::nullopt;
    });
  };
  entry.step_seconds = seconds(&experiments::StepSeconds::median);
  entry.step_seconds_p10 = seconds(&experiments::StepSeconds::p10);
  entry.step_seconds_p90 = seconds(&experiments::StepSeconds::p90);
  entry.tokens_per_second = median_over_runs(entry, [](const RunSummary& s) { return s.tokens_per_second; });
  for (const Run* run : entry.runs)
    if (const auto& bytes = run->summary.peak_bytes;
        bytes && (!entry.peak_bytes || bytes->total > entry.peak_bytes->total))
      entry.peak_bytes = bytes;
  if (by_accuracy)
    entry.item_interval = interval_over_items(entry);
}

std::vector<std::string> Task::metrics() const {
  std::set<std::string> names;
  for (const Entry& entry : entries)
    for (const auto& [metric, sample] : entry.task_metrics)
      names.insert(metric);
  return {names.begin(), names.end()};
}

void test_task(Task& task, std::vector<std::string>& cautions) {
  std::set<std::size_t> item_counts;
  for (const Entry& entry : task.entries)
    for (const Run* run : entry.runs)
      item_counts.insert(run->summary.items.size());
  if (item_counts.size() == 1 && task.by_accuracy)
    task.items = *item_counts.begin();
  else if (item_counts.size() > 1)
    cautions.push_back(task.name +
                       ": the runs were scored on test sets of different sizes, so there is no test over items");
  if (task.seeds.size() == 1)
    cautions.push_back(
        join(task.name, ": one seed, so no interval over seeds: how much training itself varies is not known"));
  task.same_batches = batches_agree(task);

  pool_residuals(task, cautions);
  for (std::size_t a = 0; a < task.entries.size(); ++a)
    for (std::size_t b = a + 1; b < task.entries.size(); ++b) {
      Pair& pair = task.pairs.emplace_back();
      pair.a = a;
      pair.b = b;
      test_pair(task, pair);
    }
  correct(task.pairs, &Pair::seeds_p, &Pair::seeds_holm);
  correct(task.pairs, &Pair::items_p, &Pair::items_holm);
  for (Pair& pair : task.pairs)
    pair.told_apart = both_pass(pair.seeds_holm, pair.items_holm);

  std::vector<std::optional<double>> bytes, seconds, parameters;
  for (const Entry& entry : task.entries) {
    bytes.push_back(entry.peak_bytes ? std::optional(static_cast<double>(entry.peak_bytes->total)) : std::nullopt);
    seconds.push_back(entry.step_seconds);
    parameters.emplace_back(static_cast<double>(entry.runs.front()->summary.trainable_parameters));
  }
  mark_front(task, &Entry::front_memory, bytes);
  mark_front(task, &Entry::front_time, seconds);
  mark_front(task, &Entry::front_parameters, parameters);
}

}  // namespace osteon::report
