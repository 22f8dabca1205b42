// The recurrences of RWKV-6 and RWKV-7, forward and backward. Counters: bytes_per_second = the sequences and states
// that are read and written once; FLOP = an element of a head's state at each token, times what its formulas cost.
// OMP_NUM_THREADS sets the threads.
#include <vector>

#include "backends/kernels/elementwise.hpp"
#include "backends/kernels/wkv.hpp"
#include "bench/buffer.hpp"
#include "bench/main.hpp"

namespace osteon {
namespace {

using bench::Buffer;

constexpr DType kDTypes[] = {DType::f32, DType::bf16};

/// One sequence of 512 tokens through RWKV's recurrences, 512 channels in heads of 64. Arguments: index of the dtype.
/// A token costs so many FLOP an element of its heads' states; the backward computes the states again.
struct Recurrence {
  static constexpr std::int64_t kTokens = 512, kHidden = 512, kHeads = 8, kHead = 64;

  explicit Recurrence(DType dtype)
      : r(dtype, {1, kTokens, kHidden}),
        decay(dtype, {1, kTokens, kHidden}),
        k(dtype, {1, kTokens, kHidden}),
        v(dtype, {1, kTokens, kHidden}),
        removal(dtype, {1, kTokens, kHidden}),
        rate(dtype, {1, kTokens, kHidden}),
        y(dtype, {1, kTokens, kHidden}),
        dy(dtype, {1, kTokens, kHidden}),
        state(DType::f32, {1, kHeads, kHead, kHead}),
        states(DType::f32, {1, kHeads, kernels::wkv_states(kTokens), kHead, kHead}),
        workspace(DType::f32, {kHeads * workspace_numbers()}) {
    for (int i = 0; i < 6; ++i)
      gradients.emplace_back(dtype, Shape{1, kTokens, kHidden});
    // A removal key has length 1: with a longer one the state grows beyond all numbers.
    on_device(default_device(), [&](auto dev) { kernels::scale(dev, removal.view(), 0.125, {removal.view(), false}); });
  }

  static std::int64_t workspace_numbers() {
    std::int64_t numbers = 0;
    on_device(default_device(), [&](auto dev) { numbers = kernels::wkv_workspace(dev, kHead, DType::f32); });
    return numbers;
  }

  template <class F>
  void run(benchmark::State& bench_state, std::int64_t sequences, double flops, const F& f) {
    bench::measure(bench_state, f);
    bench_state.SetBytesProcessed(bench_state.iterations() * (sequences * r.bytes() + states.bytes()));
    bench_state.counters["FLOP"] = benchmark::Counter(flops * static_cast<double>(kTokens * kHidden * kHead),
                                                      benchmark::Counter::kIsIterationInvariantRate);
  }

  Buffer r, decay, k, v, removal, rate, y, dy, state, states, workspace;
  std::vector<Buffer> gradients;
};

void BM_wkv6(benchmark::State& state) {
  Recurrence c(kDTypes[state.range(0)]);
  const kernels::Wkv6Inputs in{c.r.view(), c.decay.view(), c.k.view(), c.v.view(), {}};
  c.run(state, 5, kernels::kWkv6Flops,
        [&](auto dev) { kernels::wkv6(dev, in, c.y.view(), c.state.view(), c.states.view()); });
}

void BM_wkv6_backward(benchmark::State& state) {
  Recurrence c(kDTypes[state.range(0)]);
  auto& g = c.gradients;
  const kernels::Wkv6Inputs in{c.r.view(), c.decay.view(), c.k.view(), c.v.view(), {}};
  on_device(default_device(), [&](auto dev) { kernels::wkv6(dev, in, c.y.view(), c.state.view(), c.states.view()); });
  c.run(state, 9, kernels::kWkv6BackwardFlops, [&](auto dev) {
    kernels::wkv6_backward(dev, c.dy.view(), in, c.states.view(), c.workspace.view(),
                           {g[0].sink(), g[1].sink(), g[2].sink(), g[3].sink(), {}});
  });
}

void BM_wkv7(benchmark::State& state) {
  Recurrence c(kDTypes[state.range(0)]);
  const kernels::Wkv7Inputs in{c.r.view(), c.decay.view(), c.k.view(), c.v.view(), c.removal.view(), c.rate.view(), {}};
  c.run(state, 7, kernels::kWkv7Flops,
        [&](auto dev) { kernels::wkv7(dev, in, c.y.view(), c.state.view(), c.states.view()); });
}

void BM_wkv7_backward(benchmark::State& state) {
  Recurrence c(kDTypes[state.range(0)]);
  auto& g = c.gradients;
  const kernels::Wkv7Inputs in{c.r.view(), c.decay.view(), c.k.view(), c.v.view(), c.removal.view(), c.rate.view(), {}};
  on_device(default_device(), [&](auto dev) { kernels::wkv7(dev, in, c.y.view(), c.state.view(), c.states.view()); });
  c.run(state, 13, kernels::kWkv7BackwardFlops, [&](auto dev) {
    kernels::wkv7_backward(dev, c.dy.view(), in, c.states.view(), c.workspace.view(),
                           {g[0].sink(), g[1].sink(), g[2].sink(), g[3].sink(), g[4].sink(), g[5].sink(), {}});
  });
}

void recurrences(benchmark::internal::Benchmark* b) {
  b->ArgName("dtype")->Arg(0)->Arg(1)->UseRealTime()->Unit(benchmark::kMicrosecond);
}
BENCHMARK(BM_wkv6)->Apply(recurrences);
BENCHMARK(BM_wkv6_backward)->Apply(recurrences);
BENCHMARK(BM_wkv7)->Apply(recurrences);
BENCHMARK(BM_wkv7_backward)->Apply(recurrences);

}  // namespace
}  // namespace osteon

int main(int argc, char** argv) { return osteon::bench::run(argc, argv); }
