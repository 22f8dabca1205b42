#include "bench/roof.hpp"

#include <algorithm>
#include <chrono>
#include <optional>

#include "backends/kernels/gemm.hpp"
#include "bench/median.hpp"

namespace osteon::bench {
namespace {

/// Shorter products are timed several in a row, so that a sample holds at least so many FLOPs.
constexpr double kLeastFlops = 1e8;

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

/// The first elements of a buffer as a matrix.
View matrix_of(std::map<DType, Buffer>& buffers, DType dtype, const Shape& shape) {
  return {buffers.at(dtype).view().data, dtype, shape, true};
}

}  // namespace

Roof::Roof(StepProducts products) : products_(std::move(products)) {
  for (const ProductCounts* part : {&products_.base, &products_.adapter})
    for (const auto& [p, count] : *part) {
      reserve(a_, p.operands, p.m * p.k);
      reserve(b_, p.operands, p.n * p.k);
      reserve(c_, p.result, p.m * p.n);
    }
}

void Roof::run(const Product& p, Engine engine) {
  const View c = matrix_of(c_, p.result, {p.m, p.n});
  if (p.seq_len == 0) {
    const View a = matrix_of(a_, p.operands, {p.m, p.k});
    const View b = matrix_of(b_, p.operands, p.transpose_b ? Shape{p.n, p.k} : Shape{p.k, p.n});
    kernels::gemm(Cpu{}, a, b, c, {.transpose_b = p.transpose_b, .add = p.add});
    return;
  }
  const std::int64_t seq_len = engine == Engine::undivided ? p.k : p.seq_len, batch_size = p.k / seq_len;
  const View a = matrix_of(a_, p.operands, {batch_size, seq_len, p.m});
  const View b = matrix_of(b_, p.operands, {batch_size, seq_len, p.n});
  if (engine == Engine::undivided)
    kernels::gemm(Cpu{}, a, b, c, {.transpose_a = true, .add = p.add});
  else
    kernels::gemm_tokens(Cpu{}, a, b, {c, p.add});
}

double Roof::seconds(const Product& p, Engine engine) {
  using Clock = std::chrono::steady_clock;
  const int times = static_cast<int>(std::max(1.0, kLeastFlops / p.flops()));
  const auto start = Clock::now();
  for (int i = 0; i < times; ++i)
    run(p, engine);
  return std::chrono::duration<double>(Clock::now() - start).count() / times;
}

void Roof::sample() {
  for (const ProductCounts* part : {&products_.base, &products_.adapter})
    for (const auto& [p, count] : *part)
      for (const Engine engine : kEngines) {
        if (engine == Engine::undivided && p.seq_len == 0)
          continue;
        std::optional<AnyEngine> any;
        if (engine != Engine::front)
          any.emplace();
        std::vector<double>& samples = samples_[{p, engine}];
        if (samples.empty())
          run(p, engine);  // compiles it
        samples.push_back(seconds(p, engine));
      }
}

double Roof::typical(const Product& p, Engine engine) const { return median(samples_.at({p, engine})); }

double Roof::best(const Product& p) const {
  double least = typical(p, Engine::front);
  for (const Engine engine : {Engine::fastest, Engine::undivided})
    if (samples_.contains({p, engine}))
      least = std::min(least, typical(p, engine));
  return least;
}

RoofTimes Roof::times() const {
  RoofTimes times;
  const auto add = [&](const ProductCounts& part) {
    double seconds = 0;
    for (const auto& [p, count] : part) {
      seconds += best(p) * static_cast<double>(count);
      times.front += typical(p, Engine::front) * static_cast<double>(count);
    }
    return seconds;
  };
  const double base_seconds = add(products_.base), adapter_seconds = add(products_.adapter);
  const double adapter_flops = flops_of(products_.adapter);
  times.base_rate = flops_of(products_.base) / base_seconds;
  times.adapter_rate = adapter_flops > 0 ? adapter_flops / adapter_seconds : 0;
  times.own = base_seconds + adapter_seconds;
  times.wide = base_seconds + adapter_flops / times.base_rate;
  return times;
}

}  // namespace osteon::bench
