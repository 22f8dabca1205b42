#include "experiments/training/trainer.hpp"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <fmt/format.h>

#include "autograd/random_state.hpp"
#include "autograd/watchdog.hpp"
#include "backends/scratch.hpp"
#include "experiments/mpi/communicator.hpp"
#include "experiments/training/evaluation.hpp"
#include "experiments/training/event_file.hpp"
#include "experiments/training/metrics.hpp"
#include "experiments/training/progress.hpp"

namespace osteon::experiments {
namespace {

namespace fs = std::filesystem;

std::int64_t steps_of(const RunConfig& config, const BatchStream& data) {
  const std::int64_t steps = config.steps > 0 ? config.steps : data.steps_in(config.epochs);
  check<ConfigError>(steps > 0, "steps: expected a number above 0 for data without an end (", config.data, ")");
  return steps;
}

/// One group for each distinct factor; weight decay is the same for all.
std::vector<nn::ParameterGroup> parameter_groups(peft::PeftModel& model, const RunConfig& config) {
  std::vector<nn::ParameterGroup> groups;
  for (const peft::TrainableParameter& parameter : model.trainable_parameters()) {
    auto group = std::find_if(groups.begin(), groups.end(), [&](const nn::ParameterGroup& other) {
      return other.learning_rate_factor == parameter.learning_rate_factor;
    });
    if (group == groups.end())
      group = groups.insert(groups.end(), {{}, parameter.learning_rate_factor, config.weight_decay});
    group->parameters.emplace_back(parameter.name, parameter.tensor);
  }
  check<ConfigError>(!groups.empty(), "method: ", config.method, " trains nothing in this model");
  return groups;
}

NamedTensors flat(const std::vector<peft::TrainableParameter>& parameters) {
  NamedTensors all;
  for (const peft::TrainableParameter& parameter : parameters)
    all.emplace_back(parameter.name, parameter.tensor);
  return all;
}

/// Several ranks sum in one rank's order where the run is to be deterministic and gradients are small, sums over
/// sequences. The gradient of a head over the vocabulary is made in the forward pass already, ahead of its turn; a
/// classifier's is not.
bool sums_in_order(const RunConfig& config) {
  const bool sums_sequences = config.method != "bat" || config.batch_invariant;
  return config.deterministic && sums_sequences && config.method != "full" && config.modules_to_save.empty() &&
         config.train_parts.empty();
}

/// The allocator's report of training alone: what evaluations and saves in between need is not in its peaks.
class TrainingMemory {
 public:
  explicit TrainingMemory(Device device) : device_(device) { resume(); }

  void pause() { total_ = report(); }
  void resume() {
    release_scratch(device_);  // as large as an evaluation's longest rows asked for
    reset_memory_peak(device_);
  }

  MemoryReport report() const {
    MemoryReport now = memory_report(device_);
    if (total_.peak.total() > now.peak.total())
      now.peak = total_.peak;
    for (std::size_t i = 0; i < kCategories.size(); ++i)
      now.peak_each.bytes[i] = std::max(now.peak_each.bytes[i], total_.peak_each.bytes[i]);
    return now;
  }

 private:
  Device device_;
  MemoryReport total_;
};

std::string status_text(double loss, double tokens_per_second, const MemoryReport& memory) {
  const double mib = static_cast<double>(memory.peak.total()) / (1 << 20);
  return fmt::format("loss {:.4f}  {:.0f} tok/s  {:.0f} MiB", loss, tokens_per_second, mib);
}

}  // namespace

nn::Schedule schedule_of(const RunConfig& config, std::int64_t steps) {
  const auto by_ratio = static_cast<std::int64_t>(std::ceil(config.warmup_ratio * static_cast<double>(steps)));
  return {nn::parse_schedule(config.schedule), config.lr, std::max(config.warmup_steps, by_ratio), steps,
          config.min_lr_ratio};
}

Trainer::Trainer(const RunConfig& config, LoadedModel& loaded, BatchStream& data, TrainerOptions options)
    : config_(config),
      loaded_(loaded),
      data_(data),
      options_(std::move(options)),
      total_steps_(steps_of(config, data)),
      optimizer_(parameter_groups(*loaded.adapted, config), {config.beta1, config.beta2, config.eps}),
      window_(*loaded.model, flat(loaded.adapted->trainable_parameters()), config.cuda_graph == "auto",
              sums_in_order(config)) {
  state_.config_hash = options_.config_hash;
  state_.data_hash = options_.data_hash;
}

TrainingWindow::Result Trainer::accumulate(const StepData& step) {
  // Each step draws its dropout masks from a stream of its own: a resumed run draws the same ones.
  const RandomKey key{static_cast<std::uint64_t>(config_.seed), 3};
  random_state() = {key.split(static_cast<std::uint64_t>(state_.step))};
  return window_.run(step, join("step ", state_.step + 1));
}

Trainer::StepResult Trainer::train_step(double lr) {
  const TraceScope whole("step");
  const StepData data = [&] {
    const TraceScope part("data");
    return data_.next();
  }();
  const TrainingWindow::Result done = accumulate(data);
  if (!std::isfinite(done.loss) || !std::isfinite(done.norm))
    name_bad_op(data, done);
  const TraceScope part("optimizer");
  loaded_.adapted->before_optimizer_step();
  optimizer_.step(lr, nn::clip_factor(done.norm, config_.clip_norm));
  optimizer_.clear_gradients();
  return {done.loss, done.norm, data.loss_tokens()};
}

void Trainer::name_bad_op(const StepData& step, const TrainingWindow::Result& result) {
  const auto text = [](double value) {
    return std::isnan(value) ? "nan" : fmt::format("{}", value);
  };  // -nan says less
  optimizer_.clear_gradients();
  const std::string where =
      fmt::format("step {}: loss {}, gradient norm {}", state_.step + 1, text(result.loss), text(result.norm));
  const std::string kept = options_.folder.empty() || !fs::exists(options_.folder / "checkpoint")
                               ? std::string()
                               : "; the last good state is in " + (options_.folder / "checkpoint").string();
  try {
    const Watchdog watchdog;
    accumulate(step);
  } catch (const NumericError& error) {
    fail<NumericError>(where, ": ", error.what(), kept);
  }
  fail<NumericError>(where, kept);
}

bool Trainer::improved(double loss) {
  const bool better = !state_.best_loss || loss < *state_.best_loss;
  state_.evaluations_without_gain = better ? 0 : state_.evaluations_without_gain + 1;
  if (better)
    state_.best_loss = loss;
  return better;
}

void Trainer::save() {
  state_.stream = data_.state();
  save_run_state(options_.folder / "checkpoint", state_, *loaded_.adapted, optimizer_);
}

TrainingResult Trainer::run(std::span<const EvaluationData> evaluation) {
  using Clock = std::chrono::steady_clock;
  const bool leads = mpi::rank() == 0, writes = leads && !options_.folder.empty();
  const nn::Schedule schedule = schedule_of(config_, total_steps_);
  std::optional<MetricsWriter> metrics;
  if (config_.resume && !options_.folder.empty() && fs::exists(options_.folder / "checkpoint")) {
    state_ = load_run_state(options_.folder / "checkpoint", *loaded_.adapted, optimizer_);
    data_.restore(state_.stream);
    if (writes)
      metrics = MetricsWriter::resume(options_.folder / "metrics.jsonl", state_.step);
  } else if (writes) {
    metrics.emplace(options_.folder / "metrics.jsonl");
  }
  std::optional<EventFile> events;
  if (writes && config_.tensorboard)
    events.emplace(options_.folder / "tensorboard", read_metrics(options_.folder / "metrics.jsonl"));
  const auto log = [&](const auto& line) {
    if (metrics)
      metrics->write(line);
    if (events)
      events->write(line);
  };

  TrainingResult result;
  Progress progress(options_.title, total_steps_, options_.quiet);
  TrainingMemory memory(loaded_.model->device());
  bool said = false;        // why no step is captured
  std::int64_t saved = -1;  // the step of the newest checkpoint
  const auto save_once = [&] {
    if (writes && saved != state_.step)
      save();
    saved = state_.step;
  };
  while (state_.step < total_steps_) {
    result.stopped_early = config_.early_stop > 0 && state_.evaluations_without_gain >= config_.early_stop;
    result.interrupted = mpi::any(!result.stopped_early && options_.should_stop && options_.should_stop());
    if (result.stopped_early || result.interrupted) {
      save_once();
      break;
    }
    std::optional<TraceRecorder> trace;
    if (options_.on_trace && !result.step_seconds.empty())
      trace.emplace();
    const auto start = Clock::now();
    const double lr = schedule.at(state_.step);
    const StepResult done = train_step(lr);
    const double seconds = std::chrono::duration<double>(Clock::now() - start).count();
    if (const std::string refusal = window_.refusal();
        !refusal.empty() && !options_.quiet && !std::exchange(said, true))
      fmt::print(stderr, "cuda_graph: steps are not captured: {}\n", refusal);
    ++state_.step;
    state_.tokens += done.tokens;
    state_.train_seconds += seconds;
    state_.last_loss = done.loss;
    result.step_seconds.push_back(seconds);
    if (trace)
      options_.on_trace(state_.step, trace->events());
    if (state_.step % config_.log_every == 0 || state_.step == total_steps_)
      log(StepMetrics{state_.step, done.loss, lr, done.norm, done.tokens, seconds});
    progress.show(state_.step, status_text(done.loss, static_cast<double>(done.tokens) / seconds, memory.report()));

    if (config_.eval_every > 0 && !evaluation.empty() && state_.step % config_.eval_every == 0) {
      memory.pause();
      window_.reset();
      EvaluationResult scores;
      if (leads)
        scores = evaluate(*loaded_.model, evaluation);
      log(EvaluationMetrics{state_.step, scores.scores.loss, scores.scores.accuracy});
      if (improved(mpi::broadcast(scores.scores.loss.value_or(0))) && writes && options_.save)
        options_.save(options_.folder / "best");
      memory.resume();
    }
    if (config_.save_every > 0 && state_.step % config_.save_every == 0)
      save_once();
  }
  window_.reset();
  result.steps = state_.step;
  result.tokens = state_.tokens;
  result.last_loss = state_.last_loss;
  result.train_seconds = state_.train_seconds;
  result.batch_hash = data_.hash().text();
  result.saved_tensors = window_.saved_tensors();
  result.memory = memory.report();
  return result;
}

}  // namespace osteon::experiments
