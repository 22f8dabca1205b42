#include "experiments/report/page_tables.hpp"

#include <algorithm>
#include <cmath>
#include <fmt/format.h>

#include "backends/error.hpp"
#include "experiments/report/format.hpp"
#include "experiments/report/html.hpp"

namespace osteon::report {

namespace {

/// Mean and interval of a score drawn to the task's scale, the seeds as small circles.
std::string strip(const Task& task, const Entry& entry, std::size_t style) {
  double low = 1e300, high = -1e300;
  const auto reach = [&](double value) {
    low = std::min(low, value);
    high = std::max(high, value);
  };
  for (const Entry& each : task.entries) {
    for (const double value : each.score.values)
      reach(value);
    if (const auto interval = each.score.interval ? each.score.interval : each.item_interval) {
      reach(interval->low);
      reach(interval->high);
    }
  }
  if (task.by_accuracy) {
    low = std::max(low, 0.0);
    high = std::min(high, 1.0);
  }
  const double span = high > low ? high - low : 1;
  const auto x = [&](double value) { return 6 + 118 * std::clamp((value - low) / span, 0.0, 1.0); };
  std::string svg = "<svg class=\"strip\" viewBox=\"0 0 130 18\" aria-hidden=\"true\">";
  if (const auto interval = entry.score.interval ? entry.score.interval : entry.item_interval)
    svg += fmt::format(
        "<path d=\"M{0:.1f} 9H{1:.1f}M{0:.1f} 5.5v7M{1:.1f} 5.5v7\" stroke=\"var(--m{2})\" stroke-width=\"1.4\"/>",
        x(interval->low), x(interval->high), style);
  for (const double value : entry.score.values)
    svg += fmt::format("<circle cx=\"{:.1f}\" cy=\"9\" r=\"2.1\" fill=\"var(--paper)\" stroke=\"var(--m{})\"/>",
                       x(value), style);
  return svg + fmt::format("<circle cx=\"{:.1f}\" cy=\"9\" r=\"3.6\" fill=\"var(--m{})\"/></svg>", x(entry.score.mean),
                           style);
}

std::string plus_minus(const std::string& text) { return " <span class=\"pm\">\u00b1\u202f" + text + "</span>"; }

double half(const Interval& interval) { return (interval.high - interval.low) / 2; }

std::string p_cell(const std::optional<double>& p) { return number_cell(p, p ? escaped(p_value(*p)) : ""); }

}  // namespace

std::string contestant_html(const Contestant& contestant) {
  return fmt::format("<span class=\"dot\" style=\"background:var(--m{})\"></span>{}", contestant.style,
                     escaped(contestant.label));
}

std::string results_table(const Comparison& comparison, const Task& task) {
  const auto any = [&](auto member) {
    return std::any_of(task.entries.begin(), task.entries.end(),
                       [&](const Entry& e) { return (e.*member).has_value(); });
  };
  const bool items = any(&Entry::item_interval), keep = any(&Entry::keep), loss = task.by_accuracy && any(&Entry::loss),
             accuracy = !task.by_accuracy && any(&Entry::accuracy);
  const bool rank = std::any_of(task.entries.begin(), task.entries.end(),
                                [](const Entry& e) { return e.runs.front()->summary.rank.has_value(); });
  std::string html = "<div class=\"scroll\"><table class=\"results sortable\"><thead><tr><th scope=\"col\">Method</th>";
  const auto heading = [&](bool shown, const char* text, const char* tooltip) {
    if (shown)
      html += fmt::format("<th scope=\"col\" title=\"{}\">{}</th>", tooltip, text);
  };
  heading(true, task.by_accuracy ? "Accuracy %" : "Loss",
          "mean over seeds, \u00b1 half of the 95% t interval over seeds");
  heading(true, "Seeds and interval", "filled: mean; circles: seeds; whiskers: 95% interval");
  heading(items, "Over items", "95% bootstrap interval over test items, the seeds held fixed");
  heading(loss, "Loss", "held-out loss in nats a token, mean over seeds");
  heading(accuracy, "Accuracy %", "mean over seeds");
  heading(keep, "Keep %", "mean accuracy on the base model\u2019s skills after training: what was not forgotten");
  const bool forgotten = any(&Entry::forgotten);
  const std::vector<std::string> metrics = task.metrics();
  heading(forgotten, "Forgotten", "rise of the loss on text like the base\u2019s own, in nats a token");
  for (const std::string& metric : metrics)
    heading(true, escaped(metric).c_str(), "of the real task, mean over seeds");
  heading(true, "Step ms", "median over the runs of the median step");
  heading(true, "Tokens/s", "median over the runs");
  heading(true, "Peak MiB", "live tensor bytes at the moment of the highest total");
  heading(true, "Trainable", "trainable parameters");
  heading(rank, "Rank", "rank of the adapter");
  heading(true, "Rate", "learning rate of the final runs");
  html += "</tr></thead><tbody>";
  for (const Entry& entry : task.entries) {
    const Contestant& contestant = comparison.contestants[entry.contestant];
    const experiments::RunSummary& s = entry.runs.front()->summary;
    html += "<tr><th scope=\"row\">" + contestant_html(contestant) + "</th>";
    html += number_cell(entry.score.mean,
                        "<span class=\"strong\">" + score_text(task, entry.score.mean) + "</span>" +
                            (entry.score.interval ? plus_minus(score_text(task, half(*entry.score.interval)))
                                                  : std::string(" <span class=\"pm\">one seed</span>")),
                        entry.score.sd ? "standard deviation over seeds " + score_text(task, *entry.score.sd)
                                       : "one seed: no interval over seeds");
    html += number_cell(entry.score.mean, strip(task, entry, contestant.style));
    if (items)
      html += number_cell(entry.item_interval ? std::optional(half(*entry.item_interval)) : std::nullopt,
                          entry.item_interval ? score_text(task, entry.item_interval->low) + "\u2013" +
                                                    score_text(task, entry.item_interval->high)
                                              : "");
    if (loss)
      html += number_cell(entry.loss ? std::optional(entry.loss->mean) : std::nullopt,
                          entry.loss ? fixed(entry.loss->mean, 3) : "");
    if (accuracy)
      html += number_cell(entry.accuracy ? std::optional(entry.accuracy->mean) : std::nullopt,
                          entry.accuracy ? fixed(100 * entry.accuracy->mean, 1) : "");
    if (keep) {
      std::string skills;
      for (const auto& [skill, share] : s.evaluation.keep)
        skills += (skills.empty() ? "" : ", ") + skill + " " + fixed(100 * share, 0);
      html += number_cell(entry.keep ? std::optional(entry.keep->mean) : std::nullopt,
                          entry.keep ? fixed(100 * entry.keep->mean, 1) : "", skills + join(" (seed ", s.seed, ")"));
    }
    if (forgotten)
      html += number_cell(entry.forgotten ? std::optional(entry.forgotten->mean) : std::nullopt,
                          entry.forgotten ? fixed(entry.forgotten->mean, 3) : "");
    for (const std::string& metric : metrics) {
      const auto found = entry.task_metrics.find(metric);
      const bool there = found != entry.task_metrics.end();
      html += number_cell(there ? std::optional(found->second.mean) : std::nullopt,
                          there ? metric_text(found->second.mean) : "");
    }
    html += number_cell(entry.step_seconds, entry.step_seconds ? milliseconds(*entry.step_seconds) : "",
                        entry.step_seconds_p10 && entry.step_seconds_p90
                            ? "10th to 90th percentile " + milliseconds(*entry.step_seconds_p10) + " to " +
                                  milliseconds(*entry.step_seconds_p90)
                            : "");
    html += number_cell(entry.tokens_per_second,
                        entry.tokens_per_second ? grouped(std::llround(*entry.tokens_per_second)) : "");
    html += bytes_cell(entry.peak_bytes ? std::optional(entry.peak_bytes->total) : std::nullopt);
    html += number_cell(static_cast<double>(s.trainable_parameters), grouped(s.trainable_parameters),
                        "of " + grouped(s.total_parameters));
    if (rank)
      html += number_cell(s.rank ? std::optional(static_cast<double>(*s.rank)) : std::nullopt,
                          s.rank ? std::to_string(*s.rank) : "");
    html += number_cell(s.lr, s.lr ? shortest(*s.lr) : "");
    html += "</tr>";
  }
  return html + "</tbody></table></div>";
}

std::string pair_matrix(const Comparison& comparison, const Task& task) {
  std::string html = "<div class=\"scroll\"><table class=\"matrix\"><thead><tr><td></td>";
  for (std::size_t column = 0; column + 1 < task.entries.size(); ++column)
    html += "<th scope=\"col\">" + escaped(comparison.contestants[task.entries[column].contestant].label) + "</th>";
  html += "</tr></thead><tbody>";
  for (std::size_t row = 1; row < task.entries.size(); ++row) {
    html += "<tr><th scope=\"row\">" + contestant_html(comparison.contestants[task.entries[row].contestant]) + "</th>";
    for (std::size_t column = 0; column < row; ++column) {
      const auto pair = std::find_if(task.pairs.begin(), task.pairs.end(),
                                     [&](const Pair& p) { return p.a == column && p.b == row; });
      const auto p = pair->decisive_p();
      html += fmt::format("<td{}>{}<small>{}</small></td>", pair->told_apart ? " class=\"apart\"" : "",
                          difference_text(task, -pair->difference), p ? escaped(p_text(*p)) : "no test");
    }
    html += "</tr>";
  }
  return html + "</tbody></table></div>";
}

std::string pair_table(const Comparison& comparison, const Task& task) {
  const bool mcnemar =
      std::any_of(task.pairs.begin(), task.pairs.end(), [](const Pair& p) { return p.mcnemar.has_value(); });
  std::string html =
      "<div class=\"scroll\"><table class=\"sortable\"><thead><tr><th scope=\"col\">" + escaped(task.name) +
      "</th><th scope=\"col\">Difference</th><th scope=\"col\">Seeds p</th><th scope=\"col\">Holm</th>"
      "<th scope=\"col\">Plain paired t</th><th scope=\"col\">p</th><th scope=\"col\">Items p</th>"
      "<th scope=\"col\">Holm</th><th scope=\"col\">Effect d</th>"
      "<th scope=\"col\" title=\"with which a test of this pair alone finds the difference seen, four times "
      "out of five\">Seeds needed</th>";
  if (mcnemar)
    html += "<th scope=\"col\" title=\"items that only the first, only the second answered\">Only one right</th>";
  html += "<th scope=\"col\" class=\"text\"></th></tr></thead><tbody>";
  for (const Pair& pair : task.pairs) {
    html += "<tr><td>" + escaped(comparison.contestants[task.entries[pair.a].contestant].label) + " \u2212 " +
            escaped(comparison.contestants[task.entries[pair.b].contestant].label) + "</td>";
    html += number_cell(pair.difference, difference_text(task, pair.difference));
    html += p_cell(pair.seeds_p) + p_cell(pair.seeds_holm);
    html += number_cell(pair.plain ? std::optional(pair.plain->statistic) : std::nullopt,
                        pair.plain ? signed_fixed(pair.plain->statistic, 2) : "",
                        pair.plain ? fixed(pair.plain->degrees, 0) + " degrees of freedom" : "");
    html += p_cell(pair.plain ? std::optional(pair.plain->p_value) : std::nullopt);
    html += p_cell(pair.items_p) + p_cell(pair.items_holm);
    html += number_cell(pair.effect, pair.effect ? signed_fixed(*pair.effect, 1) : "");
    html += pair.seeds_needed ? join("<td>", *pair.seeds_needed, "</td>") : "<td></td>";
    if (mcnemar)
      html += pair.mcnemar ? join("<td>", pair.mcnemar->only_a, " : ", pair.mcnemar->only_b, "</td>") : "<td></td>";
    html += pair.told_apart ? "<td class=\"text strong\">told apart</td></tr>"
                            : "<td class=\"text pm\">not told apart</td></tr>";
  }
  return html + "</tbody></table></div>";
}

std::string metric_table(const Comparison& comparison, const Task& task) {
  if (task.metric_pairs.empty())
    return "";
  std::string html =
      "<div class=\"scroll\"><table class=\"sortable\"><thead><tr><th scope=\"col\">" + escaped(task.name) +
      ", scores of its items</th><th scope=\"col\" class=\"text\">Score</th><th scope=\"col\">Difference</th>"
      "<th scope=\"col\">Seeds p</th><th scope=\"col\">Holm</th><th scope=\"col\">Items p</th>"
      "<th scope=\"col\">Holm</th><th scope=\"col\" class=\"text\"></th></tr></thead><tbody>";
  for (const MetricPair& pair : task.metric_pairs) {
    html += "<tr><td>" + escaped(comparison.contestants[task.entries[pair.a].contestant].label) + " \u2212 " +
            escaped(comparison.contestants[task.entries[pair.b].contestant].label) + "</td><td class=\"text\">" +
            escaped(pair.metric) + "</td>" + number_cell(pair.difference, metric_difference(pair));
    html += p_cell(pair.seeds_p) + p_cell(pair.seeds_holm) + p_cell(pair.items_p) + p_cell(pair.items_holm);
    html += pair.told_apart ? "<td class=\"text strong\">told apart</td></tr>"
                            : "<td class=\"text pm\">not told apart</td></tr>";
  }
  return html + "</tbody></table></div>";
}

std::string environment_list(const experiments::Environment& environment) {
  std::string html = "<dl class=\"facts\">";
  const auto fact = [&](const char* name, const std::string& value) {
    if (!value.empty())
      html += fmt::format("<dt>{}</dt><dd>{}</dd>", name, escaped(value));
  };
  fact("Processor", environment.cpu);
  fact("Cores, threads",
       join(environment.cores, " usable, ", environment.threads, environment.threads == 1 ? " thread" : " threads",
            environment.ranks > 1 ? join(" at each of ", environment.ranks, " ranks") : std::string()));
  fact("GPU", environment.gpu);
  fact("Memory", environment.memory_bytes > 0
                     ? fixed(static_cast<double>(environment.memory_bytes) / (1 << 30), 1) + " GiB"
                     : "");
  fact("Vector extension", environment.isa);
  fact("Matrix products",
       environment.gemm +
           (environment.gemm_implementations.empty() ? "" : " (" + enumerate(environment.gemm_implementations) + ")"));
  fact("Deterministic", environment.deterministic ? "yes: the same bits for any number of threads" : "not asked for");
  fact("Compiler", environment.compiler + (environment.build.empty() ? "" : ", " + environment.build));
  fact("Osteon", environment.version + (environment.commit.empty() ? "" : ", commit " + environment.commit));
  fact("System", environment.os);
  fact("First run", environment.date);
  return html + "</dl>";
}

std::string absent_table(const std::vector<AbsentRun>& absent) {
  std::string html =
      "<div class=\"scroll\"><table class=\"narrow\"><thead><tr><th scope=\"col\">Run</th><th scope=\"col\" "
      "class=\"text\">What happened</th></tr></thead><tbody>";
  for (const AbsentRun& run : absent)
    html += "<tr><td>" + escaped(run.name) + "</td><td class=\"text\">" + escaped(run.reason) + "</td></tr>";
  return html + "</tbody></table></div>";
}

std::string grid_edges(const Comparison& comparison) {
  std::string tasks;
  for (const Task& task : comparison.tasks) {
    std::vector<std::string> names;
    for (const Entry& entry : task.entries) {
      const auto tried = task.sweep.find(entry.contestant);
      const std::optional<double> rate = entry.runs.front()->summary.lr;
      if (tried != task.sweep.end() && tried->second.size() > 1 &&
          (rate == tried->second.front().lr || rate == tried->second.back().lr))
        names.push_back(comparison.contestants[entry.contestant].label);
    }
    if (!names.empty())
      tasks += (tasks.empty() ? "" : "; ") + enumerate(names) + " on " + task.name;
  }
  return tasks.empty() ? ""
                       : "<p class=\"note\">At the edge of the rates that were tried, where others may do better: " +
                             escaped(tasks) + ".</p>";
}

}  // namespace osteon::report
