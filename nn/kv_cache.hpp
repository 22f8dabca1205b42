#pragma once

#include <utility>
#include <vector>

#include "autograd/tensor.hpp"

namespace osteon::nn {

/// Keys and values of the positions read so far, per layer [batch, capacity, kv_heads, head_dim].
class KvCache {
 public:
  KvCache(std::size_t layers, std::int64_t batch_size, std::int64_t capacity, std::int64_t kv_heads,
          std::int64_t head_dim, DType dtype, Device device);

  /// Appends k and v [batch, seq_len, kv_heads, head_dim] to a layer and returns all of its keys and values
  /// [batch, capacity, ...], of which the first length() + seq_len positions are valid.
  std::pair<Tensor, Tensor> append(std::size_t layer, const Tensor& k, const Tensor& v);
  /// Moves on after all layers have read seq_len more positions.
  void advance(std::int64_t seq_len) { length_ += seq_len; }

  std::int64_t length() const { return length_; }
  std::int64_t capacity() const { return capacity_; }

 private:
  std::vector<std::pair<Tensor, Tensor>> layers_;
  std::int64_t capacity_, length_ = 0;
};

}  // namespace osteon::nn
