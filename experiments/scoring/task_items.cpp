#include "experiments/scoring/task_items.hpp"

#include <algorithm>
#include <iterator>
#include <map>

#include "backends/error.hpp"
#include "experiments/data/reader.hpp"
#include "experiments/data/templates.hpp"
#include "experiments/scoring/answer_match.hpp"
#include "experiments/scoring/glue.hpp"
#include "experiments/scoring/json_lines.hpp"
#include "experiments/scoring/predictions.hpp"
#include "nn/io/json_keys.hpp"

namespace osteon::scoring {
namespace {

/// What the template puts in front of the answer.
std::string question_prompt(const std::string& question, std::string_view template_name, const std::string& origin) {
  experiments::TextRecord record;
  record.kind = experiments::TextRecord::Kind::query;
  record.instruction = question;
  std::string prompt;
  for (const experiments::Segment& segment : experiments::render(record, template_name, origin)) {
    if (segment.counted)
      break;
    prompt += segment.text;
  }
  return prompt;
}

std::string line_number(const std::string& origin) { return origin.substr(origin.rfind(':') + 1); }

std::vector<TaskItem> solution_items(const std::filesystem::path& file, std::string_view template_name,
                                     std::int64_t limit, bool math) {
  std::vector<TaskItem> items;
  for (const PlacedObject& line : read_json_lines(file)) {
    const bool short_names = math && line.object.contains("problem");
    const std::string question = line.text(short_names                             ? "problem"
                                           : math && line.object.contains("query") ? "query"
                                                                                   : "question");
    TaskItem& item = items.emplace_back();
    item.id = (math ? "math:" : "gsm8k:") + line_number(line.origin);
    item.prompt = question_prompt(question, template_name, line.origin);
    item.references = {line.text(math && line.object.contains("solution") ? "solution" : "answer")};
    check<FileError>(math ? math_answer(item.references[0]).has_value() || !item.references[0].empty()
                          : number_answer(item.references[0]).has_value(),
                     line.origin, ": answer: expected ", math ? "an answer" : "a number", ", got \"",
                     item.references[0], '"');
    if (static_cast<std::int64_t>(items.size()) == limit)
      break;
  }
  return items;
}

std::vector<TaskItem> pair_items(const std::filesystem::path& file, std::int64_t limit) {
  std::vector<TaskItem> items;
  std::map<std::string, std::size_t> places;
  for (const auto& [record, origin] : experiments::read_records(file)) {
    check<FileError>(record.kind == experiments::TextRecord::Kind::meaning, origin,
                     ": expected MR||reference lines, got other data");
    const auto [place, is_new] = places.try_emplace(record.instruction, items.size());
    if (is_new) {
      TaskItem& item = items.emplace_back();
      item.id = "e2e:" + line_number(origin);
      item.prompt = record.instruction + "||";
    }
    items[place->second].references.push_back(record.response);
  }
  if (limit > 0 && limit < static_cast<std::int64_t>(items.size()))
    items.resize(static_cast<std::size_t>(limit));
  return items;
}

std::vector<TaskItem> webnlg_items(const std::filesystem::path& file, std::int64_t limit) {
  const nlohmann::json content = io::read_json_object(file);
  std::vector<TaskItem> items;
  try {
    for (const auto& entry : content.at("entries"))
      for (const auto& [id, body] : entry.items()) {
        if (limit > 0 && static_cast<std::int64_t>(items.size()) == limit)
          return items;
        TaskItem& item = items.emplace_back();
        item.id = "webnlg:" + id;
        for (const auto& triple : body.at("modifiedtripleset"))
          item.prompt += join(item.prompt.empty() ? "" : " | ", triple.at("subject").get<std::string>(), " : ",
                              triple.at("property").get<std::string>(), " : ", triple.at("object").get<std::string>());
        item.prompt += "||";
        for (const auto& text : body.at("lexicalisations"))
          item.references.push_back(text.at("lex").get<std::string>());
        check<FileError>(!item.references.empty(), file.string(), ": entry ", id,
                         ": lexicalisations: expected at least one, got none");
      }
  } catch (const nlohmann::json::exception& error) {
    fail<FileError>(file.string(), ": entry ", items.size(),
                    ": expected modifiedtripleset and lexicalisations as WebNLG 2017 has them: ", error.what());
  }
  check<FileError>(!items.empty(), file.string(), ": entries: expected at least one, got none");
  return items;
}

std::vector<TaskItem> code_items(const std::filesystem::path& file, std::int64_t limit) {
  std::vector<TaskItem> items;
  for (const PlacedObject& line : read_json_lines(file)) {
    TaskItem& item = items.emplace_back();
    item.id = line.text("task_id");
    item.prompt = line.text("prompt");
    item.references = {line.text("canonical_solution")};
    if (static_cast<std::int64_t>(items.size()) == limit)
      break;
  }
  return items;
}

/// `head`: the text alone, which a classification head answers with a label's name.
std::vector<TaskItem> glue_items(const GlueTask& task, const std::filesystem::path& file, std::int64_t limit,
                                 bool head) {
  const std::vector<std::string_view>& choices = head ? task.labels : task.choices;
  std::vector<TaskItem> items;
  for (const GlueItem& one : read_glue(task, file)) {
    TaskItem& item = items.emplace_back();
    item.id = one.id;
    item.prompt = head ? glue_text(one) : glue_prompt(task, one);
    item.choices.assign(choices.begin(), choices.end());
    item.target = task.labels.empty() ? one.score : static_cast<double>(one.label);
    if (!task.labels.empty())
      item.references = {item.choices[static_cast<std::size_t>(one.label)]};
    if (static_cast<std::int64_t>(items.size()) == limit)
      break;
  }
  return items;
}

}  // namespace

void check_real_task(std::string_view name, std::string_view origin) {
  static constexpr std::string_view kNames[] = {"gsm8k", "math", "e2e", "webnlg", "humaneval"};
  if (is_glue(name))
    glue_task(name);
  else
    check<ConfigError>(std::find(std::begin(kNames), std::end(kNames), name) != std::end(kNames), origin, ": expected ",
                       kRealTasks, ", got '", name, "'");
}

RealTask open_real_task(std::string_view name, const std::filesystem::path& file, std::string_view template_name,
                        std::int64_t limit, bool head) {
  check_real_task(name, "--task");
  RealTask task{.name = std::string(name)};
  if (name == "gsm8k" || name == "math") {
    task.kind = name == "math" ? TaskKind::math : TaskKind::gsm8k;
    task.items = solution_items(file, template_name, limit, name == "math");
    task.stops = {"### Instruction:"};
    task.max_new_tokens = name == "math" ? 512 : 300;
  } else if (name == "e2e" || name == "webnlg") {
    task.items = name == "e2e" ? pair_items(file, limit) : webnlg_items(file, limit);
    task.stops = {"\n"};
    task.max_new_tokens = 100;
  } else if (name == "humaneval") {
    task.kind = TaskKind::code;
    task.items = code_items(file, limit);
    task.stops.assign(std::begin(kHumanEvalStops), std::end(kHumanEvalStops));
    task.max_new_tokens = 512;
  } else {
    const GlueTask& glue = glue_task(name);
    task.kind = TaskKind::glue;
    task.head_labels = head ? label_count(glue) : 0;
    task.items = glue_items(glue, file, limit, head);
  }
  return task;
}

}  // namespace osteon::scoring
