// The kernels beside the matrix products, at the shapes of a small and of a middle-sized model (shapes.hpp).
// Counters: bytes_per_second = what the contract reads and writes once; FLOP = the products of attention, of visible
// pairs only. OMP_NUM_THREADS sets the threads, --device=cuda measures on a GPU.
#include <vector>

#include "backends/kernels/adamw.hpp"
#include "backends/kernels/attention.hpp"
#include "backends/kernels/cross_entropy.hpp"
#include "backends/kernels/elementwise.hpp"
#include "backends/kernels/embedding.hpp"
#include "backends/kernels/random.hpp"
#include "backends/kernels/reduce.hpp"
#include "backends/kernels/rms_norm.hpp"
#include "backends/kernels/rotary.hpp"
#include "backends/kernels/swiglu.hpp"
#include "bench/buffer.hpp"
#include "bench/main.hpp"
#include "bench/shapes.hpp"

namespace osteon {
namespace {

using bench::Buffer;

constexpr DType kDTypes[] = {DType::f32, DType::bf16, DType::f64};

struct Sizes {
  std::int64_t tokens, hidden, intermediate;
};
constexpr Sizes sizes_of(const bench::ModelShape& shape) {
  return {shape.tokens(), shape.hidden_size, shape.intermediate_size};
}
constexpr Sizes kSizes[] = {sizes_of(bench::shape_named("small")), sizes_of(bench::shape_named("tiny1b"))};

/// Arguments: index of the sizes, index of the dtype.
void model_shapes(benchmark::internal::Benchmark* b) {
  b->ArgNames({"model", "dtype"})->ArgsProduct({{0, 1}, {0, 1}})->UseRealTime()->Unit(benchmark::kMicrosecond);
}
Sizes sizes(const benchmark::State& state) { return kSizes[state.range(0)]; }
DType dtype(const benchmark::State& state) { return kDTypes[state.range(1)]; }

template <class F>
void run(benchmark::State& state, std::int64_t bytes, const F& f) {
  bench::measure(state, f);
  state.SetBytesProcessed(state.iterations() * bytes);
}

void BM_add(benchmark::State& state) {
  const Sizes s = sizes(state);
  Buffer a(dtype(state), {s.tokens, s.hidden}), b(dtype(state), {s.tokens, s.hidden}),
      y(dtype(state), {s.tokens, s.hidden});
  run(state, 3 * a.bytes(), [&](auto dev) { kernels::add(dev, a.view(), b.view(), y.view()); });
}
BENCHMARK(BM_add)->Apply(model_shapes);

void BM_rms_norm(benchmark::State& state) {
  const Sizes s = sizes(state);
  Buffer x(dtype(state), {s.tokens, s.hidden}), w(dtype(state), {s.hidden}), y(dtype(state), {s.tokens, s.hidden}),
      r(DType::f32, {s.tokens});
  run(state, 2 * x.bytes(), [&](auto dev) { kernels::rms_norm(dev, x.view(), w.view(), 1e-5, y.view(), r.view()); });
}
BENCHMARK(BM_rms_norm)->Apply(model_shapes);

void BM_rms_norm_backward(benchmark::State& state) {
  const Sizes s = sizes(state);
  Buffer x(dtype(state), {s.tokens, s.hidden}), w(dtype(state), {s.hidden}), dy(dtype(state), {s.tokens, s.hidden}),
      r(DType::f32, {s.tokens}), dx(dtype(state), {s.tokens, s.hidden}), dw(DType::f32, {s.hidden});
  run(state, 3 * x.bytes(), [&](auto dev) {
    kernels::rms_norm_backward(dev, dy.view(), x.view(), w.view(), r.view(), dx.sink(), dw.sink());
  });
}
BENCHMARK(BM_rms_norm_backward)->Apply(model_shapes);

void BM_rotary(benchmark::State& state) {
  const Sizes s = sizes(state);
  Buffer x(dtype(state), {s.tokens / 256, 256, s.hidden / 64, 64}),
      y(dtype(state), {s.tokens / 256, 256, s.hidden / 64, 64}), table(DType::f32, {256, 2, 32});
  run(state, 2 * x.bytes(), [&](auto dev) { kernels::rotary(dev, x.view(), table.view(), {}, false, y.sink()); });
}
BENCHMARK(BM_rotary)->Apply(model_shapes);

void BM_swiglu(benchmark::State& state) {
  const Sizes s = sizes(state);
  Buffer gate(dtype(state), {s.tokens, s.intermediate}), up(dtype(state), {s.tokens, s.intermediate}),
      y(dtype(state), {s.tokens, s.intermediate});
  run(state, 3 * y.bytes(), [&](auto dev) { kernels::swiglu(dev, gate.view(), up.view(), y.view()); });
}
BENCHMARK(BM_swiglu)->Apply(model_shapes);

void BM_swiglu_backward(benchmark::State& state) {
  const Sizes s = sizes(state);
  const Shape shape{s.tokens, s.intermediate};
  Buffer gate(dtype(state), shape), up(dtype(state), shape), dy(dtype(state), shape), dgate(dtype(state), shape),
      dup(dtype(state), shape);
  run(state, 5 * dy.bytes(),
      [&](auto dev) { kernels::swiglu_backward(dev, dy.view(), gate.view(), up.view(), dgate.sink(), dup.sink()); });
}
BENCHMARK(BM_swiglu_backward)->Apply(model_shapes);

void BM_cross_entropy(benchmark::State& state) {
  const std::int64_t rows = 256, vocab_size = 32000;
  Buffer logits(DType::f32, {rows, vocab_size}), targets(DType::i32, {rows}), losses(DType::f64, {rows}),
      dlogits(dtype(state), {rows, vocab_size});
  run(state, logits.bytes() + dlogits.bytes(),
      [&](auto dev) { kernels::cross_entropy(dev, logits.view(), targets.view(), 1, losses.view(), dlogits.view()); });
}
BENCHMARK(BM_cross_entropy)
    ->ArgNames({"model", "dtype"})
    ->ArgsProduct({{0}, {0, 1}})
    ->UseRealTime()
    ->Unit(benchmark::kMicrosecond);

void BM_column_sum(benchmark::State& state) {
  const Sizes s = sizes(state);
  Buffer x(dtype(state), {s.tokens, s.hidden}), y(DType::f32, {s.hidden});
  run(state, x.bytes(), [&](auto dev) { kernels::column_sum(dev, x.view(), y.sink(true)); });
}
BENCHMARK(BM_column_sum)->Apply(model_shapes);

void BM_sum_squares(benchmark::State& state) {
  const Sizes s = sizes(state);
  Buffer x(dtype(state), {s.hidden, s.intermediate}), y(DType::f64, {});
  run(state, x.bytes(), [&](auto dev) { kernels::sum_squares(dev, x.view(), y.sink()); });
}
BENCHMARK(BM_sum_squares)->Apply(model_shapes);

void BM_transpose(benchmark::State& state) {
  const Sizes s = sizes(state);
  Buffer x(dtype(state), {s.hidden, s.intermediate}), y(dtype(state), {s.intermediate, s.hidden});
  run(state, 2 * x.bytes(), [&](auto dev) { kernels::transpose(dev, x.view(), y.sink()); });
}
BENCHMARK(BM_transpose)->Apply(model_shapes);

void BM_embedding_backward(benchmark::State& state) {
  const Sizes s = sizes(state);
  std::vector<std::int32_t> rows;
  for (std::int64_t i = 0; i < s.tokens; ++i)
    rows.push_back(static_cast<std::int32_t>(i * 7919 % 2048));
  Buffer dy(dtype(state), {s.tokens, s.hidden}), ids({s.tokens}, rows), table(DType::f32, {2048, s.hidden});
  run(state, dy.bytes(), [&](auto dev) { kernels::embedding_backward(dev, dy.view(), ids.view(), table.sink(true)); });
}
BENCHMARK(BM_embedding_backward)->Apply(model_shapes);

void BM_fill_normal(benchmark::State& state) {
  const Sizes s = sizes(state);
  Buffer y(dtype(state), {s.hidden, s.intermediate});
  run(state, y.bytes(), [&](auto dev) { kernels::fill_normal(dev, y.view(), 0, 0.02, {1, 2}); });
}
BENCHMARK(BM_fill_normal)->Apply(model_shapes);

void BM_dropout(benchmark::State& state) {
  const Sizes s = sizes(state);
  Buffer x(dtype(state), {s.tokens, s.hidden}), y(dtype(state), {s.tokens, s.hidden});
  run(state, 2 * x.bytes(), [&](auto dev) { kernels::dropout(dev, x.view(), 0.1, {1, 2}, y.sink()); });
}
BENCHMARK(BM_dropout)->Apply(model_shapes);

void BM_adamw(benchmark::State& state) {
  const Sizes s = sizes(state);
  const Shape shape{s.hidden, s.intermediate};
  Buffer p(dtype(state), shape), master(DType::f32, shape), g(DType::f32, shape), m(DType::f32, shape),
      v(DType::f32, shape);
  on_device(default_device(), [&](auto dev) { kernels::fill(dev, v.view(), 0.5); });
  const bool full = dtype(state) == DType::bf16;
  const kernels::AdamwOptions options{
      .lr = 1e-3, .beta1 = 0.9, .beta2 = 0.999, .eps = 1e-8, .weight_decay = 0.01, .step = 10};
  const kernels::AdamwUpdate update{p.view(), full ? master.view() : View{}, g.view(), m.view(), v.view(), options};
  run(state, (full ? 2 : 0) * master.bytes() + 5 * g.bytes() + 2 * p.bytes(), [&](auto dev) {
    kernels::adamw(dev, {&update, 1});
  });
}
BENCHMARK(BM_adamw)->Apply(model_shapes);

/// Arguments: batch, seq_len, heads, kv_heads, head_dim, dtype.
struct AttentionCase {
  std::int64_t batch, seq_len, heads, kv_heads, head_dim;
  DType type;
  explicit AttentionCase(const benchmark::State& s)
      : batch(s.range(0)),
        seq_len(s.range(1)),
        heads(s.range(2)),
        kv_heads(s.range(3)),
        head_dim(s.range(4)),
        type(kDTypes[s.range(5)]) {}
  Shape q() const { return {batch, seq_len, heads, head_dim}; }
  Shape k() const { return {batch, seq_len, kv_heads, head_dim}; }
  /// FLOP of one product over the pairs that a causal mask leaves.
  double product() const { return static_cast<double>(batch * heads * head_dim * seq_len * (seq_len + 1)); }
};

void attention_shapes(benchmark::internal::Benchmark* b) {
  b->ArgNames({"batch", "seq_len", "heads", "kv_heads", "head_dim", "dtype"})
      ->UseRealTime()
      ->Unit(benchmark::kMicrosecond);
  for (const std::int64_t type : {0, 1, 2}) {
    for (const char* name : {"small", "smol135", "tiny1b", "l7b"}) {
      const bench::ModelShape& s = bench::shape_named(name);
      b->Args({s.batch_size, s.seq_len, s.heads, s.kv_heads, s.head_dim(), type});
    }
    b->Args({8, 32, 4, 4, 16, type});  // short rows and narrow heads
  }
}

void BM_attention(benchmark::State& state) {
  const AttentionCase c(state);
  Buffer q(c.type, c.q()), k(c.type, c.k()), v(c.type, c.k()), o(c.type, c.q()),
      lse(accumulator(c.type), {c.batch, c.seq_len, c.heads});
  bench::measure(
      state, [&](auto dev) { kernels::attention(dev, q.view(), k.view(), v.view(), {}, 0.125, o.view(), lse.view()); });
  state.counters["FLOP"] = benchmark::Counter(2 * c.product(), benchmark::Counter::kIsIterationInvariantRate);
}
BENCHMARK(BM_attention)->Apply(attention_shapes);

void BM_attention_backward(benchmark::State& state) {
  const AttentionCase c(state);
  Buffer q(c.type, c.q()), k(c.type, c.k()), v(c.type, c.k()), o(c.type, c.q()),
      lse(accumulator(c.type), {c.batch, c.seq_len, c.heads});
  Buffer dout(c.type, c.q()), dq(c.type, c.q()), dk(c.type, c.k()), dv(c.type, c.k());
  std::int64_t workspace_bytes = 0;
  on_device(default_device(), [&](auto dev) {
    kernels::attention(dev, q.view(), k.view(), v.view(), {}, 0.125, o.view(), lse.view());
    workspace_bytes = kernels::attention_backward_workspace(dev, c.q(), c.k(), c.type);
  });
  Buffer workspace(DType::u8, {workspace_bytes});
  bench::measure(state, [&](auto dev) {
    kernels::attention_backward(dev, dout.view(), q.view(), k.view(), v.view(), o.view(), lse.view(), {}, 0.125,
                                dq.sink(), dk.sink(), dv.sink(), workspace.view());
  });
  state.counters["FLOP"] = benchmark::Counter(5 * c.product(), benchmark::Counter::kIsIterationInvariantRate);
}
BENCHMARK(BM_attention_backward)->Apply(attention_shapes);

/// One new token against a cache. Arguments: keys, heads, kv_heads, head_dim.
void BM_attention_decode(benchmark::State& state) {
  const std::int64_t keys = state.range(0), heads = state.range(1), kv_heads = state.range(2), d = state.range(3);
  Buffer q(DType::f32, {1, 1, heads, d}), k(DType::f32, {1, keys, kv_heads, d}), v(DType::f32, {1, keys, kv_heads, d}),
      o(DType::f32, {1, 1, heads, d}), lse(DType::f32, {1, 1, heads});
  run(state, k.bytes() + v.bytes(),
      [&](auto dev) { kernels::attention(dev, q.view(), k.view(), v.view(), {}, 0.125, o.view(), lse.view()); });
}
BENCHMARK(BM_attention_decode)
    ->Args({1024, 8, 8, 64})
    ->Args({1024, 32, 4, 64})
    ->UseRealTime()
    ->Unit(benchmark::kMicrosecond);

}  // namespace
}  // namespace osteon

int main(int argc, char** argv) { return osteon::bench::run(argc, argv); }
