#pragma once

#include <map>
#include <vector>

#include "autograd/shared_step.hpp"
#include "experiments/data/example.hpp"

namespace osteon::experiments::mpi {

/// The rows [begin, end) of a batch of so many that a rank takes: consecutive ones, the first ranks one more where it
/// does not divide; none for the last ranks where there are fewer rows than ranks.
struct Rows {
  std::int64_t begin = 0, end = 0;
  std::int64_t count() const { return end - begin; }
};
Rows rows_of(std::int64_t rows, std::int64_t rank, std::int64_t ranks);

/// These rows of a batch, as a batch of the same length.
TokenBatch part_of(const TokenBatch& batch, Rows rows);

/// While one lives, a window of gradient accumulation is computed by all ranks, each its rows of every batch; in the
/// end all have the gradients of the whole window.
///
/// In order: a parameter's gradient goes from rank to rank. Each adds its rows to what the ranks before it have summed,
/// and hands it on at once: the same additions in the same order as one rank does them, so the same bits. Ranks do not
/// wait for whole backward passes: while the next one adds to the last layer's gradients, this one works on the layer
/// below. Else all gradients are summed at the end, which is equal to rounding.
class GradientExchange final : public SharedStep {
 public:
  GradientExchange(const NamedTensors& parameters, bool in_order);

  /// Before the forward pass of this rank's rows; called by every rank for every batch.
  Rows begin(const TokenBatch& batch);
  /// After the last backward.
  void finish();
  /// The sum of all batches' losses, each as one rank would have it.
  double loss(double tokens) const;

  void before_write(GradState& parameter) override;
  void after_write(GradState& parameter) override;
  void losses(const Tensor& tokens) override;

 private:
  /// A gradient's elements in the host's memory, where messages come from and go to: its own, or of one on a GPU those
  /// of a copy, which is kept for the next message.
  Tensor message(int index, const Tensor& gradient);
  void take_message(int index, std::int64_t from, const Tensor& gradient);
  void collect_in_order();
  void sum_all();
  int index_of(const GradState& parameter) const;

  struct Batch {
    std::int64_t rows = 0, losses_a_row = 0;
  };
  const NamedTensors& parameters_;
  bool in_order_;
  std::map<const GradState*, int> index_;
  Device device_;
  std::vector<Tensor> messages_;      ///< on a GPU, of each parameter: undefined until one is sent or comes
  std::vector<std::int64_t> holder_;  ///< who wrote last to a parameter's gradient; -1: nobody in this window
  std::int64_t sharing_ = 1;          ///< ranks that have rows of this batch
  std::vector<Batch> batches_;
  std::vector<double> losses_;
};

}  // namespace osteon::experiments::mpi
