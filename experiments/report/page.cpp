#include "experiments/report/page.hpp"

#include <algorithm>
#include <fmt/format.h>
#include <set>

#include "backends/error.hpp"
#include "experiments/report/format.hpp"
#include "experiments/report/html.hpp"
#include "experiments/report/page_assets.hpp"
#include "experiments/report/page_audit.hpp"
#include "experiments/report/page_figures.hpp"
#include "experiments/report/page_tables.hpp"
#include "experiments/report/palette.hpp"

namespace osteon::report {

namespace {

std::string style_sheet() {
  std::string light = kLightColours, dark = kDarkColours;
  for (std::size_t i = 0; i < kStyles.size(); ++i) {
    light += fmt::format("--m{}:{};", i, kStyles[i].light);
    dark += fmt::format("--m{}:{};", i, kStyles[i].dark);
  }
  for (const Category& category : kCategories) {
    light += fmt::format("--k-{}:{};", category.name, category.light);
    dark += fmt::format("--k-{}:{};", category.name, category.dark);
  }
  for (std::size_t i = 0; i < kStepParts.size(); ++i) {
    light += fmt::format("--t{}:{};", i, kStepParts[i].light);
    dark += fmt::format("--t{}:{};", i, kStepParts[i].dark);
  }
  return ":root{color-scheme:light dark;" + light + "}@media screen and (prefers-color-scheme:dark){:root{" + dark +
         "}}" + kStyleSheet;
}

std::string counted(std::size_t count, const char* thing) { return join(count, " ", thing, count == 1 ? "" : "s"); }

class Page {
 public:
  Page(const Comparison& comparison, const Findings& findings, const Figures& figures)
      : comparison_(comparison), findings_(findings), figures_(figures) {}

  std::string write(const std::string& title, const ReportOptions& options) {
    std::string body = header(title, options.question);
    std::string sections;  // one by one: each adds its link, and operands of + have no order
    sections += results();
    sections += tests();
    for (const FigureSection& each : figure_sections(comparison_, figures_, options.plots))
      sections += section(each.id, each.heading, each.html);
    sections += audit();
    sections += environment();
    sections += repeat(options.command);
    sections += absent();
    sections += section("method", "How to read this", kHowToRead);
    body += "<nav aria-label=\"Sections\">" + links_ + "</nav></header>" + finding() + sections;
    return "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">"
           "<meta name=\"viewport\" content=\"width=device-width,initial-scale=1\"><title>" +
           escaped(title) + "</title><style>" + style_sheet() + "</style></head>\n<body><main>" + body +
           "</main><script>" + kScript + "</script></body></html>\n";
  }

 private:
  std::string section(const char* id, const char* heading, const std::string& content) {
    links_ += fmt::format("<a href=\"#{}\">{}</a>", id, heading);
    return fmt::format("\n<section id=\"{}\"><h2>{}</h2>", id, heading) + content + "</section>";
  }

  std::string header(const std::string& title, const std::string& question) const {
    std::set<std::int64_t> seeds;
    std::string seed_list;
    for (const Task& task : comparison_.tasks)
      seeds.insert(task.seeds.begin(), task.seeds.end());
    for (const std::int64_t seed : seeds)
      seed_list += (seed_list.empty() ? "" : ", ") + std::to_string(seed);
    std::string meta = counted(comparison_.final_runs, "run") + " \u00b7 " +
                       counted(comparison_.contestants.size(), "method") + " \u00b7 " +
                       counted(comparison_.tasks.size(), "task") + " \u00b7 " +
                       (seeds.size() == 1 ? "seed " : "seeds ") + seed_list;
    if (comparison_.sweep_runs > 0)
      meta += " \u00b7 " + counted(comparison_.sweep_runs, "run") + " to choose learning rates";
    if (!comparison_.environments.empty()) {
      const experiments::Environment& e = comparison_.environments.front();
      meta += " \u00b7 " + e.date.substr(0, 10) + (e.commit.empty() ? "" : " \u00b7 commit " + e.commit);
    }
    std::string html = "<header><p class=\"kicker\">Osteon comparison</p><h1>" + escaped(title) + "</h1>";
    if (!question.empty())
      html += "<p class=\"question\">" + escaped(question) + "</p>";
    return html + "<p class=\"meta\">" + escaped(meta) + "</p>";
  }

  std::string finding() const {
    std::string html = "\n<section class=\"finding\" aria-label=\"Finding\"><h2>Finding</h2><p class=\"headline\">" +
                       escaped(findings_.headline) + "</p><dl>";
    for (const Findings::OfTask& task : findings_.tasks)
      html += "<dt>" + escaped(task.task) + "</dt><dd>" + escaped(task.text) + "</dd>";
    if (!findings_.costs.empty()) {
      html += "<dt>Cost</dt><dd>";
      for (const std::string& cost : findings_.costs)
        html += escaped(cost) + " ";
      html += "</dd>";
    }
    html += "</dl></section>";
    if (!comparison_.cautions.empty()) {
      html += "<aside class=\"caution\"><strong>Read with care</strong><ul>";
      for (const std::string& caution : comparison_.cautions)
        html += "<li>" + escaped(caution) + "</li>";
      html += "</ul></aside>";
    }
    return html;
  }

  std::string results() {
    std::string html;
    for (const Task& task : comparison_.tasks) {
      html += "<h3>" + escaped(task.name) + "</h3>" + results_table(comparison_, task) + "<p class=\"note\">";
      std::string note = counted(task.seeds.size(), "seed");
      if (task.items > 0)
        note += ", " + counted(task.items, "test item");
      const auto& before = task.entries.front().runs.front()->summary.evaluation.before;
      if (before && task.by_accuracy && before->accuracy)
        note += ", base model " + fixed(100 * *before->accuracy, 1) + "%";
      else if (before && !task.by_accuracy && before->loss)
        note += ", base model " + fixed(*before->loss, 3);
      if (task.f)
        note += fmt::format(". One-way F({:.0f}, {:.0f}) = {}, {}; standard deviation over seeds {} {}",
                            task.f->between, task.f->within, fixed(task.f->statistic, 1), p_text(task.f->p_value),
                            score_text(task, task.f->pooled_sd), score_unit(task));
      if (task.same_batches)
        note += ". Every method saw the same batches (their hashes agree)";
      html += escaped(note) + ".</p>";
    }
    return section("results", "Results", html);
  }

  std::string tests() {
    std::string matrices, details;
    std::size_t most = 0;  // wide tables stand one below the other
    for (const Task& task : comparison_.tasks) {
      if (task.pairs.empty())
        continue;
      matrices += "<div><h3>" + escaped(task.name) + "</h3>" + pair_matrix(comparison_, task) + "</div>";
      details += pair_table(comparison_, task) + metric_table(comparison_, task);
      most = std::max(most, task.entries.size());
    }
    if (matrices.empty())
      return "";
    return section(
        "tests", "Which differences are real",
        "<p>Differences of mean scores, row minus column. A pair is marked when it is told apart: when neither other "
        "training seeds nor other test items are likely to undo the order. The p value is the larger one of the two "
        "tests, each corrected for "
        "all pairs of the task (Holm).</p>" +
            std::string(most > 6 ? "<div>" : "<div class=\"grid3\">") + matrices +
            "</div><details><summary>Every test of every pair</summary>" + details + "</details>");
  }

  std::string audit() {
    for (const Task& task : comparison_.tasks) {
      const std::string table = audit_table(comparison_, task);
      if (table.empty())
        continue;
      const experiments::RunSummary& s = task.entries.front().runs.front()->summary;
      return section("audit", "Saved tensors",
                     fmt::format("<p>What each method keeps from forward for backward, in MiB (task {}, batches of {} "
                                 "rows of up to {} tokens). A "
                                 "storage is counted once, whatever number of ops hold it.</p>",
                                 escaped(task.name), s.batch_size, s.seq_len) +
                         table + audit_details(comparison_, task));
    }
    return "";
  }

  std::string environment() {
    std::string html;
    for (const experiments::Environment& environment : comparison_.environments)
      html += environment_list(environment);
    if (html.empty())
      html = "<p class=\"note\">The runs left no environment.json.</p>";
    return section("environment", "Environment", html);
  }

  std::string repeat(const std::string& command) {
    std::string html;
    if (!command.empty())
      html += "<p>This command repeats every run and this report:</p><pre>" + escaped(command) + "</pre>";
    html +=
        "<p>One run, to the same bits: <code>osteon finetune RUN/config.toml --out FOLDER</code></p><p "
        "class=\"note\">Each "
        "run folder holds its whole configuration (<code>config.toml</code>), every step (<code>metrics.jsonl</code>) "
        "and "
        "its results (<code>summary.json</code>). Beside this page: <code>report.csv</code> and <code>tests.csv</code> "
        "with "
        "every number, <code>figures</code> with the data and gnuplot script of each figure.</p>";
    return section("repeat", "Run it again", html);
  }

  std::string absent() {
    return section("absent", "Failed and missing runs",
                   comparison_.absent.empty() ? "<p class=\"note\">None.</p>" : absent_table(comparison_.absent));
  }

  const Comparison& comparison_;
  const Findings& findings_;
  const Figures& figures_;
  std::string links_;
};

}  // namespace

std::string page(const Comparison& comparison, const Findings& findings, const Figures& figures,
                 const std::string& title, const ReportOptions& options) {
  return Page(comparison, findings, figures).write(title, options);
}

}  // namespace osteon::report
