#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "experiments/data/draw.hpp"

namespace osteon::experiments {

/// One question with its one right answer. In a row of tokens it reads "\n" prompt answer "\n"; the loss and the score
/// count the answer and the newline behind it.
struct Item {
  std::string prompt;
  std::string answer;

  bool operator==(const Item&) const = default;
};

/// A generator of items. Items are functions of the draw alone, so a seed gives the same ones everywhere.
class Task {
 public:
  virtual ~Task() = default;

  virtual std::string_view name() const = 0;
  virtual std::string_view summary() const = 0;  // one line: prompt and answer
  virtual Item sample(Draw& draw) const = 0;
  /// The longest "\n" prompt answer "\n" in bytes: rows of a batch are padded to it, so that all have one shape.
  virtual std::int64_t max_length() const = 0;
  /// Length of a run in the embedded ablation; 0 for a task that is not part of it.
  virtual std::int64_t steps() const { return 0; }
};

/// A task by its name, with or without "synthetic:" before it. Throws ConfigError that suggests the nearest name.
std::unique_ptr<Task> make_task(std::string_view name);

/// Adds a task of the user's own, made anew for each use: it is then data like the embedded ones. One of the same name
/// is replaced. ConfigError for the name of an embedded task or of the mixture.
void register_task(std::function<std::unique_ptr<Task>()> make);

/// Whether `name` is an embedded task or the mixture ("synthetic:" before it is not looked at).
bool is_task(std::string_view name);

/// The pretraining skills, then the downstream tasks, then those that were registered.
std::vector<std::string> task_names();
std::vector<std::string> skill_names();
std::vector<std::string> downstream_names();

/// The pretraining mixture's name as data, and its skills with their weights.
inline constexpr std::string_view kMixture = "mixture";
struct WeightedTask {
  std::unique_ptr<Task> task;
  std::int64_t weight;
};
std::vector<WeightedTask> mixture_skills();

}  // namespace osteon::experiments
