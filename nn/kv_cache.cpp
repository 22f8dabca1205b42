#include "nn/kv_cache.hpp"

#include "backends/kernels/elementwise.hpp"

namespace osteon::nn {

KvCache::KvCache(std::size_t layers, std::int64_t batch_size, std::int64_t capacity, std::int64_t kv_heads,
                 std::int64_t head_dim, DType dtype, Device device)
    : capacity_(capacity) {
  const Shape shape = {batch_size, capacity, kv_heads, head_dim};
  for (std::size_t i = 0; i < layers; ++i)
    layers_.emplace_back(zeros(shape, dtype, device), zeros(shape, dtype, device));
}

std::pair<Tensor, Tensor> KvCache::append(std::size_t layer, const Tensor& k, const Tensor& v) {
  const std::int64_t seq_len = k.dim(1);
  check<IndexError>(length_ + seq_len <= capacity_, "kv cache: expected at most ", capacity_, " positions, got ",
                    length_ + seq_len);
  auto& [keys, values] = layers_.at(layer);
  for (std::int64_t row = 0; row < k.dim(0); ++row) {
    const auto place = [&](const Tensor& all, const Tensor& fresh) {
      const Tensor to =
          all.slice(row, row + 1).alias({capacity_, k.dim(2), k.dim(3)}).slice(length_, length_ + seq_len);
      const Tensor from = fresh.slice(row, row + 1);
      on_device(k.device(), [&](auto dev) { kernels::copy(dev, from.view(), to.mut().reshape(from.shape())); });
    };
    place(keys, k);
    place(values, v);
  }
  return {keys, values};
}

}  // namespace osteon::nn
