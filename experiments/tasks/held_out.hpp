#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <unordered_set>
#include <vector>

#include "experiments/data/example.hpp"
#include "experiments/data/tokenizer.hpp"
#include "experiments/tasks/task.hpp"

namespace osteon::experiments {

inline constexpr std::int64_t kValidationItems = 200;
inline constexpr std::int64_t kTestItems = 500;

/// The items that a task is judged by. They follow from the task's name alone, never from a run's seed; no prompt comes
/// twice, in one set or in both, and training never draws one. ConfigError for a task that has too few prompts.
struct HeldOut {
  std::vector<Item> validation;  // kValidationItems: chooses the learning rate
  std::vector<Item> test;        // kTestItems: what is reported
  std::unordered_set<std::string> prompts;

  bool holds(const Item& item) const { return prompts.contains(item.prompt); }
};
HeldOut held_out(const Task& task);

/// An item that is not held out: drawn again until it is none.
Item training_item(const Task& task, const HeldOut& held, Draw& draw);

/// "\n" prompt answer "\n" as tokens; labels on the answer and the closing newline only. Prompt and answer are encoded
/// apart, so that the same tokens are scored whatever the answer is.
Example encode_item(const Item& item, const Tokenizer& tokenizer);

/// Items as batches of `batch_size` rows padded to `seq_len` (0 = the longest item).
std::vector<TokenBatch> item_batches(std::span<const Item> items, const Tokenizer& tokenizer, std::int64_t batch_size,
                                     std::int64_t seq_len = 0);

/// Whether each row is answered rightly, in one teacher-forced pass: `predicted` [batch_size, seq_len] holds the best
/// token after each position; a row is right if it is the label at every position that counts. Equal to greedy decoding
/// up to ties, since each prefix then is the right one. A row without labels is wrong. Throws ShapeError if the sizes
/// differ.
std::vector<bool> exact_match(const TokenBatch& batch, std::span<const std::int32_t> predicted);

}  // namespace osteon::experiments
