#pragma once

#include <memory>
#include <vector>

#include "experiments/data/stream.hpp"
#include "experiments/data/tokenizer.hpp"
#include "experiments/tasks/held_out.hpp"

namespace osteon::experiments {

/// Fresh items of a task for ever, never a held-out one. Item i of a seed is a function of (seed, task, i) alone; a
/// step takes batch_size * accumulate of them, in rows of one fixed length. The tokenizer must outlive the stream.
class TaskStream final : public BatchStream {
 public:
  struct Options {
    std::int64_t batch_size = 32;
    std::int64_t accumulate = 1;
    std::int64_t seed = 0;
  };

  TaskStream(std::unique_ptr<Task> task, const Tokenizer& tokenizer, const Options& options);

  std::int64_t steps_in(double /*epochs*/) const override { return 0; }
  /// Item number `index` of the stream.
  Item item(std::int64_t index) const;
  std::int64_t seq_len() const { return task_->max_length(); }

 private:
  StepData produce() override;
  StreamState place() const override { return {.position = position_}; }
  void go_to(const StreamState& state) override { position_ = state.position; }

  std::unique_ptr<Task> task_;
  const Tokenizer& tokenizer_;
  Options options_;
  HeldOut held_;
  std::int64_t position_ = 0;  // items already given
};

/// The pretraining mixture: rows of `seq_len` tokens, each a newline and then whole items of skills drawn by their
/// weights, one's closing newline being the next one's opening newline, cut at the end of the row. Attention is plain
/// causal across the row; the loss counts answers and their newlines; no item is a held-out one of its skill. Row i of
/// a seed is a function of (seed, i) alone. The tokenizer must outlive the stream.
class MixtureStream final : public BatchStream {
 public:
  struct Options {
    std::int64_t batch_size = 24;
    std::int64_t accumulate = 1;
    std::int64_t seq_len = 96;
    std::int64_t seed = 0;
  };

  MixtureStream(const Tokenizer& tokenizer, const Options& options);

  std::int64_t steps_in(double /*epochs*/) const override { return 0; }
  /// Row number `index` of the stream.
  Example row(std::int64_t index) const;

 private:
  StepData produce() override;
  StreamState place() const override { return {.position = position_}; }
  void go_to(const StreamState& state) override { position_ = state.position; }
  std::size_t draw_skill(Draw& draw) const;

  const Tokenizer& tokenizer_;
  Options options_;
  std::vector<WeightedTask> skills_;
  std::vector<HeldOut> held_;  // one of each skill
  std::int64_t position_ = 0;  // rows already given
};

}  // namespace osteon::experiments
