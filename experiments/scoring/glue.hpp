#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

/// The small tasks of GLUE (Wang et al., ICLR 2019) from their tab-separated files.
namespace osteon::scoring {

/// One task: where its columns stand, and how it is put as a question.
struct GlueTask {
  std::string_view name;                  ///< rte, mrpc, cola, sst2, stsb, wnli
  std::vector<std::string_view> columns;  ///< of a file without a header; the header's names where it has one
  std::string_view first, second, label;  ///< columns of the sentences (no second one: empty) and of the label
  std::vector<std::string_view> labels;   ///< as the files spell them, in order of their numbers; STS-B: none
  std::string_view question;              ///< {1} and {2} stand for the sentences
  std::vector<std::string_view> choices;  ///< what continues the question for each label; STS-B: for 0 to 5
};

/// Whether a task's name means one of these: "glue:rte".
bool is_glue(std::string_view task);
/// Outputs of a classification head: the labels, or STS-B's one number.
std::int64_t label_count(const GlueTask& task);

/// By name ("rte", "glue:rte", "SST-2", ...; case and hyphens do not count). ConfigError that lists the names.
const GlueTask& glue_task(std::string_view name);

struct GlueItem {
  std::string id = {};                  ///< "rte:17", the line of the file
  std::string first = {}, second = {};  ///< trimmed
  std::int64_t label = 0;               ///< number of the label; not for STS-B
  double score = 0;                     ///< STS-B's similarity in [0, 5]
  bool operator==(const GlueItem&) const = default;
};

/// The items of a file with labels. The first line is a header where it names the label's column. Nothing is quoted in
/// these files. FileError "file:line: ..." for a line with another number of columns, an unknown label, an empty
/// sentence, or a header without a column that is needed.
std::vector<GlueItem> read_glue(const GlueTask& task, const std::filesystem::path& file);

/// The question of an item; the model's log likelihood of each of the task's choices behind it is its answer.
std::string glue_prompt(const GlueTask& task, const GlueItem& item);

/// What a classification head reads: the sentence, or both with a newline between.
std::string glue_text(const GlueItem& item);

}  // namespace osteon::scoring
