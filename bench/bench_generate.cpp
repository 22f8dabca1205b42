// Greedy generation by random weights: prefill/<shape>/<dtype>/t<prompt> reads a prompt up to its first new token,
// decode/<shape>/<dtype>/t<prompt> goes on token by token with the KV cache behind it.
// Without --benchmark_filter only nano and small run (see bench_step.cpp).
// Counters: tokens_per_second; of decode weight_bytes_per_second, every weight being read once a token.
#include <chrono>

#include "bench/main.hpp"
#include "bench/training_step.hpp"
#include "nn/generate.hpp"

namespace osteon::bench {
namespace {

constexpr std::int64_t kNewTokens = 32;

void generate(benchmark::State& state, const ModelShape& shape, DType dtype, std::int64_t prompt_len, bool decode) {
  using Clock = std::chrono::steady_clock;
  nn::Llama model(model_config(shape), dtype);
  model.initialize(1);
  std::vector<std::int32_t> prompt;
  for (std::int64_t i = 0; i < prompt_len; ++i)
    prompt.push_back(static_cast<std::int32_t>(i * 7919 % shape.vocab_size));
  nn::GenerateOptions options;
  options.max_new_tokens = decode ? 1 + kNewTokens : 1;
  nn::generate(model, prompt, options);
  double seconds = 0;
  for (auto _ : state) {
    const auto start = Clock::now();
    std::vector<Clock::time_point> came;
    nn::generate(model, prompt, options, [&](std::int32_t) {
      came.push_back(Clock::now());
      return true;
    });
    const std::chrono::duration<double> spent = decode ? came.back() - came.front() : came.front() - start;
    state.SetIterationTime(spent.count());
    seconds += spent.count();
  }
  const double tokens = static_cast<double>((decode ? kNewTokens : prompt_len) * state.iterations());
  state.counters["tokens_per_second"] = tokens / seconds;
  if (decode) {
    std::int64_t read = model.parameter_count();
    if (!shape.tied)  // of the embedding one row a token
      read -= shape.vocab_size * shape.hidden_size;
    state.counters["weight_bytes_per_second"] = static_cast<double>(read * size_of(dtype)) * tokens / seconds;
  }
}

void register_all() {
  for (const ModelShape& shape : kShapes)
    for (const DType dtype : {DType::f32, DType::bf16})
      for (const bool decode : {false, true})
        for (const std::int64_t prompt_len : {32, 512})
          benchmark::RegisterBenchmark(
              join(decode ? "decode/" : "prefill/", shape.name, '/', dtype, "/t", prompt_len).c_str(),
              [=](benchmark::State& state) { generate(state, shape, dtype, prompt_len, decode); })
              ->UseManualTime()
              ->Unit(benchmark::kMillisecond);
}

}  // namespace
}  // namespace osteon::bench

int main(int argc, char** argv) {
  osteon::bench::register_all();
  return osteon::bench::run(argc, argv, "/(nano|small)/");
}
