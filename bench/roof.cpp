#include "bench/roof.hpp"

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <optional>

#include "backends/kernels/bat.hpp"
#include "backends/kernels/gemm.hpp"
#include "backends/open_device.hpp"
#include "bench/median.hpp"

namespace osteon::bench {
namespace {

/// Shorter products are timed several in a row, so that a sample holds at least so many FLOPs.
constexpr double kLeastFlops = 1e8, kLeastFlopsOnGpu = 1e12;

/// While one lives, products may run on engines that are not known to be bit-stable. It changes the whole process.
class AnyEngine {
 public:
  AnyEngine() { kernels::set_deterministic_gemm(false); }
  ~AnyEngine() { kernels::set_deterministic_gemm(true); }
  AnyEngine(const AnyEngine&) = delete;
  AnyEngine& operator=(const AnyEngine&) = delete;
};

/// Room for at least `count` elements of a dtype.
void reserve(std::map<DType, Buffer>& buffers, DType dtype, std::int64_t count) {
  const auto found = buffers.find(dtype);
  if (found != buffers.end() && found->second.bytes() >= count * size_of(dtype))
    return;
  buffers.insert_or_assign(dtype, Buffer(dtype, {count}));
}

/// Matrix number `part` of those that lie one behind the other in a buffer.
View matrix_of(std::map<DType, Buffer>& buffers, DType dtype, const Shape& shape, std::int64_t part = 0) {
  auto* const first = static_cast<std::byte*>(buffers.at(dtype).view().data);
  return {first + part * shape.numel() * size_of(dtype), dtype, shape, true};
}

}  // namespace

Roof::Roof(StepProducts products) : products_(std::move(products)) {
  for (const ProductCounts* part : {&products_.base, &products_.adapter})
    for (const auto& [p, count] : *part) {
      reserve(a_, p.operands, p.parts() * p.m * p.k);
      reserve(b_, p.operands, p.parts() * p.n * p.k);
      reserve(c_, p.result, p.parts() * p.m * p.n);
      if (p.blocks > 0)  // Bat's own kernels read dW' in f32
        reserve(b_, p.result, p.parts() * p.n * p.k);
    }
}

void Roof::run_one(const Product& p, Engine engine, std::int64_t part) {
  const View c = matrix_of(c_, p.result, {p.m, p.n}, part);
  if (p.seq_len == 0) {
    const View a = matrix_of(a_, p.operands, {p.m, p.k}, part);
    const View b = matrix_of(b_, p.operands, p.transpose_b ? Shape{p.n, p.k} : Shape{p.k, p.n}, part);
    on_device(default_device(),
              [&](auto dev) { kernels::gemm(dev, a, b, c, {.transpose_b = p.transpose_b, .add = p.add}); });
    return;
  }
  const std::int64_t seq_len = engine == Engine::undivided ? p.k : p.seq_len, batch_size = p.k / seq_len;
  const View a = matrix_of(a_, p.operands, {batch_size, seq_len, p.m}, part);
  const View b = matrix_of(b_, p.operands, {batch_size, seq_len, p.n}, part);
  on_device(default_device(), [&](auto dev) {
    if (engine == Engine::undivided)
      kernels::gemm(dev, a, b, c, {.transpose_a = true, .add = p.add});
    else
      kernels::gemm_tokens(dev, a, b, {c, p.add});
  });
}

/// By Bat's kernels, for which the block rows of all blocks are one weight.
void Roof::run_blocks(const Product& p) {
  const std::int64_t rank = p.n, features = p.seq_len > 0 ? p.k : p.m;
  const Shape weight{p.blocks * rank, features}, blocks{p.blocks, rank, rank};
  const View w = matrix_of(a_, p.operands, weight);
  on_device(default_device(), [&](auto dev) {
    if (p.seq_len == 0)
      kernels::bat_weight(dev, w, matrix_of(b_, p.operands, blocks), matrix_of(c_, p.result, weight));
    else
      kernels::bat_block_gradient(dev, w, matrix_of(b_, p.result, weight), {matrix_of(c_, p.result, blocks), false});
  });
}

void Roof::run(const Product& p, Engine engine) {
  if (p.blocks == 0)
    return run_one(p, engine, 0);
  if (engine == Engine::front)
    return run_blocks(p);
#pragma omp parallel for schedule(static)
  for (std::int64_t part = 0; part < p.blocks; ++part)
    run_one(p, engine, part);
}

bool Roof::applies(const Product& p, Engine engine) {
  if (engine == Engine::undivided && p.seq_len == 0)
    return false;
  // On a GPU the front asks cuBLAS for its best, and Bat's blocks are one launch.
  return default_device() == Device::cpu || engine == Engine::front || (engine == Engine::undivided && p.blocks == 0);
}

/// Compiles it, or chooses its algorithm.
void Roof::warm_up(const Product& p, Engine engine) {
  run(p, engine);
  finish(default_device());
}

double Roof::seconds(const Product& p, Engine engine) {
  using Clock = std::chrono::steady_clock;
  const double least = default_device() == Device::cpu ? kLeastFlops : kLeastFlopsOnGpu;
  const int times = static_cast<int>(std::clamp(least / p.flops(), 1.0, 1000.0));
  const auto start = Clock::now();
  for (int i = 0; i < times; ++i)
    run(p, engine);
  finish(default_device());
  return std::chrono::duration<double>(Clock::now() - start).count() / times;
}

void Roof::sample() {
  for (const ProductCounts* part : {&products_.base, &products_.adapter})
    for (const auto& [p, count] : *part)
      for (const Engine engine : {Engine::front, Engine::fastest, Engine::undivided}) {
        if (!applies(p, engine))
          continue;
        std::optional<AnyEngine> any;
        if (engine != Engine::front)
          any.emplace();
        std::vector<double>& samples = samples_[{p, engine}];
        if (samples.empty())
          warm_up(p, engine);
        samples.push_back(seconds(p, engine));
      }
}

double Roof::typical(const Product& p, Engine engine) const { return median(samples_.at({p, engine})); }

std::vector<RoofRow> Roof::rows() const {
  std::vector<RoofRow> rows;
  for (const bool adapter : {false, true})
    for (const auto& [p, count] : adapter ? products_.adapter : products_.base) {
      RoofRow row{p, count, adapter, typical(p, Engine::front), typical(p, Engine::front), "front"};
      const auto consider = [&, &p = p](Engine engine, const char* name) {
        if (!samples_.contains({p, engine}) || typical(p, engine) >= row.best)
          return;
        row.best = typical(p, engine);
        row.fastest = name;
      };
      consider(Engine::fastest, "any");
      consider(Engine::undivided, "any, undivided");
      rows.push_back(row);
    }
  std::sort(rows.begin(), rows.end(), [](const RoofRow& a, const RoofRow& b) {
    return a.best * static_cast<double>(a.count) > b.best * static_cast<double>(b.count);
  });
  return rows;
}

RoofTimes Roof::times() const {
  RoofTimes times;
  double base_seconds = 0, adapter_seconds = 0;
  for (const RoofRow& row : rows()) {
    const auto count = static_cast<double>(row.count);
    (row.adapter ? adapter_seconds : base_seconds) += row.best * count;
    times.front += row.front * count;
  }
  const double adapter_flops = flops_of(products_.adapter);
  times.base_rate = flops_of(products_.base) / base_seconds;
  times.adapter_rate = adapter_flops > 0 ? adapter_flops / adapter_seconds : 0;
  times.own = base_seconds + adapter_seconds;
  times.wide = base_seconds + adapter_flops / times.base_rate;
  return times;
}

}  // namespace osteon::bench
