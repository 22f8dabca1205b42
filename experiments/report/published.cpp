#include "experiments/report/published.hpp"

#include <algorithm>
#include <fmt/format.h>
#include <functional>
#include <map>
#include <nlohmann/json.hpp>

#include "backends/error.hpp"
#include "backends/suggest.hpp"
#include "experiments/config/byte_size.hpp"
#include "experiments/config/config.hpp"
#include "experiments/config/toml_file.hpp"
#include "experiments/embedded.hpp"
#include "experiments/training/run.hpp"

namespace osteon::report {
namespace {

using experiments::RunConfig;
using experiments::RunSummary;

constexpr std::string_view kFolder = "tables/", kEnding = ".toml";

/// A string or a number, as text.
std::string text_of(const toml::node& node, std::string_view file) {
  if (const auto text = node.value_exact<std::string>())
    return *text;
  if (const auto whole = node.value_exact<std::int64_t>())
    return std::to_string(*whole);
  const auto number = node.value<double>();
  check<ConfigError>(number.has_value(), experiments::place(file, node), ": expected a string or a number");
  return fmt::format("{}", *number);
}

std::string field(const toml::table& table, std::string_view key, std::string_view file) {
  const toml::node* node = table.get(key);
  return node ? text_of(*node, file) : std::string();
}

std::vector<std::string> texts(const toml::table& table, std::string_view key, std::string_view file) {
  const toml::array* list = table.get_as<toml::array>(key);
  check<ConfigError>(list != nullptr, experiments::place(file, table), ": expected a list ", key);
  std::vector<std::string> out;
  for (const toml::node& node : *list)
    out.push_back(text_of(node, file));
  return out;
}

/// A run with the config that only its folder has.
struct Kept {
  const Run* run;
  RunConfig config;
};

std::string method_of(const RunSummary& summary) { return summary.method == "miss" ? "bone" : summary.method; }

bool answers(const PublishedRow& row, const Kept& kept) {
  const RunSummary& run = kept.run->summary;
  return row.method == method_of(run) && (row.rank.empty() || (run.rank && row.rank == std::to_string(*run.rank))) &&
         (row.init.empty() || row.init == kept.config.init_weights);
}

/// Mean of what the runs have of a figure; empty where none has it.
std::string mean_text(const std::vector<const Kept*>& runs, std::string_view name,
                      const std::function<std::optional<double>(const Run&)>& figure,
                      const std::function<std::string(double)>& format) {
  double sum = 0, count = 0;
  for (const Kept* kept : runs)
    if (const auto value = figure(*kept->run)) {
      sum += *value;
      ++count;
    }
  return count == 0 ? "" : fmt::format("{} {}, ", name, format(sum / count));
}

std::string figures_text(const std::vector<const Kept*>& runs) {
  using Value = std::optional<double>;
  const auto number = [](const char* pattern) {
    return [pattern](double value) { return fmt::format(fmt::runtime(pattern), value); };
  };
  const auto after = [](auto member) {
    return [member](const Run& run) {
      const auto& scores = run.summary.evaluation.after;
      return scores ? (*scores).*member : Value{};
    };
  };
  std::string text = mean_text(runs, "accuracy %", after(&experiments::Scores::accuracy),
                               [](double value) { return fmt::format("{:.1f}", 100 * value); });
  text += mean_text(runs, "held-out loss", after(&experiments::Scores::loss), number("{:.4f}"));
  text += mean_text(
      runs, "first gradient norm",
      [](const Run& run) {
        const auto& steps = run.metrics.steps;  // a run that was resumed from a file without its first step has none
        return !steps.empty() && steps.front().step == 1 ? Value(steps.front().grad_norm) : Value{};
      },
      number("{:.4g}"));
  text += mean_text(
      runs, "last train loss", [](const Run& run) { return run.summary.final_train_loss; }, number("{:.4f}"));
  text += mean_text(
      runs, "forgotten",
      [](const Run& run) {
        const auto& scores = run.summary.evaluation;
        const auto &before = scores.retained_before, &end = scores.retained_after;
        return before && end && before->loss && end->loss ? Value(*end->loss - *before->loss) : Value{};
      },
      number("{:.3f}"));
  text += mean_text(
      runs, "step ms",
      [](const Run& run) {
        const auto& seconds = run.summary.step_seconds;
        return seconds ? Value(1e3 * seconds->median) : Value{};
      },
      number("{:.1f}"));
  text += mean_text(
      runs, "train s", [](const Run& run) { return run.summary.train_seconds; }, number("{:.1f}"));
  text += mean_text(
      runs, "peak",
      [](const Run& run) {
        const auto& bytes = run.summary.peak_bytes;
        return bytes ? Value(static_cast<double>(bytes->total)) : Value{};
      },
      [](double bytes) { return experiments::bytes_text(static_cast<std::int64_t>(bytes)); });
  return text + fmt::format("{} parameters", runs.front()->run->summary.trainable_parameters);
}

/// The value of a published key in a run; a batch is what a step takes.
std::string value_here(const Kept& kept, const std::string& key) {
  if (key == "batch_size")
    return std::to_string(kept.config.batch_size * kept.config.accumulate);
  if (key == "steps")
    return std::to_string(kept.run->summary.steps);
  if (key == "seq_len")
    return std::to_string(kept.run->summary.seq_len);
  return experiments::key_text(kept.config, key);
}

OurRow our_row(const PublishedTable& table, const PublishedRow* row, const std::vector<const Kept*>& runs) {
  const Kept& first = *runs.front();
  const RunSummary& summary = first.run->summary;
  OurRow ours;
  ours.label = summary.task + ' ' + summary.method + (summary.rank ? fmt::format(" r{}", *summary.rank) : "");
  if (first.config.init_weights != "true")
    ours.label += ' ' + first.config.init_weights;
  ours.text = figures_text(runs);
  ours.seeds = runs.size();
  std::vector<std::pair<std::string, std::string>> there = table.setting;
  if (row && !row->model.empty())
    there.emplace_back("model", row->model);
  for (const auto& [key, value] : there)
    if (const std::string here = value_here(first, key); here != value)
      ours.differences.push_back(fmt::format("{}: {} there, {} here", key, value, here));
  return ours;
}

}  // namespace

PublishedTable parse_published(std::string_view text, std::string_view name) {
  const toml::table root = experiments::parse_toml(text, name);
  PublishedTable table;
  table.name = std::filesystem::path(std::string(name)).stem().string();
  table.title = field(root, "title", name);
  table.source = field(root, "source", name);
  table.note = field(root, "note", name);
  table.columns = texts(root, "columns", name);
  if (const toml::table* setting = root.get_as<toml::table>("setting"))
    for (const auto& [key, node] : experiments::in_order(*setting))
      table.setting.emplace_back(key, text_of(*node, name));
  const toml::array* rows = root.get_as<toml::array>("rows");
  check<ConfigError>(rows && !rows->empty(), name, ": expected [[rows]]");
  for (const toml::node& node : *rows) {
    check<ConfigError>(node.is_table(), experiments::place(name, node), ": expected a table");
    const toml::table& one = *node.as_table();
    PublishedRow row{field(one, "label", name), field(one, "method", name), field(one, "rank", name),
                     field(one, "init", name),  field(one, "model", name),  texts(one, "values", name)};
    check<ConfigError>(row.values.size() == table.columns.size(), experiments::place(name, node), ": expected ",
                       table.columns.size(), " values, got ", row.values.size());
    table.rows.push_back(std::move(row));
  }
  return table;
}

std::vector<std::string> published_names() {
  std::vector<std::string> names;
  for (const experiments::EmbeddedFile& file : experiments::embedded_files())
    if (file.name.starts_with(kFolder))
      names.emplace_back(file.name.substr(kFolder.size(), file.name.size() - kFolder.size() - kEnding.size()));
  return names;
}

PublishedTable published_table(std::string_view name) {
  for (const experiments::EmbeddedFile& file : experiments::embedded_files())
    if (file.name == join(kFolder, name, kEnding))
      return parse_published(file.text, file.name);
  fail<ConfigError>("unknown table '", name, "'", suggestion(name, published_names()));
}

Reproduction reproduce(const PublishedTable& table, const RunCollection& collection) {
  std::vector<Kept> kept;
  for (const Run& run : collection.runs) {
    Kept one{&run, {}};
    if (run.summary.purpose != "final" || !std::filesystem::exists(run.folder / "config.toml"))
      continue;
    read_config(run.folder / "config.toml", one.config);
    kept.push_back(std::move(one));
  }
  std::map<std::string, std::vector<const Kept*>> kinds;  // seeds of one setting
  for (const Kept& one : kept) {
    RunConfig config = experiments::result_keys(one.config);
    config.seed = 0;
    kinds[to_toml(config)].push_back(&one);
  }
  Reproduction result;
  std::map<std::string, bool> used;
  for (const PublishedRow& row : table.rows) {
    Reproduction::Pair& pair = result.rows.emplace_back();
    pair.published = row;
    for (const auto& [kind, runs] : kinds)
      if (answers(row, *runs.front())) {
        pair.ours.push_back(our_row(table, &row, runs));
        used[kind] = true;
      }
  }
  for (const auto& [kind, runs] : kinds) {
    const bool known = std::any_of(table.rows.begin(), table.rows.end(), [&, &seeds = runs](const PublishedRow& row) {
      return row.method == method_of(seeds.front()->run->summary);
    });
    if (known && !used[kind])
      result.others.push_back(our_row(table, nullptr, runs));
  }
  return result;
}

std::string reproduction_text(const PublishedTable& table, const Reproduction& found) {
  std::string text = fmt::format("{}\n{}\n", table.title, table.source);
  if (!table.note.empty())
    text += table.note + '\n';
  const auto ours = [&](const OurRow& row) {
    text += fmt::format("    here: {}, {} seed{}: {}\n", row.label, row.seeds, row.seeds == 1 ? "" : "s", row.text);
    for (const std::string& difference : row.differences)
      text += fmt::format("      {}\n", difference);
  };
  for (const Reproduction::Pair& pair : found.rows) {
    text += fmt::format("\n{}:", pair.published.label);
    for (std::size_t i = 0; i < table.columns.size(); ++i)
      text += fmt::format("{} {} {}", i == 0 ? "" : ",", table.columns[i], pair.published.values[i]);
    text += pair.ours.empty() ? "\n    here: not run\n" : "\n";
    for (const OurRow& row : pair.ours)
      ours(row);
  }
  if (!found.others.empty())
    text += "\nNot in the published table:\n";
  for (const OurRow& row : found.others)
    ours(row);
  return text;
}

nlohmann::ordered_json reproduction_json(const PublishedTable& table, const Reproduction& found) {
  const auto ours = [](const std::vector<OurRow>& rows) {
    nlohmann::ordered_json list = nlohmann::ordered_json::array();
    for (const OurRow& row : rows)
      list.push_back(
          {{"label", row.label}, {"seeds", row.seeds}, {"figures", row.text}, {"differences", row.differences}});
    return list;
  };
  nlohmann::ordered_json rows = nlohmann::ordered_json::array();
  for (const Reproduction::Pair& pair : found.rows) {
    nlohmann::ordered_json published;
    for (std::size_t i = 0; i < table.columns.size(); ++i)
      published[table.columns[i]] = pair.published.values[i];
    rows.push_back({{"label", pair.published.label}, {"published", published}, {"ours", ours(pair.ours)}});
  }
  return {{"table", table.name},
          {"title", table.title},
          {"source", table.source},
          {"rows", rows},
          {"others", ours(found.others)}};
}

}  // namespace osteon::report
