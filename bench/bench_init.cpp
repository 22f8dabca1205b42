// How long an adapter that begins from the weight's own factors takes to make, f32, rank 32:
// init/<init>/<out>x<in> with pissa (exact SVD), pissa_niter_4 (randomised) and olora (QR).
// Counters: peak_bytes, the highest total of the allocator above the weight, and rss_peak_bytes, the process's, which
// holds the factorisation's own memory too.
#include "backends/kernels/elementwise.hpp"
#include "backends/kernels/random.hpp"
#include "bench/main.hpp"
#include "bench/process_memory.hpp"
#include "bench/training_step.hpp"
#include "peft/methods.hpp"

namespace osteon::bench {
namespace {

struct Start {
  const char* method;
  const char* init;
};
constexpr Start kStarts[] = {{"pissa", "pissa"}, {"pissa", "pissa_niter_4"}, {"olora", "olora"}};

void make(benchmark::State& state, const Start& start, std::int64_t out, std::int64_t in) {
  nn::Linear linear("linear", in, out, false, DType::f32, default_device());
  peft::AdapterConfig config = adapter_config(start.method, 32);
  config.init = start.init;
  const peft::Method& method = peft::find_method(start.method);
  on_device(default_device(),
            [&](auto dev) { kernels::fill(dev, linear.weight.mut(), 0); });  // resident before the measurement begins
  const ResidentPeak resident;
  std::int64_t peak_bytes = 0;
  for (auto _ : state) {
    state.PauseTiming();  // the last adapter has left its residual in the weight
    on_device(default_device(), [&](auto dev) { kernels::fill_normal(dev, linear.weight.mut(), 0, 0.02, {1, 2}); });
    reset_memory_peak(default_device());
    state.ResumeTiming();
    const std::unique_ptr<peft::Adapter> adapter = method.make({config, linear, {1, 3}, true});
    finish(default_device());
    peak_bytes = memory_report(default_device()).peak.total() - linear.weight.bytes();
  }
  state.counters["peak_bytes"] = static_cast<double>(peak_bytes);
  if (const auto rss = resident.bytes())
    state.counters["rss_peak_bytes"] = static_cast<double>(*rss);
}

void register_all() {
  for (const auto& [out, in] : {std::pair{512, 512}, std::pair{1408, 512}, std::pair{2048, 2048}})
    for (const Start& start : kStarts)
      benchmark::RegisterBenchmark(join("init/", start.init, '/', out, 'x', in).c_str(),
                                   [=, out = out, in = in](benchmark::State& state) { make(state, start, out, in); })
          ->UseRealTime()
          ->Unit(benchmark::kMillisecond);
}

}  // namespace
}  // namespace osteon::bench

int main(int argc, char** argv) {
  osteon::bench::register_all();
  return osteon::bench::run(argc, argv);
}
