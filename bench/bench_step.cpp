// Whole training steps: forward, backward and AdamW on random weights and tokens, all seven linears of a block adapted,
// rank 32 for LoRA kinds and 64 for Bone kinds. Names: step/<shape>/<method>/<dtype>/b<batch>/t<seq_len>.
//
// Without --benchmark_filter only nano and small run; a larger shape takes minutes and gigabytes and is asked for by
// name:
//   bench_step --benchmark_filter='step/(tiny1b|l7b)/(lora|bone)/bf16'
// A step that the machine has no memory for is skipped, saying what it needs. OMP_NUM_THREADS sets the threads.
//
// Counters:
//   step_seconds, tokens_per_second   median over the steps
//   peak_bytes                        highest total of the allocator during steps, weights included
//   rss_peak_bytes                    highest resident set of the process above what it was before the model
//   saved_bytes                       what the forward keeps for the backward
//   trainable_parameters, GFLOP       of one step, attention included
//   roof_seconds, share_of_roof       the step's products alone (roof.hpp), the adapter's at the rate of the base's,
//   and
//                                     their share of the step; with _own_rate: the adapter's at their own best
//   front_share_of_roof               how near the GEMM front alone comes to the roof: what the step can reach with it
#include <chrono>
#include <exception>

#include "autograd/audit.hpp"
#include "backends/flops.hpp"
#include "bench/main.hpp"
#include "bench/median.hpp"
#include "bench/process_memory.hpp"
#include "bench/roof.hpp"
#include "bench/training_step.hpp"

namespace osteon::bench {
namespace {

/// Steps at least that a benchmark takes: enough for a median.
std::int64_t steps_of(const ModelShape& shape) { return shape.hidden_size < 2048 ? 5 : 3; }

/// What a step needs at its peak, by the same step without memory: gradients and moments exist from the first one on.
std::int64_t planned_bytes(const ModelShape& shape, const std::string& method, DType dtype) {
  TrainingStep step(shape, method, dtype, Device::meta);
  reset_memory_peak(Device::meta);
  step.run();
  step.run();
  return memory_report(Device::meta).peak.total();
}

void train(benchmark::State& state, const ModelShape& shape, const std::string& method, DType dtype) {
  ResidentPeak resident;
  const std::int64_t needed = planned_bytes(shape, method, dtype), free = available_memory().value_or(needed);
  if (needed > free)
    return state.SkipWithError(join("needs ", needed >> 20, " MiB of memory, the machine has ", free >> 20).c_str());

  TrainingStep step(shape, method, dtype);
  reset_memory_peak(Device::cpu);
  std::int64_t saved_bytes = 0;
  {
    const SavedAudit audit;
    step.run();
    saved_bytes = audit.bytes();
  }
  reset_flop_count(Device::cpu);
  step.run();
  const FlopCount flops = flop_count(Device::cpu);
  const std::int64_t peak_bytes = memory_report(Device::cpu).peak.total();
  const std::optional<std::int64_t> rss_peak_bytes = resident.bytes();

  Roof roof(step_products(shape, method, dtype));
  roof.sample();
  std::vector<double> seconds;
  while (state.KeepRunningBatch(steps_of(shape)))
    for (std::int64_t i = 0; i < steps_of(shape); ++i) {
      const auto start = std::chrono::steady_clock::now();
      step.run();
      seconds.push_back(std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count());
      state.PauseTiming();
      roof.sample();
      state.ResumeTiming();
    }

  const double step_seconds = median(seconds);
  const RoofTimes times = roof.times();
  auto& counters = state.counters;
  counters["step_seconds"] = step_seconds;
  counters["tokens_per_second"] = static_cast<double>(shape.tokens()) / step_seconds;
  counters["peak_bytes"] = static_cast<double>(peak_bytes);
  counters["saved_bytes"] = static_cast<double>(saved_bytes);
  counters["trainable_parameters"] = static_cast<double>(step.trainable_parameters());
  counters["GFLOP"] = (flops.total(Pass::forward) + flops.total(Pass::backward)) * 1e-9;
  counters["roof_seconds"] = times.wide;
  counters["share_of_roof"] = times.wide / step_seconds;
  counters["share_of_roof_own_rate"] = times.own / step_seconds;
  counters["front_share_of_roof"] = times.own / times.front;
  counters["roof_gflops"] = times.base_rate * 1e-9;
  counters["roof_adapter_gflops"] = times.adapter_rate * 1e-9;
  if (rss_peak_bytes)
    counters["rss_peak_bytes"] = static_cast<double>(*rss_peak_bytes);
  else
    state.SetLabel("no rss_peak_bytes: this system does not let a process write /proc/self/clear_refs");
}

void register_all() {
  for (const ModelShape& shape : kShapes)
    for (const char* method : kMethods)
      for (const DType dtype : {DType::f32, DType::bf16})
        benchmark::RegisterBenchmark(
            join("step/", shape.name, '/', method, '/', dtype, "/b", shape.batch_size, "/t", shape.seq_len).c_str(),
            [=](benchmark::State& state) {
              try {
                train(state, shape, method, dtype);
              } catch (const std::exception& error) {  // the others can still run
                state.SkipWithError(error.what());
              }
            })
            ->Unit(benchmark::kMillisecond);
}

}  // namespace
}  // namespace osteon::bench

int main(int argc, char** argv) {
  osteon::bench::register_all();
  return osteon::bench::run(argc, argv, "^step/(nano|small)/");
}
