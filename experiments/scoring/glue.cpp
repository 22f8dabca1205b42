#include "experiments/scoring/glue.hpp"

#include <algorithm>
#include <array>
#include <charconv>

#include "backends/error.hpp"
#include "experiments/scoring/json_lines.hpp"

namespace osteon::scoring {
namespace {

constexpr std::string_view kPrefix = "glue:";

/// Questions as lm-evaluation-harness puts them (EleutherAI, tasks/glue), written again; STS-B, which it lacks,
/// likewise.
const std::array<GlueTask, 6>& tasks() {
  static const std::array<GlueTask, 6> kTasks = {
      {{.name = "rte",
        .columns = {"index", "sentence1", "sentence2", "label"},
        .first = "sentence1",
        .second = "sentence2",
        .label = "label",
        .labels = {"entailment", "not_entailment"},
        .question = "{1}\nQuestion: {2} True or False?\nAnswer:",
        .choices = {" True", " False"}},
       {.name = "mrpc",
        .columns = {"Quality", "#1 ID", "#2 ID", "#1 String", "#2 String"},
        .first = "#1 String",
        .second = "#2 String",
        .label = "Quality",
        .labels = {"0", "1"},
        .question = "Sentence 1: {1}\nSentence 2: {2}\nQuestion: Do both sentences mean the same thing?\nAnswer:",
        .choices = {" no", " yes"}},
       {.name = "cola",
        .columns = {"source", "label", "star", "sentence"},
        .first = "sentence",
        .second = "",
        .label = "label",
        .labels = {"0", "1"},
        .question = "{1}\nQuestion: Does this sentence make sense?\nAnswer:",
        .choices = {" no", " yes"}},
       {.name = "sst2",
        .columns = {"sentence", "label"},
        .first = "sentence",
        .second = "",
        .label = "label",
        .labels = {"0", "1"},
        .question = "{1}\nQuestion: Is this sentence positive or negative?\nAnswer:",
        .choices = {" negative", " positive"}},
       {.name = "stsb",
        .columns = {"index", "genre", "filename", "year", "old_index", "source1", "source2", "sentence1", "sentence2",
                    "score"},
        .first = "sentence1",
        .second = "sentence2",
        .label = "score",
        .labels = {},
        .question = "Sentence 1: {1}\nSentence 2: {2}\nQuestion: How similar are the two, from 0 to 5?\nAnswer:",
        .choices = {" 0", " 1", " 2", " 3", " 4", " 5"}},
       {.name = "wnli",
        .columns = {"index", "sentence1", "sentence2", "label"},
        .first = "sentence1",
        .second = "sentence2",
        .label = "label",
        .labels = {"0", "1"},
        .question = "{1}\nQuestion: {2} True or False?\nAnswer:",
        .choices = {" False", " True"}}}};
  return kTasks;
}

std::vector<std::string_view> fields_of(std::string_view line) {
  std::vector<std::string_view> fields;
  for (std::size_t tab = line.find('\t'); tab != std::string_view::npos; tab = line.find('\t')) {
    fields.push_back(line.substr(0, tab));
    line.remove_prefix(tab + 1);
  }
  fields.push_back(line);
  return fields;
}

std::string trimmed(std::string_view text) {
  const std::size_t first = text.find_first_not_of(' ');
  return first == std::string_view::npos ? std::string()
                                         : std::string(text.substr(first, text.find_last_not_of(' ') + 1 - first));
}

std::size_t column(const std::vector<std::string_view>& columns, std::string_view name, const std::string& origin) {
  const auto found = std::find(columns.begin(), columns.end(), name);
  check<FileError>(found != columns.end(), origin, ": expected a column '", name, "', got none");
  return static_cast<std::size_t>(found - columns.begin());
}

void read_label(const GlueTask& task, std::string_view text, const std::string& origin, GlueItem& item) {
  if (task.labels.empty()) {
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), item.score);
    check<FileError>(error == std::errc() && end == text.data() + text.size() && item.score >= 0 && item.score <= 5,
                     origin, ": ", task.label, ": expected a number from 0 to 5, got \"", text, '"');
    return;
  }
  const auto found = std::find(task.labels.begin(), task.labels.end(), text);
  if (found == task.labels.end()) {
    std::string names;
    for (const std::string_view label : task.labels)
      names += join(names.empty() ? "" : " or ", label);
    fail<FileError>(origin, ": ", task.label, ": expected ", names, ", got \"", text, '"');
  }
  item.label = found - task.labels.begin();
}

}  // namespace

bool is_glue(std::string_view task) { return task.starts_with(kPrefix); }

std::int64_t label_count(const GlueTask& task) {
  return std::max<std::int64_t>(1, static_cast<std::int64_t>(task.labels.size()));
}

const GlueTask& glue_task(std::string_view name) {
  std::string plain, names;
  for (const char c : is_glue(name) ? name.substr(kPrefix.size()) : name)
    if (c != '-')
      plain += c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
  for (const GlueTask& task : tasks()) {
    if (task.name == plain)
      return task;
    names += join(names.empty() ? "" : ", ", task.name);
  }
  fail<ConfigError>("glue: expected one of ", names, ", got '", name, "'");
}

std::vector<GlueItem> read_glue(const GlueTask& task, const std::filesystem::path& file) {
  const std::vector<PlacedLine> lines = read_text_lines(file);
  std::vector<std::string_view> columns = fields_of(lines.front().text);
  const bool header = std::find(columns.begin(), columns.end(), task.label) != columns.end();
  if (!header)
    columns = task.columns;
  const std::string& top = lines.front().origin;
  const std::size_t first = column(columns, task.first, top), label = column(columns, task.label, top);
  const std::size_t second = task.second.empty() ? first : column(columns, task.second, top);
  std::vector<GlueItem> items;
  for (std::size_t i = header ? 1 : 0; i < lines.size(); ++i) {
    const auto& [text, origin] = lines[i];
    const std::vector<std::string_view> fields = fields_of(text);
    check<FileError>(fields.size() == columns.size(), origin, ": expected ", columns.size(), " columns as ", task.name,
                     " has, got ", fields.size());
    GlueItem& item = items.emplace_back();
    item.id = join(task.name, ':', origin.substr(origin.rfind(':') + 1));
    item.first = trimmed(fields[first]);
    item.second = task.second.empty() ? std::string() : trimmed(fields[second]);
    check<FileError>(!item.first.empty() && (task.second.empty() || !item.second.empty()), origin,
                     ": expected a sentence, got an empty one");
    read_label(task, fields[label], origin, item);
  }
  check<FileError>(!items.empty(), file.string(), ": expected at least one item, got a header only");
  return items;
}

std::string glue_prompt(const GlueTask& task, const GlueItem& item) {
  std::string prompt;
  for (std::size_t i = 0; i < task.question.size(); ++i) {
    const std::string_view mark = task.question.substr(i, 3);
    if (mark != "{1}" && mark != "{2}") {
      prompt += task.question[i];
      continue;
    }
    prompt += mark == "{1}" ? item.first : item.second;
    i += 2;
  }
  return prompt;
}

std::string glue_text(const GlueItem& item) {
  return item.second.empty() ? item.first : item.first + "\n" + item.second;
}

}  // namespace osteon::scoring
