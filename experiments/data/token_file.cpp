#include "experiments/data/token_file.hpp"

#include <algorithm>
#include <cmath>
#include <string>

#include "backends/error.hpp"
#include "nn/io/safetensors.hpp"

namespace osteon::experiments {
namespace {

std::vector<std::int32_t> read_integers(const io::SafetensorsFile& file, const std::string& name, const Shape& shape) {
  const io::TensorEntry& entry = file.info(name);
  check<FileError>(entry.shape == shape, file.path().string(), ": ", name, ": expected the shape of input_ids, ", shape,
                   ", got ", entry.shape);
  std::vector<std::int32_t> values(static_cast<std::size_t>(entry.numel));
  file.read_into(name, values.data(), DType::i32);
  return values;
}

/// The key ranges of rows whose mask is ones and then zeros.
std::vector<std::int32_t> key_range_of(const std::vector<std::int32_t>& mask, std::int64_t seq_len,
                                       const std::string& origin) {
  std::vector<std::int32_t> range;
  range.reserve(2 * mask.size());
  for (auto row = mask.begin(); row != mask.end(); row += seq_len) {
    const auto padding = std::find(row, row + seq_len, 0);
    const bool right = std::all_of(row, padding, [](std::int32_t m) { return m == 1; }) &&
                       std::all_of(padding, row + seq_len, [](std::int32_t m) { return m == 0; });
    check<FileError>(right && padding != row, origin, ": row ", (row - mask.begin()) / seq_len,
                     ": expected ones and then zeros (padding on the right)");
    const auto length = static_cast<std::int32_t>(padding - row);
    for (std::int32_t t = 0; t < seq_len; ++t) {
      range.push_back(0);
      range.push_back(std::min(t + 1, length));
    }
  }
  return range;
}

TokenBatch read_batch(const io::SafetensorsFile& file, const std::string& suffix, std::int64_t vocab_size) {
  const std::string ids = "input_ids" + suffix, labels = "labels" + suffix, mask = "attention_mask" + suffix;
  const std::string path = file.path().string();
  const Shape shape = file.info(ids).shape;
  check<FileError>(shape.rank() == 2 && shape.numel() > 0, path, ": ", ids,
                   ": expected the shape [batch, seq_len], got ", shape);
  TokenBatch batch;
  batch.batch_size = shape[0];
  batch.seq_len = shape[1];
  batch.input_ids = read_integers(file, ids, shape);
  batch.labels = file.contains(labels) ? read_integers(file, labels, shape) : batch.input_ids;
  if (file.contains(mask)) {
    const auto values = read_integers(file, mask, shape);
    if (std::find(values.begin(), values.end(), 1) == values.end() ||
        std::find(values.begin(), values.end(), 0) != values.end())
      batch.key_range = key_range_of(values, batch.seq_len, join(path, ": ", mask));
    for (std::size_t i = 0; i < values.size(); ++i)
      if (values[i] == 0)
        batch.labels[i] = kIgnored;
  }
  check_vocabulary({batch.input_ids, batch.labels}, vocab_size, join(path, ": ", ids));
  return batch;
}

}  // namespace

std::vector<TokenBatch> read_token_file(const std::filesystem::path& path, std::int64_t vocab_size) {
  const io::SafetensorsFile file(path);
  if (file.contains("input_ids"))
    return {read_batch(file, "", vocab_size)};
  std::vector<TokenBatch> batches;
  while (file.contains("input_ids." + std::to_string(batches.size())))
    batches.push_back(read_batch(file, "." + std::to_string(batches.size()), vocab_size));
  for (const std::string& name : file.names())
    if (name.starts_with("input_ids.") || name.starts_with("labels.") || name.starts_with("attention_mask.")) {
      const std::string suffix = name.substr(name.find('.') + 1);
      const bool number =
          !suffix.empty() && suffix.size() < 10 && suffix.find_first_not_of("0123456789") == std::string::npos;
      check<FileError>(number && std::to_string(std::stoll(suffix)) == suffix &&
                           std::stoll(suffix) < static_cast<long long>(batches.size()),
                       path.string(), ": ", name, ": expected input_ids.", batches.size(), " as the next batch");
    }
  check<FileError>(!batches.empty(), path.string(), ": expected a tensor input_ids.0 or input_ids, got none");
  return batches;
}

TokenFileStream::TokenFileStream(std::vector<TokenBatch> batches, std::int64_t accumulate)
    : batches_(std::move(batches)), accumulate_(accumulate) {
  check<ConfigError>(!batches_.empty(), "data: expected at least one batch, got none");
  check<ConfigError>(accumulate_ >= 1, "accumulate: expected at least 1, got ", accumulate_);
}

std::int64_t TokenFileStream::steps_in(double epochs) const {
  const std::int64_t in_one = (static_cast<std::int64_t>(batches_.size()) + accumulate_ - 1) / accumulate_;
  return static_cast<std::int64_t>(std::ceil(epochs * static_cast<double>(in_one)));
}

StepData TokenFileStream::produce() {
  const auto size = static_cast<std::int64_t>(batches_.size());
  if (position_ == size)
    ++epoch_, position_ = 0;
  StepData step;
  for (std::int64_t pass = 0; pass < accumulate_ && position_ < size; ++pass, ++position_) {
    step.sample_ids.push_back(position_);
    step.batches.push_back(batches_[static_cast<std::size_t>(position_)]);
  }
  return step;
}

void TokenFileStream::go_to(const StreamState& state) {
  const auto size = static_cast<std::int64_t>(batches_.size());
  check<ConfigError>(state.epoch >= 0 && state.position >= 0 && state.position <= size,
                     "resume: expected a position in the data of at most ", size, " batches, got ", state.position,
                     "; has the data changed?");
  epoch_ = state.epoch;
  position_ = state.position;
}

}  // namespace osteon::experiments
