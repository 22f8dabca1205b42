#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

/// The real tasks' test files as questions to a model.
namespace osteon::scoring {

/// One question. With choices the model's most likely one is its answer, without it writes a text.
struct TaskItem {
  std::string id = {};
  std::string prompt = {};
  std::vector<std::string> references = {};  ///< right texts: a solution, the references, or the right choice
  std::vector<std::string> choices = {};
  double target = 0;  ///< with choices: the number of the right one, or STS-B's score
};

enum class TaskKind { gsm8k, math, text, code, glue };

struct RealTask {
  std::string name = {};
  TaskKind kind = TaskKind::text;
  std::vector<TaskItem> items = {};
  std::vector<std::string_view> stops = {};  ///< a text that is written ends before the first of these
  std::int64_t max_new_tokens = 0;           ///< as the papers have it
  std::int64_t head_labels = 0;  ///< outputs of the classification head that answers; 0 = the model is asked in words
};

/// gsm8k, math, e2e, webnlg, humaneval, glue:rte, ... as help and errors list them.
inline constexpr std::string_view kRealTasks = "gsm8k, math, e2e, webnlg, humaneval or glue:NAME";

/// The items of a task's file, at most `limit` of them (0 = all):
///   gsm8k      JSON lines with question and answer; the prompt as `template_name` renders it ("auto": MetaMath's)
///   math       JSON lines with problem (or query) and solution (or answer), likewise
///   e2e        MR||reference lines; the references of an MR are one item's. The prompt is "MR||", as in training
///   webnlg     the challenge's JSON (2017): "subject : property : object | ...||", a reference a lexicalisation
///   humaneval  its JSON lines; the prompt as it stands
///   glue:NAME  see glue.hpp; with `head` the sentences alone, for a classification head
/// ConfigError for an unknown task, FileError with the file and line for what is not as expected.
RealTask open_real_task(std::string_view name, const std::filesystem::path& file, std::string_view template_name,
                        std::int64_t limit, bool head = false);

/// ConfigError, beginning with `origin`, for a name that is none of kRealTasks.
void check_real_task(std::string_view name, std::string_view origin);

}  // namespace osteon::scoring
