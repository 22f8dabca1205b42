#include "experiments/mpi/gradient_exchange.hpp"

#include <algorithm>

#include "autograd/node.hpp"
#include "autograd/ops.hpp"
#include "backends/kernels/reduce.hpp"
#include "backends/kernels/transfer.hpp"
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

/// Between a gradient on a GPU and its message; one in the host's memory is its message.
void bring(const Tensor& from, const Tensor& to) {
  if (from.device() != to.device())
    copy_elements(from, to);
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
    : parameters_(parameters),
      in_order_(in_order),
      device_(parameters.front().second.device()),
      messages_(parameters.size()),
      holder_(parameters.size(), -1) {
  for (const auto& [name, parameter] : parameters)
    index_.emplace(parameter.grad_state().get(), static_cast<int>(index_.size()));
}

int GradientExchange::index_of(const GradState& parameter) const {
  const auto found = index_.find(&parameter);
  check<Error>(found != index_.end(), "gradients in order: a parameter ", parameter.shape, " is not among the ",
               parameters_.size(), " trained ones");
  return found->second;
}

Tensor GradientExchange::message(int index, const Tensor& gradient) {
  if (gradient.device() == Device::cpu)
    return gradient;
  Tensor& copy = messages_[static_cast<std::size_t>(index)];
  if (!copy.defined())
    copy = empty(gradient.shape(), gradient.dtype(), Device::cpu, Category::gradient);
  return copy;
}

void GradientExchange::take_message(int index, std::int64_t from, const Tensor& gradient) {
  const Tensor came = message(index, gradient);
  receive(from, index, bytes_of(came));
  bring(came, gradient);
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
  take_message(index, from, parameter.gradient);
}

void GradientExchange::after_write(GradState& parameter) {
  if (!in_order_)
    return;
  const int index = index_of(parameter);
  holder_[static_cast<std::size_t>(index)] = sharing_ - 1;
  if (sharing_ == 1)
    return;
  const Tensor sent = message(index, parameter.gradient);
  bring(parameter.gradient, sent);
  // The last one's goes to rank 0, for the next batch or as the result.
  start_send((rank() + 1) % sharing_, index, bytes_of(sent));
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
      take_message(static_cast<int>(i), holder_[i], parameters_[i].second.grad());
  finish_sends();
  for (std::size_t i = 0; i < parameters_.size(); ++i)
    if (const Tensor gradient = parameters_[i].second.grad(); gradient.defined()) {
      const Tensor all = message(static_cast<int>(i), gradient);
      if (rank() == 0)
        bring(gradient, all);
      broadcast(bytes_of(all));
      bring(all, gradient);
    }
}

void GradientExchange::sum_all() {
  std::vector<float> bucket;
  std::vector<View> places;  // where the bucket's pieces go back to
  const auto in_bucket = [&](std::size_t begin, std::int64_t count) {
    return View{bucket.data() + begin, DType::f32, {count, 1}, true};
  };
  const auto flush = [&] {
    sum(bucket);
    std::size_t begin = 0;
    for (const View& place : places) {
      on_device(device_, [&](auto dev) { kernels::upload(dev, in_bucket(begin, place.numel()), place); });
      begin += static_cast<std::size_t>(place.numel());
    }
    bucket.clear();
    places.clear();
  };
  for (const auto& [name, parameter] : parameters_) {
    const Tensor gradient = parameter.grad();
    if (!gradient.defined())
      continue;
    check(gradient.dtype() == DType::f32, name, ": gradient: expected f32, got ", gradient.dtype());
    const View all = gradient.mut().reshape({gradient.numel(), 1});
    for (std::int64_t begin = 0; begin < all.numel();) {
      const std::size_t filled = bucket.size();
      const std::int64_t end = std::min(all.numel(), begin + static_cast<std::int64_t>(kBucket - filled));
      const View& place = places.emplace_back(all.slice_rows(begin, end));
      bucket.resize(filled + static_cast<std::size_t>(end - begin));
      on_device(device_, [&](auto dev) { kernels::download(dev, place, in_bucket(filled, place.numel())); });
      begin = end;
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
    // As the op sums them, on its device: rounded to f32 once a batch.
    const Tensor rows = from_values(losses, {static_cast<std::int64_t>(losses.size())}, DType::f64, device_);
    const Tensor loss = empty({}, DType::f32, device_);
    on_device(device_, [&](auto dev) {
      kernels::sum(dev, rows.view(), Normalizer(tokens).factor(), {loss.mut(), false});
    });
    total += loss.item();
  }
  return total;
}

}  // namespace osteon::experiments::mpi
