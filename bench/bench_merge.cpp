// Putting an adapter into the weight, and taking it out again without a backup, rounding included:
// merge|unmerge/<method>/<dtype>/<out>x<in>, rank 64 for Bone kinds and 32 for LoRA kinds.
// Counters: bytes_per_second, the weight read and written once; peak_bytes, the allocator's above the weight and
// adapter.
#include "backends/kernels/random.hpp"
#include "bench/main.hpp"
#include "bench/training_step.hpp"
#include "peft/methods.hpp"

namespace osteon::bench {
namespace {

void merge(benchmark::State& state, const peft::Method& method, DType dtype, std::int64_t out, std::int64_t in,
           bool back) {
  nn::Linear linear("linear", in, out, false, dtype, default_device());
  on_device(default_device(), [&](auto dev) { kernels::fill_normal(dev, linear.weight.mut(), 0, 0.02, {1, 2}); });
  const peft::AdapterConfig config = adapter_config(method.name(), method.default_rank() == 64 ? 64 : 32);
  // PiSSA and OLoRA factorise the weight to begin; bench_init measures that, and a merge does not care.
  const std::unique_ptr<peft::Adapter> adapter = method.make({config, linear, {1, 3}, !method.changes_base()});
  const auto rounded = [&](const Tensor& weight) { return converted(weight, dtype, Category::weights); };
  const Tensor before = linear.weight;
  if (back)
    linear.weight = rounded(adapter->merged_weight(linear));
  const std::int64_t live = memory_report(default_device()).live.total();
  reset_memory_peak(default_device());
  for (auto _ : state) {
    benchmark::DoNotOptimize(rounded(back ? adapter->unmerged_weight(linear) : adapter->merged_weight(linear)));
    finish(default_device());
  }
  state.counters["peak_bytes"] = static_cast<double>(memory_report(default_device()).peak.total() - live);
  state.SetBytesProcessed(state.iterations() * 2 * linear.weight.bytes());
}

void register_all() {
  for (const auto& [out, in] : {std::pair{1408, 512}, std::pair{2048, 2048}})
    for (const auto& method : peft::methods())
      if (method->adapts_linears())
        for (const DType dtype : {DType::f32, DType::bf16})
          for (const bool back : {false, true})
            benchmark::RegisterBenchmark(
                join(back ? "unmerge/" : "merge/", method->name(), '/', dtype, '/', out, 'x', in).c_str(),
                [=, &method = *method, out = out, in = in](benchmark::State& state) {
                  merge(state, method, dtype, out, in, back);
                })
                ->UseRealTime()
                ->Unit(benchmark::kMillisecond);
}

}  // namespace
}  // namespace osteon::bench

int main(int argc, char** argv) {
  osteon::bench::register_all();
  return osteon::bench::run(argc, argv);
}
