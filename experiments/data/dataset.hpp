#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "experiments/data/example.hpp"
#include "experiments/data/tokenizer.hpp"

namespace osteon::experiments {

struct DataOptions {
  std::string template_name = "auto";
  bool train_on_prompt = false;
  std::int64_t seq_len = 512;
  bool truncate = false;
  std::int64_t max_examples = 0;   // 0 = all
  std::int64_t vocab_size = 0;     // of the model; 0 = the tokenizer's
  std::int64_t max_positions = 0;  // of the model: no example is longer; 0 = any
};

/// How many tokens an example may have: seq_len, or the model's positions where these are fewer.
class RowLimit {
 public:
  explicit RowLimit(const DataOptions& options)
      : by_model_(options.max_positions > 0 && options.max_positions < options.seq_len),
        most_(by_model_ ? options.max_positions : options.seq_len) {}

  std::int64_t most() const { return most_; }
  /// Cuts a longer example and says so, or throws FileError, beginning with `origin`, where it may not.
  bool cut(Example& example, bool truncate, const std::string& origin) const;

 private:
  bool by_model_;
  std::int64_t most_;
};

/// A data file as token sequences.
struct DataSet {
  std::string source;
  std::vector<Example> examples;
  std::int64_t truncated = 0;  // examples cut at seq_len
  std::int64_t dropped = 0;    // examples without a token to learn: empty, or the answer was cut away entirely

  std::int64_t tokens() const;
  std::int64_t loss_tokens() const;
};

/// Reads a file of records (reader.hpp) into examples of at most seq_len tokens, and no more than the model's
/// positions. Pairs and chats are one example each: one that is longer is a FileError with its line, or cut with
/// `truncate`. Running text (the template text, and none for texts) is cut into pieces of seq_len so that every token
/// but the very first is predicted exactly once: each piece begins with the first token (BOS) where the tokenizer adds
/// one, else with the last token of the piece before. Throws FileError as read_records, and where nothing is left;
/// IndexError for an id outside the model's vocabulary.
DataSet load_data(const std::filesystem::path& file, const Tokenizer& tokenizer, const DataOptions& options);

}  // namespace osteon::experiments
