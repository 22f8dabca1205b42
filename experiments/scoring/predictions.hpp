#pragma once

#include <filesystem>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "nn/io/atomic_file.hpp"

/// What a model answered, item by item: what paired tests compare, and what a reader looks at.
namespace osteon::scoring {

struct Prediction {
  std::string id = {};
  std::string prompt_hash = {};  ///< FNV-1a of the prompt: equal for runs that were asked the same
  std::optional<std::string> prompt = {};
  std::string prediction = {};
  std::vector<std::string> references = {};
  std::optional<double> score = {};  ///< of this item: 1 or 0, or a share in [0, 1]; none where it has none alone
  std::vector<double> log_likelihoods = {};   ///< of each choice, in nats, where there are choices
  std::map<std::string, double> scores = {};  ///< by other rules

  bool operator==(const Prediction&) const = default;
};

std::string prompt_hash(std::string_view prompt);

/// FileError "file:line: ..." for malformed JSON, a missing id or prediction, a value of another type, an id twice.
std::vector<Prediction> read_predictions(const std::filesystem::path& file);

/// One sample for openai/human-eval's evaluate_functional_correctness; a task may have several.
struct Completion {
  std::string task_id, completion;

  bool operator==(const Completion&) const = default;
};

/// Where a completion of HumanEval ends: Chen et al. 2021 (arXiv:2107.03374), section 2.1.
inline constexpr std::string_view kHumanEvalStops[] = {"\nclass", "\ndef", "\n#", "\nif", "\nprint"};

/// The text before the first of the stop sequences.
std::string before_stops(std::string_view text, std::span<const std::string_view> stops);

/// The samples of a file; errors as read_predictions, but a task may come several times.
std::vector<Completion> read_completions(const std::filesystem::path& file);

/// A file of predictions or completions, one a line in the order in which they are added. Lines go to a temporary file
/// as they come; nothing stands under `file` before commit(). FileError where it cannot be written, at once.
class LineWriter {
 public:
  explicit LineWriter(std::filesystem::path file) : file_(std::move(file)) {}
  void add(const Prediction& prediction);
  void add(const Completion& completion);
  void commit() { file_.commit(); }

 private:
  io::AtomicFile file_;
};

}  // namespace osteon::scoring
