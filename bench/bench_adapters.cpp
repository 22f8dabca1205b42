// Forward and backward of one adapted linear, dx included: adapter/<method>/<dtype>/<out>x<in>/r<rank>, the linears
// being the widest of a block of small, tiny1b and l7b. full is the linear itself, trained, and has no rank.
//
// Counters:
//   GFLOP/s                           of all products, at the median time
//   over_frozen                       the median time over that of the same linear, frozen, between whose passes it
//   runs saved_bytes, trainable_parameters peak_bytes                        highest total of the allocator, the weight
//   and x included
// --device=cuda measures on a GPU.
#include <algorithm>
#include <chrono>

#include "autograd/audit.hpp"
#include "autograd/ops.hpp"
#include "backends/flops.hpp"
#include "backends/kernels/random.hpp"
#include "bench/main.hpp"
#include "bench/median.hpp"
#include "bench/training_step.hpp"
#include "peft/methods.hpp"

namespace osteon::bench {
namespace {

struct Layer {
  std::int64_t out, in, batch_size, seq_len;
};
constexpr Layer kLayers[] = {
    {512, 512, 4, 256}, {512, 1408, 4, 256}, {2048, 2048, 1, 512}, {2048, 5632, 1, 512}, {4096, 11008, 1, 512}};

/// Uniform in [-bound, bound).
void fill(const Tensor& x, double bound, std::uint64_t stream) {
  on_device(x.device(), [&](auto dev) { kernels::fill_uniform(dev, x.mut(), -bound, bound, {1, stream}); });
}

Tensor random(const Shape& shape, DType dtype, Category category, std::uint64_t stream) {
  Tensor x = empty(shape, dtype, default_device(), category);
  fill(x, 1, stream);
  return x;
}

/// A linear, an adapter on it, and what goes in at both ends.
class AdaptedLinear {
 public:
  AdaptedLinear(const Layer& layer, const std::string& method, DType dtype, std::int64_t rank)
      : linear_("linear", layer.in, layer.out, false, dtype, default_device()),
        config_(adapter_config(method, rank)),
        x_(random({layer.batch_size, layer.seq_len, layer.in}, dtype, Category::activation, 1)),
        dy_(random({layer.batch_size, layer.seq_len, layer.out}, dtype, Category::activation, 2)) {
    fill(linear_.weight, 0.05, 3);
    x_.set_requires_grad(true);
    const peft::Method& made = peft::find_method(method);
    // PiSSA's start takes minutes at these shapes (bench_init) and changes the numbers only: its factors stay zero.
    if (made.adapts_linears())
      adapter_ = made.make({config_, linear_, {1, 4}, !made.changes_base()});
    if (adapter_ != nullptr)
      parameters_ = adapter_->parameters();
    else
      parameters_ = {{"weight", linear_.weight}};
  }

  /// The method's way, or the frozen linear's.
  void attach(bool method) {
    linear_.set_override(method ? adapter_.get() : nullptr);
    linear_.weight.set_requires_grad(method && adapter_ == nullptr);
  }

  /// By way of a reshape dx has x's dtype, as between two layers; adding it to the f32 gradient of the leaf is one pass
  /// over x more, the same for all.
  Tensor forward() const { return linear_(reshape(x_, x_.shape())); }
  void backward(const Tensor& y) const {
    y.backward(dy_);
    x_.clear_grad();
    for (const auto& [name, parameter] : parameters_)
      parameter.clear_grad();
  }
  double seconds() const {
    const auto start = std::chrono::steady_clock::now();
    backward(forward());
    finish(default_device());
    return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  }

  std::int64_t trainable_parameters() const {
    std::int64_t count = 0;
    for (const auto& [name, parameter] : parameters_)
      count += parameter.numel();
    return count;
  }

 private:
  nn::Linear linear_;
  peft::AdapterConfig config_;
  Tensor x_, dy_;
  std::unique_ptr<peft::Adapter> adapter_;
  NamedTensors parameters_;
};

void pass(benchmark::State& state, const Layer& layer, const std::string& method, DType dtype, std::int64_t rank) {
  AdaptedLinear linear(layer, method, dtype, rank);
  linear.attach(false);
  linear.seconds();
  linear.attach(true);
  reset_memory_peak(default_device());
  reset_flop_count(default_device());
  std::int64_t saved_bytes = 0;
  {
    const SavedAudit audit;
    linear.backward(linear.forward());
    saved_bytes = audit.bytes();
  }
  const FlopCount flops = flop_count(default_device());
  const std::int64_t peak_bytes = memory_report(default_device()).peak.total();

  std::vector<double> adapted, frozen;
  for (auto _ : state) {
    adapted.push_back(linear.seconds());
    state.PauseTiming();
    linear.attach(false);
    frozen.push_back(linear.seconds());
    linear.attach(true);
    state.ResumeTiming();
  }
  const double seconds = median(adapted);
  auto& counters = state.counters;
  counters["GFLOP/s"] = (flops.total(Pass::forward) + flops.total(Pass::backward)) * 1e-9 / seconds;
  counters["over_frozen"] = seconds / median(frozen);
  counters["saved_bytes"] = static_cast<double>(saved_bytes);
  counters["peak_bytes"] = static_cast<double>(peak_bytes);
  counters["trainable_parameters"] = static_cast<double>(linear.trainable_parameters());
}

void register_one(const Layer& layer, const char* method, DType dtype, std::int64_t rank) {
  const std::string end = rank > 0 ? join("/r", rank) : "";
  benchmark::RegisterBenchmark(join("adapter/", method, '/', dtype, '/', layer.out, 'x', layer.in, end).c_str(),
                               [=](benchmark::State& state) { pass(state, layer, method, dtype, rank); })
      ->UseRealTime()
      ->Unit(benchmark::kMillisecond);
}

void register_all() {
  for (const Layer& layer : kLayers)
    for (const DType dtype : {DType::f32, DType::bf16})
      for (const char* method : kMethods) {
        if (rank_of(method) == 0)
          register_one(layer, method, dtype, 0);
        else
          for (const std::int64_t rank : {16, 64})
            register_one(layer, method, dtype, rank);
      }
}

}  // namespace
}  // namespace osteon::bench

int main(int argc, char** argv) {
  osteon::bench::register_all();
  return osteon::bench::run(argc, argv);
}
