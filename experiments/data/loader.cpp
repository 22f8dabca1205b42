#include "experiments/data/loader.hpp"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "backends/error.hpp"
#include "experiments/data/draw.hpp"

namespace osteon::experiments {
namespace {

std::int64_t divide_up(std::int64_t a, std::int64_t b) { return (a + b - 1) / b; }

}  // namespace

DataLoader::DataLoader(std::vector<Example> examples, const LoaderOptions& options)
    : examples_(std::move(examples)), options_(options) {
  check<ConfigError>(!examples_.empty(), "data: expected at least one example, got none");
  check<ConfigError>(options.batch_size >= 1, "batch_size: expected at least 1, got ", options.batch_size);
  check<ConfigError>(options.accumulate >= 1, "accumulate: expected at least 1, got ", options.accumulate);
  check<ConfigError>(!options.packing || options.seq_len >= 1, "packing: expected seq_len of at least 1, got ",
                     options.seq_len);
  rows_ = rows_of(0);
}

DataLoader::Rows DataLoader::rows_of(std::int64_t epoch) const {
  std::vector<std::int64_t> order(examples_.size());
  std::iota(order.begin(), order.end(), 0);
  if (options_.shuffle)
    Draw(key_for(options_.seed, Purpose::data_order).split(static_cast<std::uint64_t>(epoch)))
        .shuffle(std::span(order));
  Rows rows;
  if (options_.packing) {
    std::vector<std::int64_t> lengths;
    lengths.reserve(order.size());
    for (const std::int64_t i : order)
      lengths.push_back(static_cast<std::int64_t>(examples_[static_cast<std::size_t>(i)].ids.size()));
    rows = pack_rows(lengths, options_.seq_len);
    for (auto& row : rows)
      for (std::int64_t& i : row)
        i = order[static_cast<std::size_t>(i)];
  } else {
    for (const std::int64_t i : order)
      rows.push_back({i});
  }
  return rows;
}

std::int64_t DataLoader::steps_of(std::int64_t rows) const {
  return divide_up(divide_up(rows, options_.batch_size), options_.accumulate);
}

std::int64_t DataLoader::steps_in(double epochs) const {
  // Packed epochs differ in their number of rows, so whole epochs are counted one by one.
  const auto whole = static_cast<std::int64_t>(std::floor(epochs));
  std::int64_t steps = 0;
  if (options_.packing && options_.shuffle) {
    for (std::int64_t epoch = 0; epoch < whole; ++epoch)
      steps += steps_of(static_cast<std::int64_t>(rows_of(epoch).size()));
  } else {
    steps = whole * steps_of(static_cast<std::int64_t>(rows_of(0).size()));
  }
  const double rest = epochs - static_cast<double>(whole);
  const auto last = static_cast<double>(steps_of(static_cast<std::int64_t>(rows_of(whole).size())));
  return steps + static_cast<std::int64_t>(std::ceil(rest * last));
}

StepData DataLoader::produce() {
  if (position_ == static_cast<std::int64_t>(rows_.size())) {
    ++epoch_;
    position_ = 0;
    rows_ = rows_of(epoch_);
  }
  StepData step;
  for (std::int64_t pass = 0; pass < options_.accumulate && position_ < static_cast<std::int64_t>(rows_.size());
       ++pass) {
    std::vector<std::vector<const Example*>> rows;
    for (std::int64_t i = 0; i < options_.batch_size && position_ < static_cast<std::int64_t>(rows_.size()); ++i) {
      auto& row = rows.emplace_back();
      for (const std::int64_t id : rows_[static_cast<std::size_t>(position_)]) {
        row.push_back(&examples_[static_cast<std::size_t>(id)]);
        step.sample_ids.push_back(id);
      }
      ++position_;
    }
    if (options_.packing) {
      step.batches.push_back(pack_batch(rows, options_.pad_id, options_.seq_len));
    } else {
      std::vector<const Example*> single;
      single.reserve(rows.size());
      for (const auto& row : rows)
        single.push_back(row.front());
      step.batches.push_back(pad_batch(single, options_.pad_id, options_.seq_len));
    }
  }
  return step;
}

void DataLoader::go_to(const StreamState& state) {
  Rows rows = rows_of(state.epoch);
  check<ConfigError>(
      state.epoch >= 0 && state.position >= 0 && state.position <= static_cast<std::int64_t>(rows.size()),
      "resume: expected a position in the data of at most ", rows.size(), " rows, got ", state.position, " in epoch ",
      state.epoch, "; has the data changed?");
  epoch_ = state.epoch;
  position_ = state.position;
  rows_ = std::move(rows);
}

std::vector<TokenBatch> evaluation_batches(std::span<const Example> examples, std::int64_t batch_size,
                                           std::int32_t pad_id) {
  std::vector<TokenBatch> batches;
  const auto rows = static_cast<std::size_t>(batch_size);
  for (std::size_t first = 0; first < examples.size(); first += rows)
    batches.push_back(pad_batch(examples.subspan(first, std::min(rows, examples.size() - first)), pad_id));
  return batches;
}

}  // namespace osteon::experiments
