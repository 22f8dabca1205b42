#include "experiments/training/run.hpp"

#include <algorithm>
#include <chrono>
#include <fmt/format.h>
#include <nlohmann/json.hpp>
#include <numeric>
#include <sys/resource.h>

#include "autograd/shared_step.hpp"
#include "backends/kernels/gemm.hpp"
#include "backends/omp_threads.hpp"
#include "backends/open_device.hpp"
#include "experiments/config/adapter_options.hpp"
#include "experiments/data/data_hash.hpp"
#include "experiments/measure/memory_limit.hpp"
#include "experiments/measure/spectra.hpp"
#include "experiments/measure/trace_file.hpp"
#include "experiments/mpi/communicator.hpp"
#include "experiments/sweep/folder_lock.hpp"
#include "experiments/tasks/task.hpp"
#include "experiments/tasks/toy_sine.hpp"
#include "experiments/training/environment.hpp"
#include "experiments/training/evaluation.hpp"
#include "experiments/training/run_folder.hpp"
#include "experiments/training/run_output.hpp"
#include "experiments/training/task_score.hpp"
#include "experiments/training/trainer.hpp"
#include "nn/io/atomic_file.hpp"
#include "peft/hf_config.hpp"

namespace osteon::experiments {
namespace {

namespace fs = std::filesystem;

std::int64_t process_peak_bytes() {
  rusage usage{};
  getrusage(RUSAGE_SELF, &usage);
  return static_cast<std::int64_t>(usage.ru_maxrss) * 1024;
}

/// The steps that warm caches and pool up are not the method's.
std::vector<double> settled(const std::vector<double>& seconds) {
  const auto skip = static_cast<std::ptrdiff_t>(seconds.size() > 10 ? 3 : 0);
  return {seconds.begin() + skip, seconds.end()};
}

void describe(RunSummary& summary, const RunConfig& config, LoadedModel& loaded) {
  summary.task = task_name(config);
  summary.method = config.method;
  summary.seed = config.seed;
  summary.lr = config.lr;
  summary.model = config.model;
  summary.batch_size = config.batch_size;
  summary.seq_len = row_length(config);
  summary.total_parameters = loaded.adapted->total_count();
  summary.trainable_parameters = loaded.adapted->trainable_count();
  const peft::ModelAdapter& adapter = loaded.adapted->adapter();
  if (adapter.method->adapts_linears()) {
    summary.rank = adapter.config.rank;
    summary.init_weights = config.init_weights;
    if (peft::adapter_config_json(adapter.config).contains("lora_alpha"))
      summary.alpha = adapter.config.alpha;
    summary.target_modules = adapter.config.target_modules;
  }
  if (is_rwkv(config.model))
    summary.l2_wrap = wraps_logits(config);
  summary.data_hash = data_hash(config);
  summary.deterministic = config.deterministic;
  summary.memory_policy = config.memory_policy;
  if (config.checkpoint_layers > 0)
    summary.checkpoint_layers = config.checkpoint_layers;
}

std::map<std::string, double> skill_scores(const LoadedModel& loaded, const RunConfig& config) {
  std::map<std::string, double> keep;
  for (const EvaluationData& skill :
       open_evaluation_data(std::string(kMixture), Split::test, config, *loaded.tokenizer, ModelLimits(*loaded.model)))
    keep[skill.name] = evaluate(*loaded.model, skill.batches, skill.exact_match).scores.accuracy.value_or(0);
  return keep;
}

/// What --trace and --profile make of a run's steps.
class Recording {
 public:
  explicit Recording(const RunOptions& options) : profile_(options.profile) {
    if (!options.trace.empty())
      trace_.emplace(options.trace);
  }

  /// For the trainer; empty if nobody wants the steps.
  std::function<void(std::int64_t, std::span<const TraceEvent>)> on_trace() {
    if (!trace_ && profile_ == nullptr)
      return {};
    return [this](std::int64_t step, std::span<const TraceEvent> events) {
      if (trace_)
        trace_->add_step(step, events);
      if (profile_ != nullptr)
        profiler_.add_step(events);
    };
  }

  void finish(std::span<const SavedTensor> saved) {
    if (trace_ && trace_->steps() > 0)
      trace_->finish();
    else if (trace_)
      fmt::print(stderr, "warning: --trace: nothing written: no step came after the first, which is not traced\n");
    if (profile_ != nullptr)
      *profile_ = profiler_.result(saved);
  }

 private:
  std::optional<TraceFile> trace_;
  Profile* profile_;
  Profiler profiler_;
};

void begin(const fs::path& folder, const RunConfig& config) {
  if (folder.empty())
    return;
  fs::remove(folder / "summary.json");  // of a run before: it does not speak of this one
  io::write_file_atomically(folder / "config.toml", to_toml(config));
}

/// What several ranks cannot share yet.
void check_ranks(const RunConfig& config) {
  if (mpi::size() == 1)
    return;
  check<ConfigError>(!is_toy_sine(config), "model: expected a language model for a run of ", mpi::size(),
                     " ranks, got ", config.model);
}

RunSummary run_in(const RunConfig& config, const RunOptions& options, RunSummary& summary) {
  if (is_toy_sine(config)) {
    begin(config.out, config);
    run_toy_sine(config, options.split, summary);
    return summary;
  }
  Recording recording(options);  // first: a trace that cannot be written is known before the model is read
  LoadedModel loaded = load_model(config, options.from_random_weights ? Weights::random : Weights::pretrained);
  const bool leads = mpi::rank() == 0;  // the others only train
  for (const std::string& warning : leads ? loaded.warnings : std::vector<std::string>())
    fmt::print(stderr, "warning: {}\n", warning);
  const ModelLimits limits(*loaded.model);
  const auto making = std::chrono::steady_clock::now();
  add_run_adapter(loaded, config);
  summary.init_seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - making).count();
  describe(summary, config, loaded);
  const std::unique_ptr<BatchStream> data = open_training_data(config, *loaded.tokenizer, limits);
  std::vector<EvaluationData> evaluation;
  const std::string eval_name = !config.eval_data.empty() ? config.eval_data : is_task(config.data) ? config.data : "";
  if (!eval_name.empty())
    evaluation = open_evaluation_data(eval_name, options.split, config, *loaded.tokenizer, limits);

  std::vector<EvaluationData> retained;
  if (!config.retain_data.empty() && options.score_before)
    retained = open_evaluation_data(config.retain_data, options.split, config, *loaded.tokenizer, limits);

  const fs::path folder = config.out;
  if (leads)
    begin(folder, config);
  const StartingFactors start(loaded, config);
  std::optional<SpectrumProbe> probe;
  if (leads && config.spectra && !folder.empty())
    probe.emplace(loaded);
  if (leads && options.score_before && !evaluation.empty())
    summary.evaluation.before = evaluate(*loaded.model, evaluation).scores;
  if (leads && !retained.empty())
    summary.evaluation.retained_before = evaluate(*loaded.model, retained).scores;

  Trainer trainer(config, loaded, *data,
                  {.folder = folder,
                   .quiet = options.quiet,
                   .title = summary.name,
                   .config_hash = summary.config_hash,
                   .data_hash = summary.data_hash,
                   .save = [&](const fs::path& best) { save_result(loaded, config, start, best, options.save_dtype); },
                   .should_stop = options.should_stop,
                   .on_trace = recording.on_trace()});
  const TrainingResult result = trainer.run(evaluation);
  recording.finish(result.saved_tensors);
  summary.steps = result.steps;
  summary.tokens = result.tokens;
  summary.train_seconds = result.train_seconds;
  if (!result.step_seconds.empty()) {
    summary.step_seconds = StepSeconds::of(settled(result.step_seconds));
    summary.tokens_per_second = static_cast<double>(result.tokens) / std::max(result.train_seconds, 1e-9);
    summary.peak_bytes = PeakBytes::of(result.memory.peak);
  }
  summary.final_train_loss = result.last_loss;
  summary.pool_idle_bytes = result.memory.pool_idle_bytes;
  summary.process_peak_bytes = process_peak_bytes();
  summary.saved_tensors = result.saved_tensors;
  summary.batch_hash = result.batch_hash;
  summary.completed = !result.interrupted;
  if (result.interrupted)
    summary.error = fmt::format(
        "interrupted after step {} of {}; {}", result.steps, trainer.total_steps(),
        folder.empty() ? "without --out nothing was saved" : "the same command with --resume goes on from there");

  if (!leads)
    return summary;
  if (!folder.empty() && options.keep_model)  // first: an evaluation may take long, or more memory than there is
    save_result(loaded, config, start, folder, options.save_dtype);
  if (!result.interrupted && probe)
    write_spectra(folder, probe->spectra());
  if (!result.interrupted && !evaluation.empty()) {
    const EvaluationResult after = evaluate(*loaded.model, evaluation);
    summary.evaluation.after = after.scores;
    summary.items = after.items;
  }
  if (!result.interrupted && !config.task.empty() && options.purpose == "final" &&
      !score_on_task(config, loaded, folder, options.should_stop, summary)) {
    summary.completed = false;
    summary.error = "interrupted while " + config.task + " was scored";
  }
  if (!result.interrupted && !retained.empty())
    summary.evaluation.retained_after = evaluate(*loaded.model, retained).scores;
  if (!result.interrupted && options.score_forgetting)
    summary.evaluation.keep = skill_scores(loaded, config);
  return summary;
}

}  // namespace

RunConfig result_keys(const RunConfig& config) {
  RunConfig same = config;
  same.out.clear();
  same.resume = false;
  same.threads = 0;
  same.memory_limit.clear();
  same.cuda_graph = "auto";
  same.log_every = 1;
  same.save_every = 0;
  same.tensorboard = false;
  same.profile = false;
  same.spectra = false;
  same.rwkv_peft = false;
  return same;
}

std::string config_hash(const RunConfig& config) { return fmt::format("{:016x}", fnv1a(to_toml(result_keys(config)))); }

RunSummary run(const RunConfig& given, const RunOptions& options) {
  RunConfig config = given;
  if (!config.adapter.empty())
    adopt_adapter(config);
  fill_adapter_defaults(config);
  check_config(config);
  settle_memory_policy(config);
  check_ranks(config);
  set_threads(config.threads);
  kernels::set_deterministic_gemm(config.deterministic);
  batch_invariant = config.batch_invariant;
  RunSummary summary;
  summary.name = !options.name.empty() ? options.name
                 : config.out.empty()  ? config.method
                                       : fs::path(config.out).filename().string();
  summary.suite = options.suite;
  summary.purpose = options.purpose;
  summary.method = config.method;
  if (!options.case_name.empty())
    summary.case_name = options.case_name;
  summary.seed = config.seed;
  summary.config_hash = config_hash(config);
  const fs::path folder = config.out;
  std::optional<FolderLock> lock;
  const bool writes = mpi::rank() == 0 && !folder.empty();
  std::optional<RunSummary> done;
  if (writes) {
    lock.emplace(folder);
    if (config.resume)
      done = finished_run(folder, summary.config_hash, data_hash(config));
    if (!done)
      prepare_run_folder(config, summary.config_hash);
  }
  summary.completed = mpi::any(done.has_value());  // the others read the folder only when it is ready
  if (summary.completed)
    return done.value_or(summary);
  try {
    run_in(config, options, summary);
  } catch (const std::exception& error) {
    summary.completed = false;
    summary.error = error.what();
    if (writes)
      write_summary(folder, summary);
    throw;
  }
  if (writes) {
    kernels::GemmBackend gemm{};
    on_device(default_device(), [&](auto dev) { gemm = kernels::gemm_backend(dev); });
    write_environment(folder, capture_environment({.threads = threads(),
                                                   .gemm = gemm.library,
                                                   .gemm_implementations = kernels::gemm_implementations(),
                                                   .gpu = gpu_name(default_device()),
                                                   .deterministic = config.deterministic,
                                                   .ranks = mpi::size()}));
    write_summary(folder, summary);
  }
  return summary;
}

}  // namespace osteon::experiments
