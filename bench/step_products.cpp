#include "bench/step_products.hpp"

#include <algorithm>
#include <functional>

#include "backends/error.hpp"
#include "bench/training_step.hpp"

namespace osteon::bench {
namespace {

/// Rows of logits at a time in the loss: autograd/ops/cross_entropy.cpp.
constexpr std::int64_t kChunkRows = 256;

/// One adapted linear as a step meets it.
struct Site {
  std::int64_t out, in;
  bool first_of_x;  ///< the first to write the gradient of an x that several linears share
  bool wants_dx;
};

/// Adds the products of one step to the counts; x [tokens, in], y [tokens, out].
class Counter {
 public:
  Counter(const ModelShape& shape, std::int64_t rank, DType dtype)
      : shape_(shape), tokens_(shape.tokens()), rank_(rank), dtype_(dtype) {}

  void gemm(ProductCounts& to, std::int64_t m, std::int64_t n, std::int64_t k, bool transpose_b, bool add) const {
    to[{m, n, k, 0, transpose_b, add, dtype_, dtype_}] += 1;
  }
  /// A parameter's gradient [m, n], in f32.
  void token_sum(ProductCounts& to, std::int64_t m, std::int64_t n) const {
    to[{m, n, tokens_, shape_.seq_len, false, false, dtype_, DType::f32}] += 1;
  }

  /// y = x W^T and dx = dy W.
  void frozen(const Site& s) {
    gemm(all.base, tokens_, s.out, s.in, true, false);
    if (s.wants_dx)
      gemm(all.base, tokens_, s.in, s.out, false, !s.first_of_x);
  }
  void full(const Site& s) {
    frozen(s);
    token_sum(all.base, s.out, s.in);
  }
  /// h = x A^T, y += h B^T;  dh = dy B, dB = dy^T h, dA = dh^T x, dx += dh A.
  void lora(const Site& s) {
    frozen(s);
    gemm(all.adapter, tokens_, rank_, s.in, true, false);
    gemm(all.adapter, tokens_, s.out, rank_, true, true);
    gemm(all.adapter, tokens_, rank_, s.out, false, false);
    token_sum(all.adapter, s.out, rank_);
    token_sum(all.adapter, rank_, s.in);
    if (s.wants_dx)
      gemm(all.adapter, tokens_, s.in, rank_, false, true);
  }
  /// LoRA and the Gram terms of the rows' norms: W A^T, A A^T, B (A A^T).
  void dora(const Site& s) {
    lora(s);
    all.adapter[{s.out, rank_, s.in, 0, true, false, dtype_, DType::f32}] += 1;
    all.adapter[{rank_, rank_, s.in, 0, true, false, DType::f32, DType::f32}] += 1;
    all.adapter[{s.out, rank_, rank_, 0, false, false, DType::f32, DType::f32}] += 1;
  }
  /// y += S D;  dS = dy D^T, dD = S^T dy. The block sum S and its transpose are no products.
  void bone(const Site& s) {
    frozen(s);
    gemm(all.adapter, tokens_, s.out, rank_, false, true);
    token_sum(all.adapter, rank_, s.out);
    if (s.wants_dx)
      gemm(all.adapter, tokens_, rank_, s.out, true, !s.first_of_x);
  }
  /// The frozen linear's products with W' = W (I + B) + B, made once for each, and dW' = dy^T x, dB = W^T dW' + dW'.
  void bat(const Site& s) {
    frozen(s);
    const std::int64_t blocks = s.out / rank_;
    all.adapter[{s.in, rank_, rank_, 0, false, false, dtype_, dtype_, blocks}] += s.wants_dx ? 2 : 1;
    token_sum(all.adapter, s.out, s.in);
    all.adapter[{rank_, rank_, s.in, s.in, false, false, dtype_, DType::f32, blocks}] += 1;
  }

  /// Logits and their part of dx, chunk by chunk, and a trained weight's gradient.
  void head(bool trains) {
    const std::int64_t seq_len = shape_.seq_len, vocab = shape_.vocab_size, hidden = shape_.hidden_size;
    const std::int64_t step = seq_len <= kChunkRows ? kChunkRows / seq_len * seq_len : kChunkRows;
    for (std::int64_t begin = 0; begin < tokens_;) {
      const std::int64_t limit = seq_len <= kChunkRows ? tokens_ : (begin / seq_len + 1) * seq_len;
      const std::int64_t rows = std::min(begin + step, limit) - begin;
      all.base[{rows, vocab, hidden, 0, true, false, dtype_, DType::f32}] += 1;
      gemm(all.base, rows, hidden, vocab, false, false);
      if (trains)
        all.base[{vocab, hidden, rows, std::min(rows, seq_len), false, begin > 0, dtype_, DType::f32}] += 1;
      begin += rows;
    }
  }

  StepProducts all;

 private:
  const ModelShape& shape_;
  std::int64_t tokens_, rank_;
  DType dtype_;
};

}  // namespace

double flops_of(const ProductCounts& products) {
  double total = 0;
  for (const auto& [product, count] : products)
    total += product.flops() * static_cast<double>(count);
  return total;
}

StepProducts step_products(const ModelShape& shape, const std::string& method, DType dtype) {
  static const std::map<std::string, void (Counter::*)(const Site&)> adapted = {
      {"full", &Counter::full}, {"lora", &Counter::lora}, {"pissa", &Counter::lora},
      {"dora", &Counter::dora}, {"bone", &Counter::bone}, {"bat", &Counter::bat}};
  const auto linear = adapted.find(method);
  check<ConfigError>(linear != adapted.end(), "step_products: no products are listed for the method ", method);
  Counter counter(shape, rank_of(method), dtype);
  const bool full = method == "full";
  const std::int64_t hidden = shape.hidden_size, inner = shape.intermediate_size;
  const std::int64_t kv = shape.kv_heads * shape.head_dim();
  for (std::int64_t layer = 0; layer < shape.layers; ++layer) {
    const bool wants_dx = layer > 0 || full;  // before the first block there is only the embedding
    const Site sites[] = {{hidden, hidden, false, wants_dx}, {kv, hidden, false, wants_dx},
                          {kv, hidden, true, wants_dx},      {hidden, hidden, true, true},
                          {inner, hidden, false, true},      {inner, hidden, true, true},
                          {hidden, inner, true, true}};
    for (const Site& site : sites)
      std::invoke(linear->second, counter, site);
  }
  counter.head(full);
  return counter.all;
}

}  // namespace osteon::bench
