#include "experiments/data/example.hpp"

#include <algorithm>
#include <array>
#include <bit>
#include <map>

#include "backends/error.hpp"

namespace osteon::experiments {
namespace {

std::int64_t size_of(const auto& container) { return static_cast<std::int64_t>(container.size()); }
std::int32_t narrow(std::int64_t value) { return static_cast<std::int32_t>(value); }

/// Rows of `seq_len` with nothing but padding, and key ranges to be filled.
TokenBatch blank(std::int64_t rows, std::int64_t seq_len, std::int32_t pad_id) {
  TokenBatch batch;
  batch.batch_size = rows;
  batch.seq_len = seq_len;
  const auto tokens = static_cast<std::size_t>(rows * seq_len);
  batch.input_ids.assign(tokens, pad_id);
  batch.labels.assign(tokens, kIgnored);
  return batch;
}

void check_example(const Example& example, std::int64_t index, std::int64_t seq_len) {
  check(example.ids.size() == example.labels.size(), "batch: example ", index, ": expected as many labels as ids, got ",
        example.labels.size(), " and ", example.ids.size());
  check(!example.ids.empty() && size_of(example.ids) <= seq_len, "batch: example ", index, ": expected 1 to ", seq_len,
        " tokens, got ", example.ids.size());
}

std::int64_t count_counted(std::span<const std::int32_t> labels) {
  return labels.empty() ? 0 : size_of(labels) - 1 - std::count(labels.begin() + 1, labels.end(), kIgnored);
}

/// The rows' classes or scores: all have one, or none has.
template <class T>
void add_targets(std::span<const Example* const> examples, std::optional<T> Example::*member, const char* name,
                 std::vector<T>& targets) {
  for (const Example* example : examples)
    if (example->*member)
      targets.push_back(*(example->*member));
  check(targets.empty() || targets.size() == examples.size(), "pad_batch: expected a ", name,
        " of every example or of ", "none, got ", targets.size(), " of ", examples.size());
}

}  // namespace

std::int64_t loss_tokens(const Example& example) {
  return example.row_class || example.row_score ? 1 : count_counted(example.labels);
}

std::int64_t loss_tokens(const TokenBatch& batch) {
  if (batch.classifies())
    return batch.batch_size;
  const std::span<const std::int32_t> labels(batch.labels);
  std::int64_t count = 0;
  for (std::int64_t row = 0; row < batch.batch_size; ++row)
    count += count_counted(
        labels.subspan(static_cast<std::size_t>(row * batch.seq_len), static_cast<std::size_t>(batch.seq_len)));
  return count;
}

std::int64_t real_tokens(const TokenBatch& batch) {
  if (batch.key_range.empty())
    return batch.batch_size * batch.seq_len;
  std::int64_t count = 0;  // a token that is not padding may attend to itself
  for (std::int64_t i = 0; i < batch.batch_size * batch.seq_len; ++i)
    count += batch.key_range[static_cast<std::size_t>(2 * i + 1)] > i % batch.seq_len ? 1 : 0;
  return count;
}

TokenBatch pad_batch(std::span<const Example* const> examples, std::int32_t pad_id, std::int64_t seq_len) {
  check(!examples.empty(), "pad_batch: expected at least one example, got none");
  if (seq_len == 0)
    for (const Example* example : examples)
      seq_len = std::max(seq_len, size_of(example->ids));
  TokenBatch batch = blank(size_of(examples), seq_len, pad_id);
  bool padded = false;
  for (std::int64_t row = 0; row < batch.batch_size; ++row) {
    const Example& example = *examples[static_cast<std::size_t>(row)];
    check_example(example, row, seq_len);
    std::copy(example.ids.begin(), example.ids.end(), batch.input_ids.begin() + row * seq_len);
    std::copy(example.labels.begin(), example.labels.end(), batch.labels.begin() + row * seq_len);
    padded = padded || size_of(example.ids) < seq_len;
  }
  add_targets(examples, &Example::row_class, "class", batch.row_classes);
  add_targets(examples, &Example::row_score, "score", batch.row_scores);
  if (!padded)
    return batch;
  batch.key_range.reserve(static_cast<std::size_t>(2 * batch.batch_size * seq_len));
  for (const Example* example : examples)
    for (std::int64_t t = 0; t < seq_len; ++t) {
      batch.key_range.push_back(0);
      batch.key_range.push_back(narrow(std::min(t + 1, size_of(example->ids))));
    }
  return batch;
}

TokenBatch pad_batch(std::span<const Example> examples, std::int32_t pad_id, std::int64_t seq_len) {
  std::vector<const Example*> pointers;
  for (const Example& example : examples)
    pointers.push_back(&example);
  return pad_batch(pointers, pad_id, seq_len);
}

std::vector<std::vector<std::int64_t>> pack_rows(std::span<const std::int64_t> lengths, std::int64_t seq_len) {
  std::vector<std::vector<std::int64_t>> rows;
  std::multimap<std::int64_t, std::size_t> open;  // room left, row; equal rooms in order of arrival
  for (std::int64_t i = 0; i < size_of(lengths); ++i) {
    const std::int64_t length = lengths[static_cast<std::size_t>(i)];
    check(length >= 1 && length <= seq_len, "pack_rows: example ", i, ": expected 1 to ", seq_len, " tokens, got ",
          length);
    const auto fullest = open.lower_bound(length);
    std::size_t row = rows.size();
    std::int64_t room = seq_len;
    if (fullest != open.end()) {
      room = fullest->first, row = fullest->second;
      open.erase(fullest);
    } else {
      rows.emplace_back();
    }
    rows[row].push_back(i);
    if (room > length)
      open.emplace(room - length, row);
  }
  return rows;
}

TokenBatch pack_batch(std::span<const std::vector<const Example*>> rows, std::int32_t pad_id, std::int64_t seq_len) {
  check(!rows.empty(), "pack_batch: expected at least one row, got none");
  TokenBatch batch = blank(size_of(rows), seq_len, pad_id);
  batch.positions.resize(batch.input_ids.size());
  batch.key_range.resize(2 * batch.input_ids.size());
  for (std::int64_t row = 0; row < batch.batch_size; ++row) {
    const auto& documents = rows[static_cast<std::size_t>(row)];
    check(!documents.empty(), "pack_batch: row ", row, ": expected at least one example, got none");
    std::int64_t start = 0, end = 0;
    for (std::int64_t index = 0; index < size_of(documents); ++index) {
      const Example& example = *documents[static_cast<std::size_t>(index)];
      check_example(example, index, seq_len - end);
      start = end;
      end += size_of(example.ids);
      std::copy(example.ids.begin(), example.ids.end(), batch.input_ids.begin() + row * seq_len + start);
      std::copy(example.labels.begin() + 1, example.labels.end(), batch.labels.begin() + row * seq_len + start + 1);
      // The padding behind the last document attends to that document: every query needs a key.
      const std::int64_t stop = index + 1 < size_of(documents) ? end : seq_len;
      for (std::int64_t t = start; t < stop; ++t) {
        const auto at = static_cast<std::size_t>(row * seq_len + t);
        batch.positions[at] = narrow(t - start);
        batch.key_range[2 * at] = narrow(start);
        batch.key_range[2 * at + 1] = narrow(std::min(t + 1, end));
      }
    }
  }
  return batch;
}

void check_vocabulary(const Example& example, std::int64_t vocab_size, std::string_view origin) {
  for (std::size_t t = 0; t < example.ids.size(); ++t) {
    const std::int32_t id = example.ids[t], label = example.labels[t];
    check<IndexError>(id >= 0 && id < vocab_size, origin, ": token ", t, ": expected an id in [0, ", vocab_size,
                      "), got ", id);
    check<IndexError>(label == kIgnored || (label >= 0 && label < vocab_size), origin, ": label ", t, ": expected ",
                      kIgnored, " or an id in [0, ", vocab_size, "), got ", label);
  }
}

std::uint64_t fnv1a(std::string_view bytes, std::uint64_t state) {
  for (const char byte : bytes)
    state = (state ^ static_cast<unsigned char>(byte)) * 0x100000001b3;
  return state;
}

void BatchHash::add(const TokenBatch& batch) {
  const auto add_number = [this](std::uint64_t value) {  // the low four bytes, little-endian on every machine
    std::array<char, 4> bytes{};
    for (char& byte : bytes)
      byte = static_cast<char>(value & 0xff), value >>= 8;
    state_ = fnv1a({bytes.data(), bytes.size()}, state_);
  };
  add_number(static_cast<std::uint64_t>(batch.batch_size));
  add_number(static_cast<std::uint64_t>(batch.seq_len));
  for (const auto* values : {&batch.input_ids, &batch.labels, &batch.positions, &batch.key_range}) {
    add_number(values->size());
    for (const std::int32_t value : *values)
      add_number(static_cast<std::uint32_t>(value));
  }
  for (const std::int32_t value : batch.row_classes)
    add_number(static_cast<std::uint32_t>(value));
  for (const double value : batch.row_scores) {
    const auto bits = std::bit_cast<std::uint64_t>(value);
    add_number(bits);
    add_number(bits >> 32);
  }
}

std::string BatchHash::text() const {
  std::string out(16, '0');
  for (std::size_t i = 0; i < 16; ++i)
    out[15 - i] = "0123456789abcdef"[(state_ >> (4 * i)) & 15];
  return out;
}

}  // namespace osteon::experiments
