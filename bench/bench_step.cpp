// Whole training steps: forward, backward and AdamW on random weights and tokens, all seven linears of a block adapted,
// rank 32 for LoRA kinds and 64 for Bone kinds. Names: step/<shape>/<method>/<dtype>/b<batch>/t<seq_len>.
//
// Without --benchmark_filter only nano and small run; a larger shape takes minutes and gigabytes and is asked for:
//   bench_step --benchmark_filter='step/(tiny1b|l7b)/(lora|bone)/bf16'
// A step that the device has no memory for is skipped, saying what it needs. OMP_NUM_THREADS sets the threads,
// --device=cuda trains on a GPU.
// On a GPU a step's forward and backward are a captured graph, after two that are not; --no-graph leaves them so.
// --memory-policy=save|recompute_cheap|checkpoint and --checkpoint-layers=N say what the forward keeps, as those
// settings of a run do.
// --products prints each step's products to stderr, with their rates at their best and as the step runs them;
// --batches=1x512,1x1024 takes these batches x tokens of a row instead of each shape's own.
//
// Counters:
//   step_seconds, tokens_per_second   median over the steps
//   peak_bytes                        highest total of the allocator during steps, weights included
//   rss_peak_bytes                    highest resident set of the process above what it was before the model
//   saved_bytes                       what the forward keeps for the backward
//   trainable_parameters, GFLOP       of one step, attention included
//   graph                             1 where forward and backward are replayed as a CUDA graph
//   roof_seconds                      the step's products alone (roof.hpp), the adapter's at the rate of the base's
//   share_of_roof                     roof_seconds over step_seconds
//   share_of_roof_own_rate            the same with the adapter's products at their own best
//   front_share_of_roof               the products at their best over the same as the step runs them
//   roof_gflops, roof_adapter_gflops  rates of the base's and of the adapter's products at their best
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <exception>
#include <optional>
#include <sstream>
#include <string_view>
#include <utility>

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

/// The program's own options.
struct Options {
  bool products = false, graph = true;
  nn::MemoryPolicy memory_policy = nn::MemoryPolicy::save;
  std::int64_t checkpoint_layers = 0;
  std::vector<std::pair<std::int64_t, std::int64_t>> batches;  ///< batch_size, seq_len; empty: each shape's own
};

nn::MemoryPolicy parse_policy(std::string_view word) {
  const std::optional<nn::MemoryPolicy> policy = nn::find_memory_policy(word);
  check<ConfigError>(policy.has_value(), "--memory-policy: expected save, recompute_cheap or checkpoint, found '", word,
                     "'");
  return *policy;
}

std::int64_t parse_layers(const std::string& word) {
  std::istringstream text(word);
  std::int64_t layers = 0;
  check<ConfigError>(text >> layers && text.eof() && layers >= 0,
                     "--checkpoint-layers: expected a number of layers, found '", word, "'");
  return layers;
}

/// "1x512,4x256": batch_size and seq_len of each.
std::vector<std::pair<std::int64_t, std::int64_t>> parse_batches(const std::string& words) {
  std::vector<std::pair<std::int64_t, std::int64_t>> batches;
  std::istringstream list(words);
  for (std::string one; std::getline(list, one, ',');) {
    std::istringstream text(one);
    std::int64_t rows = 0, tokens = 0;
    char by = 0;
    check<ConfigError>(text >> rows >> by >> tokens && text.eof() && by == 'x' && rows > 0 && tokens > 1,
                       "--batches: expected BATCHxTOKENS,... such as 4x256, found '", one, "'");
    batches.emplace_back(rows, tokens);
  }
  return batches;
}

/// Takes them out of the command line. ConfigError for values that are none.
Options take_options(int& argc, char** argv) {
  Options options;
  const auto take = [&](const std::string& word) {
    const std::size_t end = std::min(word.find('='), word.size() - 1) + 1;
    const std::string name = word.substr(0, end), value = word.substr(end);
    if (name == "--products")
      options.products = true;
    else if (name == "--no-graph")
      options.graph = false;
    else if (name == "--memory-policy=")
      options.memory_policy = parse_policy(value);
    else if (name == "--checkpoint-layers=")
      options.checkpoint_layers = parse_layers(value);
    else if (name == "--batches=")
      options.batches = parse_batches(value);
    else
      return false;
    return true;
  };
  argc = static_cast<int>(std::remove_if(argv + 1, argv + argc, take) - argv);
  return options;
}

/// What a step needs at its peak, by the same step without memory: gradients and moments exist from the first one on.
std::int64_t planned_bytes(const ModelShape& shape, const std::string& method, DType dtype, const Options& options) {
  set_planned_device(default_device());
  TrainingStep step(shape, method, dtype, Device::meta);
  step.set_memory_policy(options.memory_policy, options.checkpoint_layers);
  reset_memory_peak(Device::meta);
  step.run();
  step.run();
  return memory_report(Device::meta).peak.total();
}

/// "ms" and "%" are of a step at the products' best; "+=" products add to their output.
void print_products(const Roof& roof) {
  const double step = roof.times().own;
  std::fprintf(stderr,
               "     part                m x n x k          form  a step       ms     %%  GFLOP/s  front  fastest\n");
  for (const RoofRow& row : roof.rows()) {
    const Product& p = row.product;
    const std::string sizes = join(p.blocks > 0 ? join(p.blocks, " of ") : "", p.m, " x ", p.n, " x ", p.k);
    const char* const operands = p.seq_len > 0 ? "a^T b" : p.transpose_b ? "a b^T" : "a b";
    const std::string result = p.result == p.operands ? "" : join("->", p.result);
    const std::string form = join(operands, p.add ? " += " : " ", p.operands, result);
    const double seconds = row.best * static_cast<double>(row.count), gflop = p.flops() * 1e-9;
    std::fprintf(stderr, "  %7s %24s %19s %5lld %8.2f %5.1f %8.1f %6.1f  %s\n", row.adapter ? "adapter" : "base",
                 sizes.c_str(), form.c_str(), static_cast<long long>(row.count), seconds * 1e3, 100 * seconds / step,
                 gflop / row.best, gflop / row.front, row.fastest);
  }
}

void train(benchmark::State& state, const ModelShape& shape, const std::string& method, DType dtype,
           const Options& options) {
  ResidentPeak resident;
  const std::int64_t needed = planned_bytes(shape, method, dtype, options),
                     free = available_memory(default_device()).value_or(needed);
  if (needed > free)
    return state.SkipWithError(
        join("needs ", needed >> 20, " MiB of memory, ", default_device(), " has ", free >> 20).c_str());

  const std::int64_t before = memory_report(default_device()).live.total();  // scratch of other threads
  TrainingStep step(shape, method, dtype);
  step.set_memory_policy(options.memory_policy, options.checkpoint_layers);
  reset_memory_peak(default_device());
  std::int64_t saved_bytes = 0;
  {
    const SavedAudit audit;
    step.run();
    saved_bytes = audit.bytes();
  }
  reset_flop_count(default_device());
  step.run();
  const FlopCount flops = flop_count(default_device());
  const std::int64_t peak_bytes = memory_report(default_device()).peak.total() - before;
  const std::optional<std::int64_t> rss_peak_bytes = resident.bytes();

  const auto run = [&] { options.graph ? step.run() : step.run_eagerly(); };
  if (default_device() == Device::cuda)
    run();  // captures the graph

  Roof roof(step_products(shape, method, dtype));
  roof.sample();
  std::vector<double> seconds;
  while (state.KeepRunningBatch(steps_of(shape)))
    for (std::int64_t i = 0; i < steps_of(shape); ++i) {
      const auto start = std::chrono::steady_clock::now();
      run();
      finish(default_device());
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
  counters["graph"] = step.captured() ? 1 : 0;
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
  if (options.products)
    print_products(roof);
}

void register_one(const ModelShape& shape, const char* method, DType dtype, const Options& options) {
  const std::string name =
      join("step/", shape.name, '/', method, '/', dtype, "/b", shape.batch_size, "/t", shape.seq_len);
  benchmark::RegisterBenchmark(name.c_str(), [=](benchmark::State& state) {
    try {
      train(state, shape, method, dtype, options);
    } catch (const std::exception& error) {  // the others can still run
      state.SkipWithError(error.what());
    }
  })->Unit(benchmark::kMillisecond);
}

void register_all(const Options& options) {
  for (ModelShape shape : kShapes) {
    auto batches = options.batches;
    if (batches.empty())
      batches.emplace_back(shape.batch_size, shape.seq_len);
    for (const auto& [batch_size, seq_len] : batches) {
      shape.batch_size = batch_size;
      shape.seq_len = seq_len;
      for (const char* method : kMethods)
        for (const DType dtype : {DType::f32, DType::bf16})
          register_one(shape, method, dtype, options);
    }
  }
}

}  // namespace
}  // namespace osteon::bench

int main(int argc, char** argv) try {
  osteon::limit_spinning(argv);  // before the options are taken: it starts the program again
  osteon::bench::register_all(osteon::bench::take_options(argc, argv));
  return osteon::bench::run(argc, argv, "^step/(nano|small)/");
} catch (const osteon::ConfigError& error) {
  std::fprintf(stderr, "bench_step: %s\n", error.what());
  return 2;
}
