#include "experiments/report/tables.hpp"

#include <algorithm>
#include <fmt/format.h>
#include <string_view>
#include <utility>

#include "backends/error.hpp"
#include "experiments/report/format.hpp"

namespace osteon::report {

namespace {

/// One row of the table of a task, as texts; shared by Markdown and terminal. `metrics`: columns of the real task.
std::vector<std::string> row_texts(const Comparison& comparison, const Task& task, const Entry& entry,
                                   const std::vector<std::string>& metrics) {
  const experiments::RunSummary& s = entry.runs.front()->summary;
  const auto half = [](const Interval& interval) { return (interval.high - interval.low) / 2; };
  const std::string none = "-";
  std::vector<std::string> row = {
      comparison.contestants[entry.contestant].label,
      std::to_string(s.trainable_parameters),
      s.rank ? std::to_string(*s.rank) : none,
      s.lr ? shortest(*s.lr) : none,
      score_text(task, entry.score.mean),
      entry.score.interval ? score_text(task, half(*entry.score.interval)) : none,
      entry.item_interval
          ? score_text(task, entry.item_interval->low) + " to " + score_text(task, entry.item_interval->high)
          : none,
      entry.loss && task.by_accuracy ? fixed(entry.loss->mean, 3) : none,
      entry.keep ? fixed(100 * entry.keep->mean, 1) : none,
      entry.step_seconds ? milliseconds(*entry.step_seconds) : none,
      entry.tokens_per_second ? fixed(*entry.tokens_per_second, 0) : none,
      entry.peak_bytes ? mebibytes(entry.peak_bytes->total) : none,
      entry.forgotten ? fixed(entry.forgotten->mean, 3) : none,
  };
  for (const std::string& metric : metrics) {
    const auto found = entry.task_metrics.find(metric);
    row.push_back(found == entry.task_metrics.end() ? none : metric_text(found->second.mean));
  }
  return row;
}

/// Headings and rows of a task's table, without the columns that no row fills.
std::vector<std::vector<std::string>> table_of(const Comparison& comparison, const Task& task, const char* plus_minus) {
  std::vector<std::vector<std::string>> rows = {
      {"method", "trainable", "rank", "lr", task.by_accuracy ? "accuracy %" : "loss", std::string(plus_minus) + " 95%",
       "over items", "loss", "keep %", "step ms", "tokens/s", "peak MiB", "forgotten"}};
  const std::vector<std::string> metrics = task.metrics();
  rows[0].insert(rows[0].end(), metrics.begin(), metrics.end());
  for (const Entry& entry : task.entries)
    rows.push_back(row_texts(comparison, task, entry, metrics));
  for (std::size_t c = rows[0].size(); c-- > 1;)
    if (std::all_of(rows.begin() + 1, rows.end(), [&](const auto& row) { return row[c] == "-"; }))
      for (auto& row : rows)
        row.erase(row.begin() + static_cast<std::ptrdiff_t>(c));
  return rows;
}

/// The typographic signs of the texts, on a terminal that may not have them.
std::string ascii(std::string text) {
  const std::pair<const char*, const char*> signs[] = {
      {"\u2212", "-"}, {"\u202f", " "}, {"\u2019", "'"}, {"\u2264", "<="}, {"\u2265", ">="}};
  for (const auto& [from, to] : signs)
    for (std::size_t at; (at = text.find(from)) != std::string::npos;)
      text.replace(at, std::string(from).size(), to);
  return text;
}

/// Control characters of names must not reach a terminal.
std::string printable(const std::string& text) {
  std::string out;
  for (const char letter : text)
    out += static_cast<unsigned char>(letter) < 0x20 || letter == 0x7f ? '?' : letter;
  return out;
}

std::string markdown_text(const std::string& text) {
  std::string out;
  for (const char letter : text) {
    if (std::string("|<>*_`[]\\").find(letter) != std::string::npos)
      out += '\\';
    out += letter == '\n' ? ' ' : letter;
  }
  return out;
}

std::string latex_text(const std::string& text) {
  const std::pair<const char*, const char*> signs[] = {{"\u2212", "$-$"},    {"\u202f", "\\,"},
                                                       {"\u2019", "'"},      {"\u00b1", "$\\pm$"},
                                                       {"\u2264", "$\\le$"}, {"\u2265", "$\\ge$"}};
  std::string out;
  for (std::size_t at = 0; at < text.size(); ++at) {
    const auto* const sign = std::find_if(std::begin(signs), std::end(signs), [&](const auto& each) {
      return text.compare(at, std::string_view(each.first).size(), each.first) == 0;
    });
    if (sign != std::end(signs)) {
      out += sign->second;
      at += std::string_view(sign->first).size() - 1;
    } else if (const char letter = text[at]; letter == '\\') {
      out += "\\textbackslash{}";
    } else if (letter == '~' || letter == '^') {
      out += std::string("\\") + letter + "{}";
    } else if (letter == '<' || letter == '>') {
      out += std::string("$") + letter + "$";
    } else if (static_cast<unsigned char>(letter) < 0x20) {
      out += ' ';
    } else {
      out += (std::string("&%$#_{}").find(letter) != std::string::npos ? "\\" : "") + std::string(1, letter);
    }
  }
  return out;
}

std::string wrapped(const std::string& text, std::size_t width, const std::string& indent) {
  std::string out, line = indent;
  for (std::size_t at = 0; at < text.size();) {
    const std::size_t end = std::min(text.find(' ', at), text.size());
    if (line.size() > indent.size() && line.size() + 1 + end - at > width) {
      out += line + "\n";
      line = indent;
    }
    line += (line.size() > indent.size() ? " " : "") + text.substr(at, end - at);
    at = end + 1;
  }
  return out + line + "\n";
}

/// The tests of the texts' scores, in Markdown.
std::string metric_table(const Comparison& comparison, const Task& task) {
  if (task.metric_pairs.empty())
    return "";
  std::string text =
      "\n| score of the items | pair | difference | p over seeds (Holm) | p over items (Holm) | "
      "|\n|---|---|--:|--:|--:|---|\n";
  for (const MetricPair& pair : task.metric_pairs)
    text += fmt::format("| {} | {} \u2212 {} | {} | {} | {} | {} |\n", markdown_text(pair.metric),
                        markdown_text(comparison.contestants[task.entries[pair.a].contestant].label),
                        markdown_text(comparison.contestants[task.entries[pair.b].contestant].label),
                        metric_difference(pair), pair.seeds_holm ? p_value(*pair.seeds_holm) : "-",
                        pair.items_holm ? p_value(*pair.items_holm) : "-",
                        pair.told_apart ? "told apart" : "not told apart");
  return text;
}

}  // namespace

std::string markdown(const Comparison& comparison, const Findings& findings, const std::string& title,
                     const std::string& question, const std::string& command) {
  std::string text = "# " + markdown_text(title) + "\n\n";
  if (!question.empty())
    text += "*" + markdown_text(question) + "*\n\n";
  text += "**" + markdown_text(findings.headline) + "**\n\n";
  for (const std::string& caution : comparison.cautions)
    text += "- Caution: " + markdown_text(caution) + "\n";
  for (const std::string& cost : findings.costs)
    text += "- " + markdown_text(cost) + "\n";
  for (std::size_t t = 0; t < comparison.tasks.size(); ++t) {
    const Task& task = comparison.tasks[t];
    text += "\n## " + markdown_text(task.name) + "\n\n" + markdown_text(findings.tasks[t].text) + "\n\n";
    const auto rows = table_of(comparison, task, "\u00b1");
    for (std::size_t r = 0; r < rows.size(); ++r) {
      for (const std::string& value : rows[r])
        text += "| " + markdown_text(value) + " ";
      text += "|\n";
      for (std::size_t c = 0; r == 0 && c < rows[0].size(); ++c)
        text += c == 0 ? "|---" : "|--:";
      text += r == 0 ? "|\n" : "";
    }
    text +=
        "\n| pair | difference | p over seeds (Holm) | p over items (Holm) | seeds needed | "
        "|\n|---|--:|--:|--:|--:|---|\n";
    for (const Pair& pair : task.pairs)
      text += fmt::format("| {} \u2212 {} | {} | {} | {} | {} | {} |\n",
                          markdown_text(comparison.contestants[task.entries[pair.a].contestant].label),
                          markdown_text(comparison.contestants[task.entries[pair.b].contestant].label),
                          difference_text(task, pair.difference), pair.seeds_holm ? p_value(*pair.seeds_holm) : "-",
                          pair.items_holm ? p_value(*pair.items_holm) : "-",
                          pair.seeds_needed ? std::to_string(*pair.seeds_needed) : "-",
                          pair.told_apart ? "told apart" : "not told apart");
    text += metric_table(comparison, task);
  }
  if (!comparison.absent.empty()) {
    text += "\n## Failed and missing runs\n\n";
    for (const AbsentRun& run : comparison.absent)
      text += "- " + markdown_text(run.name) + ": " + markdown_text(run.reason) + "\n";
  }
  if (!command.empty())
    text += "\n## Again\n\n```\n" + command + "\n```\n";
  return text;
}

std::string latex(const Comparison& comparison, const Findings& findings) {
  std::string text = "% needs \\usepackage{booktabs}\n";
  for (std::size_t t = 0; t < comparison.tasks.size(); ++t) {
    const Task& task = comparison.tasks[t];
    const auto rows = table_of(comparison, task, "\u00b1");
    text += "\n\\begin{table}\n  \\centering\n  \\caption{" + latex_text(task.name) + ": " +
            latex_text(findings.tasks[t].text) + "}\n  \\begin{tabular}{l" + std::string(rows[0].size() - 1, 'r') +
            "}\n    \\toprule\n";
    for (std::size_t r = 0; r < rows.size(); ++r) {
      text += "    ";
      for (std::size_t c = 0; c < rows[r].size(); ++c)
        text += (c == 0 ? "" : " & ") + latex_text(rows[r][c]);
      text += r == 0 ? " \\\\\n    \\midrule\n" : " \\\\\n";
    }
    text += "    \\bottomrule\n  \\end{tabular}\n\\end{table}\n";
  }
  return text;
}

std::string terminal_table(const Comparison& comparison) {
  const Findings findings = findings_of(comparison);
  std::string out;
  for (std::size_t t = 0; t < comparison.tasks.size(); ++t) {
    const Task& task = comparison.tasks[t];
    auto rows = table_of(comparison, task, "+-");
    const std::string seeds = join(task.seeds.size(), task.seeds.size() == 1 ? " seed" : " seeds");
    out += "\n" + printable(task.name) + " (" + seeds +
           (task.items > 0 ? join(", ", task.items, " test items)\n") : std::string(")\n"));
    std::vector<std::size_t> widths(rows[0].size(), 0);
    for (auto& row : rows)
      for (std::size_t c = 0; c < row.size(); ++c) {
        row[c] = printable(row[c]);
        widths[c] = std::max(widths[c], row[c].size());
      }
    for (const auto& row : rows) {
      out += fmt::format("  {:<{}}", row[0], widths[0]);
      for (std::size_t c = 1; c < row.size(); ++c)
        out += fmt::format("  {:>{}}", row[c], widths[c]);
      out += "\n";
    }
    out += wrapped(printable(ascii(findings.tasks[t].text)), 100, "  ");
  }
  out += "\n" + wrapped(printable(ascii(findings.headline)), 100, "");
  for (const std::string& cost : findings.costs)
    out += wrapped(printable(ascii(cost)), 100, "");
  for (const std::string& caution : comparison.cautions)
    out += wrapped("Caution: " + printable(ascii(caution)), 100, "");
  if (!comparison.absent.empty())
    out += join(comparison.absent.size(), " failed, missing or left out, see the report\n");
  return out;
}

}  // namespace osteon::report
