#include "backends/kernels/embedding.hpp"

#include "autograd/node.hpp"
#include "autograd/ops.hpp"

namespace osteon {

Tensor embedding(const Tensor& table, const Tensor& ids) {
  check(table.shape().rank() == 2, "embedding: table: expected [vocab_size, hidden_size], got ", table.shape());
  check(ids.dtype() == DType::i32, "embedding: ids: expected i32, got ", ids.dtype());
  std::vector<std::int64_t> dims(ids.shape().begin(), ids.shape().end());
  dims.push_back(table.dim(1));
  const Tensor y = empty(Shape(dims), table.dtype(), table.device());
  on_device(table.device(), [&](auto dev) { kernels::embedding(dev, table.view(), ids.view(), y.mut()); });
  return record("embedding", y, {table}, [ids = save("ids", ids)](const Tensor& dy, Grads& grad) {
    const Sink dtable = grad[0];
    on_device(dy.device(), [&](auto dev) { kernels::embedding_backward(dev, dy.view(), ids.view(), dtable); });
  });
}

}  // namespace osteon
