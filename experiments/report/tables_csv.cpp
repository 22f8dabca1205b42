#include <fmt/format.h>

#include "experiments/report/format.hpp"
#include "experiments/report/tables.hpp"

namespace osteon::report {

namespace {

std::string csv_text(const std::string& text) {
  if (text.find_first_of(",\"\n\r") == std::string::npos)
    return text;
  std::string quoted = "\"";
  for (const char letter : text)
    quoted += letter == '"' ? std::string("\"\"") : std::string(1, letter);
  return quoted + "\"";
}

std::string full(const std::optional<double>& value) { return value ? shortest(*value) : ""; }
std::string full(const std::optional<std::int64_t>& value) { return value ? std::to_string(*value) : ""; }
std::string full(const std::optional<Interval>& interval) {
  return interval ? shortest(interval->low) + "," + shortest(interval->high) : ",";
}
std::string full(const std::optional<Sample>& sample) {
  return sample ? shortest(sample->mean) + "," + full(sample->sd) + "," + full(sample->interval) : ",,,";
}

}  // namespace

std::string results_csv(const Comparison& comparison) {
  std::string csv =
      "task,contestant,method,rank,alpha,lr,seeds,trainable_parameters,total_parameters,measure,"
      "score_mean,score_sd,score_low,score_high,items_low,items_high,"
      "accuracy_mean,accuracy_sd,accuracy_low,accuracy_high,loss_mean,loss_sd,loss_low,loss_high,"
      "keep_mean,keep_sd,keep_low,keep_high,step_seconds,step_seconds_p10,step_seconds_p90,tokens_per_second,"
      "peak_bytes,weights_bytes,adapter_bytes,gradient_bytes,optimizer_bytes,activation_bytes,workspace_bytes,"
      "front_memory,front_time,front_parameters\n";
  for (const Task& task : comparison.tasks)
    for (const Entry& entry : task.entries) {
      const experiments::RunSummary& s = entry.runs.front()->summary;
      csv += fmt::format("{},{},{},{},{},{},{},{},{},{},", csv_text(task.name),
                         csv_text(comparison.contestants[entry.contestant].label), csv_text(s.method), full(s.rank),
                         full(s.alpha), full(s.lr), entry.runs.size(), s.trainable_parameters, s.total_parameters,
                         task.by_accuracy ? "accuracy" : "loss");
      csv += full(std::optional(entry.score)) + "," + full(entry.item_interval) + "," + full(entry.accuracy) + "," +
             full(entry.loss) + "," + full(entry.keep) + ",";
      csv += full(entry.step_seconds) + "," + full(entry.step_seconds_p10) + "," + full(entry.step_seconds_p90) + "," +
             full(entry.tokens_per_second) + ",";
      if (const auto& b = entry.peak_bytes)
        csv += fmt::format("{},{},{},{},{},{},{},", b->total, b->weights, b->adapter, b->gradient, b->optimizer,
                           b->activation, b->workspace);
      else
        csv += ",,,,,,,";
      csv += fmt::format("{},{},{}\n", entry.front_memory ? 1 : 0, entry.front_time ? 1 : 0,
                         entry.front_parameters ? 1 : 0);
    }
  return csv;
}

std::string tests_csv(const Comparison& comparison) {
  std::string csv =
      "task,a,b,difference,seeds_p,seeds_p_holm,paired_t,paired_t_degrees,paired_t_p,items_p,items_p_holm,"
      "mcnemar_only_a,mcnemar_only_b,mcnemar_p,cohen_d,seeds_needed,told_apart\n";
  for (const Task& task : comparison.tasks)
    for (const Pair& pair : task.pairs) {
      const auto label = [&](std::size_t i) {
        return csv_text(comparison.contestants[task.entries[i].contestant].label);
      };
      csv += fmt::format("{},{},{},{},{},{},", csv_text(task.name), label(pair.a), label(pair.b),
                         shortest(pair.difference), full(pair.seeds_p), full(pair.seeds_holm));
      csv += pair.plain ? shortest(pair.plain->statistic) + "," + shortest(pair.plain->degrees) + "," +
                              shortest(pair.plain->p_value) + ","
                        : ",,,";
      csv += full(pair.items_p) + "," + full(pair.items_holm) + ",";
      csv += pair.mcnemar
                 ? fmt::format("{},{},{},", pair.mcnemar->only_a, pair.mcnemar->only_b, shortest(pair.mcnemar->p_value))
                 : ",,,";
      csv += full(pair.effect) + "," + full(pair.seeds_needed);
      csv += pair.told_apart ? ",1\n" : ",0\n";
    }
  return csv;
}

std::string metric_tests_csv(const Comparison& comparison) {
  std::string csv;
  for (const Task& task : comparison.tasks)
    for (const MetricPair& pair : task.metric_pairs) {
      const auto label = [&](std::size_t i) {
        return csv_text(comparison.contestants[task.entries[i].contestant].label);
      };
      csv += fmt::format("{},{},{},{},{},{},{},{},{},{}\n", csv_text(task.name), csv_text(pair.metric), label(pair.a),
                         label(pair.b), shortest(pair.difference), full(pair.seeds_p), full(pair.seeds_holm),
                         full(pair.items_p), full(pair.items_holm), pair.told_apart ? 1 : 0);
    }
  return csv.empty() ? csv : "task,metric,a,b,difference,seeds_p,seeds_p_holm,items_p,items_p_holm,told_apart\n" + csv;
}

}  // namespace osteon::report
