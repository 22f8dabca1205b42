#include "experiments/mpi/gradient_exchange.hpp"

#include <algorithm>
#include <cstring>

#include "autograd/node.hpp"
#include "autograd/ops.hpp"
#include "backends/kernels/reduce.hpp"
#include "experiments/mpi/communicator.hpp"

namespace osteon::experiments::mpi {
namespace {

constexpr std::size_t kBucket = std::size_t{1} << 22;  // elements summed at a time: few messages, little memory

std::span<std::byte> bytes_of(const Tensor& x) {
  return {static_cast<std::byte*>(x.mut().data), static_cast<std::size_t>(x.bytes())};
}

Tensor new_gradient(const Tensor& parameter) {
  return zeros(parameter.shape(), accumulator(parameter.dtype()), parameter.device(), Category::gradient);
}

template <class T>
std::vector<T> slice(const std::vector<T>& all, std::int64_t row, Rows rows) {
  if (all.empty())
    return {};
  return {all.begin() + rows.begin * row, all.begin() + rows.end * row};
}

}  // namespace

Rows rows_of(std::int64_t rows, std::int64_t rank, std::int64_t ranks) {
  const std::int64_t each = rows / ranks, more = rows % ranks;
  const std::int64_t begin = rank * each + std::min(rank, more);
  return {begin, begin + each + (rank < more ? 1 : 0)};
}

TokenBatch part_of(const TokenBatch& batch, Rows rows) {
  TokenBatch part;
  part.batch_size = rows.count();
  part.seq_len = batch.seq_len;
  part.input_ids = slice(batch.input_ids, batch.seq_len, rows);
  part.labels = slice(batch.labels, batch.seq_len, rows);
  part.positions = slice(batch.positions, batch.seq_len, rows);
  part.key_range = slice(batch.key_range, 2 * batch.seq_len, rows);
  part.row_classes = slice(batch.row_classes, 1, rows);
  part.row_scores = slice(batch.row_scores, 1, rows);
  return part;
}

GradientExchange::GradientExchange(const NamedTensors& parameters, bool in_order)
    : parameters_(parameters), in_order_(in_order), holder_(parameters.size(), -1) {
  for (const auto& [name, parameter] : parameters)
    index_.emplace(parameter.grad_state().get(), static_cast<int>(index_.size()));
}

int GradientExchange::index_of(const GradState& parameter) const {
  const auto found = index_.find(&parameter);
  check<Error>(found != index_.end(), "gradients in order: a parameter ", parameter.shape, " is not among the ",
               parameters_.size(), " trained ones");
  return found->second;
}

Rows GradientExchange::begin(const TokenBatch& batch) {
  sharing_ = std::min(batch.batch_size, size());
  batches_.push_back({batch.batch_size, batch.classifies() ? 1 : batch.seq_len});
  return rows_of(batch.batch_size, rank(), size());
}

void GradientExchange::before_write(GradState& parameter) {
  if (!in_order_)
    return;
  const int index = index_of(parameter);
  const std::int64_t from = rank() > 0 ? rank() - 1 : holder_[static_cast<std::size_t>(index)];
  if (from < 0 || from == rank())
    return;
  if (!parameter.gradient.defined())
    parameter.gradient = empty(parameter.shape, accumulator(parameter.dtype), parameter.device, Category::gradient);
  receive(from, index, bytes_of(parameter.gradient));
}

void GradientExchange::after_write(GradState& parameter) {
  if (!in_order_)
    return;
  const int index = index_of(parameter);
  holder_[static_cast<std::size_t>(index)] = sharing_ - 1;
  if (sharing_ > 1)  // the last one's goes to rank 0, for the next batch or as the result
    start_send((rank() + 1) % sharing_, index, bytes_of(parameter.gradient));
}

void GradientExchange::losses(const Tensor& tokens) {
  const std::vector<double> values = tokens.to_doubles();
  losses_.insert(losses_.end(), values.begin(), values.end());
}

void GradientExchange::finish() {
  // Rank 0 has rows of every batch, so it has every gradient that there is.
  std::vector<std::byte> there(parameters_.size());
  for (std::size_t i = 0; i < there.size(); ++i)
    there[i] = std::byte{parameters_[i].second.grad().defined()};
  broadcast(there);
  for (std::size_t i = 0; i < there.size(); ++i)
    if (const Tensor& parameter = parameters_[i].second; there[i] == std::byte{1} && !parameter.grad().defined())
      parameter.set_grad(new_gradient(parameter));
  if (in_order_)
    collect_in_order();
  else
    sum_all();
}

void GradientExchange::collect_in_order() {
  for (std::size_t i = 0; i < parameters_.size(); ++i)
    if (rank() == 0 && holder_[i] > 0)
      receive(holder_[i], static_cast<int>(i), bytes_of(parameters_[i].second.grad()));
  finish_sends();
  for (const auto& [name, parameter] : parameters_)
    if (const Tensor gradient = parameter.grad(); gradient.defined())
      broadcast(bytes_of(gradient));
}

void GradientExchange::sum_all() {
  std::vector<float> bucket;
  std::vector<std::pair<float*, std::size_t>> places;  // where the bucket's pieces go back to
  const auto flush = [&] {
    sum(bucket);
    const float* from = bucket.data();
    for (const auto& [place, count] : places) {
      std::copy_n(from, count, place);
      from += count;
    }
    bucket.clear();
    places.clear();
  };
  for (const auto& [name, parameter] : parameters_) {
    const Tensor gradient = parameter.grad();
    if (!gradient.defined())
      continue;
    check(gradient.dtype() == DType::f32, name, ": gradient: expected f32, got ", gradient.dtype());
    auto* data = static_cast<float*>(gradient.mut().data);
    for (auto left = static_cast<std::size_t>(gradient.numel()); left > 0;) {
      const std::size_t count = std::min(left, kBucket - bucket.size());
      bucket.insert(bucket.end(), data, data + count);
      places.emplace_back(data, count);
      data += count;
      left -= count;
      if (bucket.size() == kBucket)
        flush();
    }
  }
  flush();
}

double GradientExchange::loss(double tokens) const {
  const std::vector<double> all = gather(losses_);
  // Rank by rank; of each rank batch by batch.
  std::vector<std::size_t> next(static_cast<std::size_t>(size()), 0);
  for (std::size_t r = 1; r < next.size(); ++r) {
    next[r] = next[r - 1];
    for (const Batch& batch : batches_)
      next[r] += static_cast<std::size_t>(rows_of(batch.rows, static_cast<std::int64_t>(r) - 1, size()).count() *
                                          batch.losses_a_row);
  }
  double total = 0;
  for (const Batch& batch : batches_) {
    std::vector<double> losses;
    for (std::size_t r = 0; r < next.size(); ++r) {
      const auto count = static_cast<std::size_t>(rows_of(batch.rows, static_cast<std::int64_t>(r), size()).count() *
                                                  batch.losses_a_row);
      losses.insert(losses.end(), all.begin() + static_cast<std::ptrdiff_t>(next[r]),
                    all.begin() + static_cast<std::ptrdiff_t>(next[r] + count));
      next[r] += count;
    }
    // As the op sums them: rounded to f32 once a batch.
    const Tensor rows = from_values(losses, {static_cast<std::int64_t>(losses.size())}, DType::f64, Device::cpu);
    const Tensor loss = empty({}, DType::f32, Device::cpu);
    kernels::sum(Cpu{}, rows.view(), Normalizer(tokens).factor(), {loss.mut(), false});
    total += loss.item();
  }
  return total;
}

}  // namespace osteon::experiments::mpi
