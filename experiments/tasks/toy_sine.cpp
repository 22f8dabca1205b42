#include "experiments/tasks/toy_sine.hpp"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <fmt/format.h>
#include <limits>
#include <memory>
#include <nlohmann/json.hpp>
#include <numbers>
#include <numeric>

#include "autograd/random_state.hpp"
#include "backends/kernels/random.hpp"
#include "backends/scratch.hpp"
#include "experiments/config/adapter_options.hpp"
#include "experiments/data/data_hash.hpp"
#include "experiments/data/example.hpp"
#include "experiments/training/metrics.hpp"
#include "experiments/training/trainer.hpp"
#include "nn/optim/schedule.hpp"
#include "peft/hf_config.hpp"
#include "peft/methods.hpp"

namespace osteon::experiments {
namespace {

constexpr std::int64_t kWidth = 64, kTrainPoints = 50, kTestPoints = 100, kBaseSteps = 250, kEvalEvery = 10;
constexpr double kBaseRate = 1e-3, kNoise = 0.05;

enum class Stream : std::uint64_t { train_x, noise, test_x, validation_x, first, second };

RandomKey key_of(const RunConfig& config, Stream stream) {
  return RandomKey{static_cast<std::uint64_t>(config.seed), 0x73696e65}.split(static_cast<std::uint64_t>(stream));
}

Tensor uniform(const Shape& shape, double bound, RandomKey key) {
  Tensor x = empty(shape, DType::f32, Device::cpu);
  kernels::fill_uniform(Cpu{}, x.mut(), -bound, bound, key);
  return x;
}

/// sin(2 pi x), and what is added to it for the adapters.
double base_function(double x) { return std::sin(2 * std::numbers::pi * x); }
double shift(double x) { return 0.3 * std::cos(3 * std::numbers::pi * x); }

/// Points, and their values before and after the shift.
struct Points {
  Tensor x, base, shifted;

  Points(const Tensor& points, const Tensor& noise) : x(points) {
    std::vector<double> at = x.to_doubles(), before = noise.defined() ? noise.to_doubles() : at;
    std::vector<double> after(at.size());
    for (std::size_t i = 0; i < at.size(); ++i) {
      before[i] = base_function(at[i]) + (noise.defined() ? before[i] : 0);
      after[i] = before[i] + shift(at[i]);
    }
    base = from_values(before, x.shape(), DType::f32, Device::cpu);
    shifted = from_values(after, x.shape(), DType::f32, Device::cpu);
  }
};

Tensor noise_of(const RunConfig& config) {
  Tensor noise = empty({kTrainPoints, kWidth}, DType::f32, Device::cpu);
  kernels::fill_normal(Cpu{}, noise.mut(), 0, kNoise, key_of(config, Stream::noise));
  return noise;
}

/// max(h, 0): where h is positive is a constant to the gradient, as it is in the derivative.
Tensor relu(const Tensor& h) {
  std::vector<double> mask = h.to_doubles();
  for (double& value : mask)
    value = value > 0 ? 1 : 0;
  return mul(h, from_values(mask, h.shape(), h.dtype(), h.device()));
}

Tensor mean_squared_error(const Tensor& y, const Tensor& target) {
  return squared_error(y, target, static_cast<double>(y.numel()));
}

/// The MLP with what trains in it.
class Toy {
 public:
  Toy(const RunConfig& config, Split split)
      : config_(config),
        train_(uniform({kTrainPoints, kWidth}, 1, key_of(config, Stream::train_x)), noise_of(config)),
        test_(uniform({kTestPoints, kWidth}, 1,
                      key_of(config, split == Split::test ? Stream::test_x : Stream::validation_x)),
              {}) {
    const double bound = 1 / std::sqrt(static_cast<double>(kWidth));  // torch's Linear
    for (const auto& [linear, stream] : {std::pair(&first_, Stream::first), {&second_, Stream::second}}) {
      kernels::fill_uniform(Cpu{}, linear->weight.mut(), -bound, bound, key_of(config, stream).split(0));
      kernels::fill_uniform(Cpu{}, linear->bias.mut(), -bound, bound, key_of(config, stream).split(1));
    }
    freeze([](const std::string&) { return true; });
    nn::AdamW adam({{base_parameters(), 1.0, 0.0}});
    for (std::int64_t step = 0; step < kBaseSteps; ++step)
      update(train_.base, adam, kBaseRate, 0);
  }

  /// Puts the config's method on both linears.
  void attach() {
    const peft::Method& method = peft::find_method(config_.method);
    freeze([&](const std::string& parameter) { return method.trains_base(parameter); });
    std::vector<nn::ParameterGroup> groups = {{base_parameters(), 1.0, config_.weight_decay}};
    const peft::AdapterConfig adapter = adapter_config(config_);
    std::uint64_t index = 0;
    for (nn::Linear* linear : {&first_, &second_}) {
      if (!method.adapts_linears())
        break;
      const peft::AdapterConfig own = adapter.for_module(linear->name());
      method.check(own);
      adapters_.push_back(method.make({own, *linear, RandomKey{adapter.seed, 1}.split(index++), true}));
      linear->set_override(adapters_.back().get());
      for (const auto& [name, tensor] : adapters_.back()->parameters())
        if (tensor.requires_grad())
          groups.push_back({{{linear->name() + "." + name, tensor}},
                            adapters_.back()->learning_rate_factor(name),
                            config_.weight_decay});
    }
    for (const nn::ParameterGroup& group : groups)
      for (const auto& [name, tensor] : group.parameters)
        trainable_ += tensor.numel();
    check<ConfigError>(trainable_ > 0, "method: ", config_.method, " trains nothing in this model");
    optimizer_ = std::make_unique<nn::AdamW>(groups, nn::AdamWOptions{config_.beta1, config_.beta2, config_.eps});
    for (const nn::ParameterGroup& group : groups)
      parameters_.insert(parameters_.end(), group.parameters.begin(), group.parameters.end());
  }

  /// One step of the method on all points; its loss and gradient norm.
  std::pair<double, double> step(std::int64_t number, double rate) {
    random_state() = {RandomKey{static_cast<std::uint64_t>(config_.seed), 3}.split(static_cast<std::uint64_t>(number)),
                      0};  // dropout's masks, as a Trainer's steps draw them
    return update(train_.shifted, *optimizer_, rate, config_.clip_norm);
  }

  double validation_loss() const {
    const NoGrad no_grad;
    return mean_squared_error(forward(test_.x), test_.shifted).item();
  }

  std::int64_t trainable_count() const { return trainable_; }
  std::int64_t total_count() {
    std::int64_t count = 0;
    visit([&](const std::string&, Tensor& tensor) { count += tensor.numel(); });
    for (const auto& adapter : adapters_)
      for (const auto& [name, tensor] : adapter->parameters())
        count += tensor.numel();
    return count;
  }
  /// Of the points that all methods of a seed learn from.
  std::string batch_hash() const {
    std::string text;
    for (const Tensor& values : {train_.x, train_.shifted})
      for (const double value : values.to_doubles())
        text += fmt::format("{:.9g} ", value);
    return fmt::format("{:016x}", fnv1a(text));
  }

 private:
  Tensor forward(const Tensor& x) const { return second_(relu(first_(x))); }

  std::pair<double, double> update(const Tensor& target, nn::AdamW& optimizer, double rate, double clip) {
    const Tensor loss = mean_squared_error(forward(train_.x), target);
    loss.backward();
    const double norm = nn::global_gradient_norm(parameters_.empty() ? base_parameters() : parameters_);
    for (const auto& adapter : adapters_)
      adapter->before_optimizer_step();
    optimizer.step(rate, nn::clip_factor(norm, clip));
    optimizer.clear_gradients();
    return {loss.item(), norm};
  }

  void visit(const nn::ParameterVisitor& visitor) {
    first_.visit(visitor);
    second_.visit(visitor);
  }
  void freeze(const std::function<bool(const std::string&)>& trains) {
    visit([&](const std::string& name, Tensor& tensor) { tensor.set_requires_grad(trains(name)); });
  }
  NamedTensors base_parameters() {
    NamedTensors all;
    visit([&](const std::string& name, Tensor& tensor) {
      if (tensor.requires_grad())
        all.emplace_back(name, tensor);
    });
    return all;
  }

  const RunConfig& config_;
  Points train_, test_;
  nn::Linear first_{"first", kWidth, kWidth, true, DType::f32, Device::cpu};
  nn::Linear second_{"second", kWidth, kWidth, true, DType::f32, Device::cpu};
  std::vector<std::unique_ptr<peft::Adapter>> adapters_;
  std::unique_ptr<nn::AdamW> optimizer_;
  NamedTensors parameters_;  ///< what the method trains
  std::int64_t trainable_ = 0;
};

/// The peak of steps from here on: what scoring in between needs is not in it.
void measure_steps() {
  release_scratch(Device::cpu);  // as large as the scored points asked for
  reset_memory_peak(Device::cpu);
}

using Clock = std::chrono::steady_clock;
double seconds_since(Clock::time_point start) { return std::chrono::duration<double>(Clock::now() - start).count(); }

void describe(RunSummary& summary, const RunConfig& config, Toy& toy) {
  summary.task = kSine;
  summary.loss_unit = "MSE";
  summary.lr = config.lr;
  summary.model = config.model;
  summary.batch_size = kTrainPoints;
  summary.seq_len = 1;
  summary.trainable_parameters = toy.trainable_count();
  summary.total_parameters = toy.total_count();
  if (peft::find_method(config.method).adapts_linears()) {
    summary.rank = config.rank;
    summary.init_weights = config.init_weights;
    if (peft::adapter_config_json(adapter_config(config)).contains("lora_alpha"))
      summary.alpha = config.alpha;
  }
  summary.data_hash = data_hash(config);
  summary.batch_hash = toy.batch_hash();
  summary.deterministic = config.deterministic;
}

}  // namespace

bool is_toy_sine(const RunConfig& config) {
  const bool model = config.model == kToyModel, data = config.data == kSine;
  check<ConfigError>(model == data, "model: expected ", kToyModel, " with the data ", kSine, " and with no other, got ",
                     config.model, " with ", config.data);
  return model;
}

void run_toy_sine(const RunConfig& config, Split split, RunSummary& summary) {
  check<ConfigError>(config.device == "auto" || config.device == "cpu", "device: expected cpu with the model ",
                     kToyModel, ", got ", config.device);
  check<ConfigError>(config.steps > 0, "steps: expected a number above 0 for data without an end (", kSine, ")");
  Toy toy(config, split);
  summary.evaluation.before = Scores{.loss = toy.validation_loss(), .accuracy = {}, .perplexity = {}};
  const Clock::time_point making = Clock::now();
  toy.attach();
  summary.init_seconds = seconds_since(making);
  describe(summary, config, toy);
  std::optional<MetricsWriter> metrics;
  if (!config.out.empty())
    metrics.emplace(std::filesystem::path(config.out) / "metrics.jsonl");
  const nn::Schedule schedule = schedule_of(config, config.steps);
  const std::int64_t every = config.eval_every > 0 ? config.eval_every : kEvalEvery;
  std::vector<double> seconds;
  double lowest = std::numeric_limits<double>::infinity();
  MemoryUse peak;
  measure_steps();
  for (std::int64_t step = 1; step <= config.steps; ++step) {
    const Clock::time_point start = Clock::now();
    const double rate = schedule.at(step - 1);
    const auto [loss, norm] = toy.step(step, rate);
    seconds.push_back(seconds_since(start));
    check<NumericError>(std::isfinite(loss), "step ", step, ": loss ", loss);
    if (metrics)
      metrics->write(StepMetrics{step, loss, rate, norm, kTrainPoints, seconds.back()});
    summary.final_train_loss = loss;
    if (step % every != 0 && step != config.steps)
      continue;
    if (const MemoryUse steps = memory_report(Device::cpu).peak; steps.total() > peak.total())
      peak = steps;
    const double validation = toy.validation_loss();
    measure_steps();
    lowest = std::min(lowest, validation);
    if (metrics)
      metrics->write(EvaluationMetrics{step, validation, {}});
  }
  summary.steps = config.steps;
  summary.tokens = config.steps * kTrainPoints;
  summary.step_seconds = StepSeconds::of(seconds);
  summary.train_seconds = std::accumulate(seconds.begin(), seconds.end(), 0.0);
  summary.evaluation.after = Scores{.loss = lowest, .accuracy = {}, .perplexity = {}};
  summary.peak_bytes = PeakBytes::of(peak);
  summary.completed = true;
}

Plan plan_toy_sine(const RunConfig& config) {
  Toy toy(config, Split::test);
  toy.attach();
  Plan plan;
  plan.trainable_parameters = toy.trainable_count();
  plan.total_parameters = toy.total_count();
  plan.tokens_per_step = kTrainPoints;
  measure_steps();
  for (std::int64_t step = 1; step <= 2; ++step) {  // the second one has gradients and moments from the first
    reset_flop_count(Device::cpu);
    toy.step(step, config.lr);
  }
  const MemoryReport memory = memory_report(Device::cpu);
  plan.peak = memory.peak;
  plan.peak_each = memory.peak_each;
  plan.flops = flop_count(Device::cpu);
  return plan;
}

}  // namespace osteon::experiments
