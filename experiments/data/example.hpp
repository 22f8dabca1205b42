#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace osteon::experiments {

/// A label that the loss skips.
inline constexpr std::int32_t kIgnored = -100;

/// One training sequence. labels[t] is the token at t or kIgnored: not shifted, the model's loss scores the output at t
/// - 1 against labels[t]. Both have the same length. What a classifier learns is one class or one score of the whole
/// sequence; all of its labels are ignored.
struct Example {
  std::vector<std::int32_t> ids;
  std::vector<std::int32_t> labels;
  std::optional<std::int32_t> row_class = {};
  std::optional<double> row_score = {};

  bool operator==(const Example&) const = default;
};

/// Rows for one forward pass, row-major [batch_size, seq_len].
struct TokenBatch {
  std::int64_t batch_size = 0;
  std::int64_t seq_len = 0;
  std::vector<std::int32_t> input_ids;  // [batch_size, seq_len]
  std::vector<std::int32_t> labels;     // [batch_size, seq_len], kIgnored = not in the loss
  /// [batch_size, seq_len], starting again at 0 with each packed document; empty = 0, 1, 2, ... in every row.
  std::vector<std::int32_t> positions;
  /// [batch_size, seq_len, 2]: each query may attend to the keys [begin, end) of its row: causal [0, t + 1), in padded
  /// rows end = min(t + 1, length), in packed rows begin = the document's start; never empty. No vector = causal, full
  /// rows.
  std::vector<std::int32_t> key_range;
  /// [batch_size]: a classifier's classes or scores; both empty = next tokens are learned.
  std::vector<std::int32_t> row_classes = {};
  std::vector<double> row_scores = {};

  bool classifies() const { return !row_classes.empty() || !row_scores.empty(); }
  bool operator==(const TokenBatch&) const = default;
};

/// Labels that the loss counts: those of positions 1 and later that are not ignored; a classifier's rows.
std::int64_t loss_tokens(const Example& example);
std::int64_t loss_tokens(const TokenBatch& batch);

/// Tokens that are not padding (all of them where key_range is empty).
std::int64_t real_tokens(const TokenBatch& batch);

/// One example a row, padded on the right to `seq_len` (0 = the longest example). Padding has the id `pad_id` and
/// ignored labels. Classes and scores go with their rows. Throws ShapeError if there is no example, one is empty, or
/// one is longer than seq_len, and where some have a class or a score and others none.
TokenBatch pad_batch(std::span<const Example* const> examples, std::int32_t pad_id, std::int64_t seq_len = 0);
TokenBatch pad_batch(std::span<const Example> examples, std::int32_t pad_id, std::int64_t seq_len = 0);

/// Which examples share a row of `seq_len` tokens: in order, each goes to the fullest open row that has room (best
/// fit). Throws ShapeError if a length is 0 or above seq_len.
std::vector<std::vector<std::int64_t>> pack_rows(std::span<const std::int64_t> lengths, std::int64_t seq_len);

/// Several examples a row, each a document of its own: positions restart, attention stays inside it, and its first
/// label is ignored, since nothing inside the document predicts it. The loss of a set of examples is therefore that of
/// pad_batch. Throws ShapeError if there is no row, or a row is empty or longer than seq_len. Not for a classifier.
TokenBatch pack_batch(std::span<const std::vector<const Example*>> rows, std::int32_t pad_id, std::int64_t seq_len);

/// Throws IndexError, beginning with `origin`, if an id or a label that counts lies outside [0, vocab_size).
void check_vocabulary(const Example& example, std::int64_t vocab_size, std::string_view origin);

/// 64-bit FNV-1a over everything in the batches, in order: equal hashes mean that two runs saw the same data.
class BatchHash {
 public:
  void add(const TokenBatch& batch);
  std::uint64_t value() const { return state_; }
  void restore(std::uint64_t value) { state_ = value; }
  std::string text() const;  // 16 hexadecimal digits

 private:
  std::uint64_t state_ = 0xcbf29ce484222325;
};

/// 64-bit FNV-1a of bytes, continuing from `state`.
std::uint64_t fnv1a(std::string_view bytes, std::uint64_t state = 0xcbf29ce484222325);

}  // namespace osteon::experiments
