#include "experiments/report/page_figures.hpp"

#include <algorithm>
#include <fmt/format.h>
#include <map>
#include <set>
#include <utility>

#include "experiments/report/format.hpp"
#include "experiments/report/html.hpp"
#include "experiments/report/page_tables.hpp"
#include "experiments/report/palette.hpp"
#include "experiments/report/report.hpp"

namespace osteon::report {

namespace {

std::string key(const Comparison& comparison, const std::vector<Figure>& row) {
  std::string html = "<ul class=\"key\">";
  std::set<std::size_t> shown;
  for (const Task& task : comparison.tasks)
    if (std::any_of(row.begin(), row.end(), [&](const Figure& f) { return f.task == task.name; }))
      for (const Entry& entry : task.entries)
        shown.insert(entry.contestant);
  for (const std::size_t who : shown)
    html += "<li>" + contestant_html(comparison.contestants[who]) + "</li>";
  return html + "</ul>";
}

std::string panels(const Figures& figures, const std::vector<Figure>& row) {
  if (std::all_of(row.begin(), row.end(), [](const Figure& figure) { return figure.svg.empty(); }))
    return "<p class=\"note\">No figure here: " + escaped(figures.missing) +
           ". Data and scripts are in the folder figures beside this page; install gnuplot and run the report again, "
           "or draw them by hand.</p>";
  std::string html = "<div class=\"panels\">";
  for (const Figure& figure : row)
    html += "<figure role=\"img\" aria-label=\"" + escaped(figure.description) + "\"><figcaption>" +
            escaped(figure.caption) + "</figcaption>" +
            (figure.svg.empty() ? "<p class=\"note\">not drawn: " + escaped(figures.missing) + "</p>" : figure.svg) +
            "</figure>";
  return html + "</div>";
}

std::string curves(const Comparison& comparison, const Figures& figures) {
  if (figures.loss.empty())
    return "";
  return "<p>Training loss, a running mean over a sixtieth of the run to each side; the line is the mean "
         "over seeds, the band "
         "reaches from the lowest seed to the highest.</p>" +
         key(comparison, figures.loss) + panels(figures, figures.loss);
}

std::string tradeoffs(const Comparison& comparison, const Figures& figures) {
  if (figures.parameters_tradeoff.empty())
    return "";
  std::string html =
      "<p>Filled markers and the dashed line are the Pareto front: no other method is at least as good for at most "
      "the cost. Whiskers are 95% intervals over seeds (over items where there is one seed), so a place on the "
      "front is only as firm as they are short. Points of equal cost are set side by side.</p>";
  const std::pair<const char*, const std::vector<Figure>*> rows[] = {
      {"peak memory", &figures.memory_tradeoff},
      {"step time", &figures.time_tradeoff},
      {"trainable parameters", &figures.parameters_tradeoff}};
  if (comparison.tasks.size() == 1) {  // side by side
    std::vector<Figure> together;
    for (const auto& [cost, row] : rows)
      for (Figure figure : *row) {
        figure.caption = std::string("Against ") + cost;
        together.push_back(std::move(figure));
      }
    html += key(comparison, figures.parameters_tradeoff) + panels(figures, together);
  } else {
    for (const auto& [cost, row] : rows)
      if (!row->empty())
        html += std::string("<h3>Against ") + cost + "</h3>" + key(comparison, *row) + panels(figures, *row);
  }
  return html;
}

std::string rates(const Comparison& comparison, const Figures& figures) {
  if (figures.sweep.empty())
    return "";
  return "<p>Every method was given the same learning rates on validation data, apart from the test data of the "
         "tables. "
         "The rings mark the rate of the final runs. A comparison at one shared rate could rank the methods "
         "differently.</p>" +
         key(comparison, figures.sweep) + panels(figures, figures.sweep) + grid_edges(comparison);
}

/// The key of lines through several entries, each in the style of its first: `lines_of` a task, `name` of a line.
template <class LinesOf, class Name>
std::string line_key(const Comparison& comparison, const LinesOf& lines_of, const Name& name) {
  std::map<std::string, std::size_t> styles;
  for (const Task& task : comparison.tasks)
    for (const auto& [line, entries] : lines_of(comparison, task))
      styles.try_emplace(name(line), comparison.contestants[entries.begin()->second->contestant].style);
  std::string key = "<ul class=\"key\">";
  for (const auto& [label, style] : styles)
    key += "<li>" + contestant_html({.method = {}, .label = label, .style = style}) + "</li>";
  return key + "</ul>";
}

std::string sensitivity(const Comparison& comparison, const Figures& figures) {
  if (figures.rates.empty())
    return "";
  return "<p>The test score of each method at every learning rate that it was run with; the line is "
         "the mean over seeds, the band reaches from the lowest seed to the highest. A wide, flat top is a method that "
         "needs little tuning.</p>" +
         line_key(comparison, entries_by_rate, [](const std::string& label) { return label; }) +
         panels(figures, figures.rates);
}

std::string ranks(const Comparison& comparison, const Figures& figures) {
  if (figures.ranks.empty())
    return "";
  return "<p>The score of each method at its ranks, with 95% intervals over seeds. What a rank costs differs "
         "between methods: the table has their parameters.</p>" +
         line_key(comparison, entries_by_rank, display_name) + panels(figures, figures.ranks);
}

/// Of what each entry changed, kind by kind.
std::string stable_ranks(const Comparison& comparison) {
  std::string html;
  for (const Task& task : comparison.tasks) {
    const std::set<std::string> kinds = spectrum_kinds(task);
    if (kinds.empty())
      continue;
    html += "<div class=\"scroll\"><table class=\"narrow\"><thead><tr><th>stable rank, " + escaped(task.name) + "</th>";
    for (const std::string& kind : kinds)
      html += "<th>" + escaped(kind) + "</th>";
    html += "</tr></thead><tbody>";
    for (const Entry& entry : task.entries) {
      html += "<tr><th>" + contestant_html(comparison.contestants[entry.contestant]) + "</th>";
      for (const std::string& kind : kinds) {
        const std::optional<double> rank = stable_rank(entry, kind);
        html += "<td>" + (rank ? fixed(*rank, 1) : "-") + "</td>";
      }
      html += "</tr>";
    }
    html += "</tbody></table></div>";
  }
  return html;
}

std::string spectra(const Comparison& comparison, const Figures& figures) {
  if (figures.spectra.empty())
    return "";
  return "<p>Singular values of W' - W over the largest one, geometric means over seeds and over the first, middle and "
         "last layer: how many directions of the weight a method moves. A change of rank r ends behind value r; what "
         "is "
         "below 1e-5 is rounding and left out. The stable rank, the squared Frobenius norm over the square of the "
         "largest value, says the same in one number.</p>" +
         key(comparison, figures.spectra) + panels(figures, figures.spectra) + stable_ranks(comparison);
}

std::string step_time(const Comparison& /*comparison*/, const Figures& figures) {
  if (figures.step_time.empty())
    return "";
  std::string parts = "<ul class=\"key\">";
  for (std::size_t i = 0; i < kStepParts.size(); ++i)
    parts += fmt::format("<li><span class=\"dot square\" style=\"background:var(--t{})\"></span>{}</li>", i,
                         escaped(kStepParts[i].name));
  return "<p>Milliseconds of a training step by what they are spent on, means over the steps after the first and over "
         "the runs with a profile. Each op's time is its own; a product counts with what it multiplies with.</p>" +
         parts + "</ul>" + panels(figures, figures.step_time);
}

std::string memory(const Comparison& /*comparison*/, const Figures& figures) {
  if (figures.memory.empty())
    return "";
  std::string categories = "<ul class=\"key\">";
  for (const Category& category : kCategories)
    categories +=
        fmt::format("<li><span class=\"dot square\" style=\"background:var(--k-{0})\"></span>{0}</li>", category.name);
  return "<p>Bytes of live tensors at the moment of the highest total, counted by the allocator. What its pool "
         "holds idle is not part of it.</p>" +
         categories + "</ul>" + panels(figures, figures.memory);
}

/// In the order of a page where nothing else is asked for.
constexpr struct {
  const char* id;
  const char* heading;
  std::string (*html)(const Comparison&, const Figures&);
} kPlots[] = {{"curves", "Loss curves", curves},
              {"tradeoffs", "Score against cost", tradeoffs},
              {"rates", "Learning rate", rates},
              {"sensitivity", "Sensitivity to the learning rate", sensitivity},
              {"ranks", "Rank", ranks},
              {"spectra", "What changed in the weights", spectra},
              {"time", "Where a step's time goes", step_time},
              {"memory", "Memory by category", memory}};

}  // namespace

std::vector<std::string> plot_names() {
  std::vector<std::string> names;
  for (const auto& plot : kPlots)
    names.emplace_back(plot.id);
  return names;
}

std::vector<FigureSection> figure_sections(const Comparison& comparison, const Figures& figures,
                                           const std::vector<std::string>& plots) {
  std::vector<FigureSection> sections;
  for (const std::string& name : plots.empty() ? plot_names() : plots)
    for (const auto& plot : kPlots)
      if (plot.id == name)
        if (std::string html = plot.html(comparison, figures); !html.empty())
          sections.push_back({plot.id, plot.heading, std::move(html)});
  return sections;
}

}  // namespace osteon::report
