#pragma once

#include <cstdint>
#include <vector>

#include "experiments/data/example.hpp"

namespace osteon::experiments {

/// Where a stream stands. Two numbers say all: everything else follows from the seed.
struct StreamState {
  std::int64_t epoch = 0;
  std::int64_t position = 0;  // in units of the stream: rows, items or batches of the epoch already given
  std::uint64_t hash = BatchHash{}.value();  // of all batches given so far

  bool operator==(const StreamState&) const = default;
};

/// What one optimiser step trains on.
struct StepData {
  std::vector<TokenBatch> batches;       // the window of gradient accumulation: 1 to `accumulate` forward passes
  std::vector<std::int64_t> sample_ids;  // the examples in them, by their number in the source (from 0)

  std::int64_t loss_tokens() const {
    std::int64_t count = 0;
    for (const TokenBatch& batch : batches)
      count += experiments::loss_tokens(batch);
    return count;
  }
  std::int64_t positions() const {
    std::int64_t count = 0;
    for (const TokenBatch& batch : batches)
      count += batch.batch_size * batch.seq_len;
    return count;
  }
};

/// Training data, step after step. The same seed gives the same stream to every method; `state` and `restore` continue
/// it exactly, in another process too.
class BatchStream {
 public:
  virtual ~BatchStream() = default;

  /// The next step's data. Streams of files begin a new epoch where one ends and never mix two in a step.
  StepData next() {
    StepData step = produce();
    for (const TokenBatch& batch : step.batches)
      hash_.add(batch);
    return step;
  }

  /// Steps in that many epochs; 0 for a stream without end (fresh examples), whose `steps` must be given.
  virtual std::int64_t steps_in(double epochs) const = 0;

  StreamState state() const {
    StreamState out = place();
    out.hash = hash_.value();
    return out;
  }
  void restore(const StreamState& state) {
    go_to(state);
    hash_.restore(state.hash);
  }

  /// Hash of all batches given so far: the summary's data hash.
  const BatchHash& hash() const { return hash_; }

 private:
  virtual StepData produce() = 0;
  virtual StreamState place() const = 0;
  virtual void go_to(const StreamState& state) = 0;

  BatchHash hash_;
};

}  // namespace osteon::experiments
