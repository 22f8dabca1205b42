#include <CLI/CLI.hpp>
#include <csignal>
#include <fmt/format.h>
#include <iostream>
#include <memory>
#include <nlohmann/json.hpp>
#include <sys/prctl.h>
#include <unistd.h>

#include "backends/device.hpp"
#include "experiments/commands/command.hpp"
#include "experiments/config/adapter_options.hpp"
#include "experiments/config/options.hpp"
#include "experiments/data/open.hpp"
#include "experiments/measure/profile.hpp"
#include "experiments/mpi/communicator.hpp"
#include "experiments/training/run.hpp"

namespace osteon::experiments {
namespace {

struct TrainArguments {
  ConfigArguments config;
  std::string suite, case_name, purpose = "final", split = "test", name, save_dtype;
  std::string trace;
  std::int64_t parent = 0;
  bool forgetting = false, quiet = false, discard = false;
};

void print_summary(const RunSummary& summary) {
  const auto mib = [](std::int64_t bytes) { return static_cast<double>(bytes) / (1 << 20); };
  fmt::print("{}: {} steps, {} trainable of {} parameters\n", summary.name, summary.steps, summary.trainable_parameters,
             summary.total_parameters);
  if (summary.step_seconds && summary.tokens_per_second)
    fmt::print("  step {:.3f} s (median), {:.0f} tokens/s\n", summary.step_seconds->median, *summary.tokens_per_second);
  if (summary.peak_bytes)
    fmt::print(
        "  peak {:.1f} MiB: weights {:.1f}, adapter {:.1f}, gradients {:.1f}, optimiser {:.1f}, activations {:.1f}, "
        "workspace {:.1f}\n",
        mib(summary.peak_bytes->total), mib(summary.peak_bytes->weights), mib(summary.peak_bytes->adapter),
        mib(summary.peak_bytes->gradient), mib(summary.peak_bytes->optimizer), mib(summary.peak_bytes->activation),
        mib(summary.peak_bytes->workspace));
  if (mpi::size() > 1)
    fmt::print("  {} ranks: the first sent {:.2f} MiB of gradients\n", mpi::size(), mib(mpi::bytes_sent()));
  const auto scores = [&](const char* when, const std::optional<Scores>& found) {
    if (!found)
      return;
    fmt::print("  {}: loss {:.4f}", when, found->loss.value_or(0));
    if (found->perplexity)
      fmt::print(", perplexity {:.3f}", *found->perplexity);
    if (found->accuracy)
      fmt::print(", {} {:.1f}%", summary.task_metrics.empty() ? "exact match" : "accuracy", 100 * *found->accuracy);
    fmt::print("\n");
  };
  scores("before", summary.evaluation.before);
  scores("after", summary.evaluation.after);
  if (!summary.task_metrics.empty())
    fmt::print("  {}:", summary.task);
  for (const auto& [name, value] : summary.task_metrics)
    fmt::print(" {} {:.4f}", name, value);
  if (!summary.task_metrics.empty())
    fmt::print("\n");
}

/// A run of `ablate` ends with it, however it ends: the sweep that is started again must find the folder free. What is
/// lost is the same as when the machine goes down.
void end_with(std::int64_t parent) {
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  check<Error>(getppid() == parent, "ablate ended before its run began");  // and no signal told so
}

void warn_of_unused_keys(RunConfig config) {
  fill_adapter_defaults(config);
  for (const std::string& key : unused_data_keys(config))
    fmt::print(stderr, "warning: {}: the data {} has no such setting; ignored\n", key, config.data);
  for (const std::string& key : unused_keys(config))
    fmt::print(stderr, "warning: {}: the method {} has no such setting; ignored\n", key, config.method);
}

int train(const TrainArguments& arguments, const RunConfig& defaults, bool pretrain, bool json) {
  catch_signals();
  if (arguments.parent > 0)
    end_with(arguments.parent);
  RunConfig config = resolve_config(arguments.config, defaults);
  if (!config.adapter.empty())
    adopt_adapter(config, arguments.config.given());
  const bool leads = mpi::rank() == 0;  // alone it writes and says anything
  if (leads)
    warn_of_unused_keys(config);
  if (!config.out.empty()) {  // a resumed run would begin from what the stopped one wrote
    check_apart((std::filesystem::path(config.out) / "adapter").string(), config.adapter, "--adapter");
    check_apart((std::filesystem::path(config.out) / "model").string(), config.model, "--model");
  } else if (leads) {
    fmt::print(stderr, "warning: without --out nothing of the run is kept\n");
  }
  RunOptions options;
  options.from_random_weights = pretrain;
  options.quiet = arguments.quiet || !leads;
  options.name = arguments.name;
  options.suite = arguments.suite;
  options.case_name = arguments.case_name;
  options.purpose = arguments.purpose;
  options.split = arguments.split == "validation" ? Split::validation : Split::test;
  options.score_forgetting = arguments.forgetting;
  options.score_before = !pretrain && arguments.purpose == "final";
  options.keep_model = !arguments.discard;
  if (!arguments.save_dtype.empty())
    options.save_dtype = dtype_named(arguments.save_dtype);
  options.should_stop = interrupted;
  options.trace = leads ? arguments.trace : std::string();
  Profile profile;
  if (config.profile && leads)
    options.profile = &profile;
  const RunSummary summary = run(config, options);
  if (!leads)
    return summary.completed ? 0 : 130;
  const bool profiled = profile.steps > 0;
  if (profiled) {
    on_device(default_device(), [&](auto dev) { profile.machine = measure_machine(dev); });
    if (!config.out.empty())
      write_profile(config.out, profile);
  } else if (config.profile) {
    fmt::print(stderr, "warning: --profile: nothing to show: no step came after the first, which does not count\n");
  }
  if (json) {
    std::string text = to_json(summary);
    if (profiled) {
      auto with_profile = nlohmann::ordered_json::parse(text);
      with_profile["profile"] = to_json(profile);
      text = with_profile.dump();
    }
    std::cout << text << '\n';
  } else {
    if (!arguments.quiet)
      print_summary(summary);
    if (profiled)
      fmt::print("\n{}", profile_text(profile));
  }
  if (!summary.completed)
    print_error(summary.error);
  return summary.completed ? 0 : 130;
}

void add_training(CLI::App& program, CommandContext& context, const std::string& name, const std::string& summary,
                  const std::string& example, const RunConfig& defaults, bool pretrain) {
  CLI::App* command = new_command(program, context, name, summary, example);
  auto arguments = std::make_shared<TrainArguments>();
  add_config_options(*command, arguments->config);
  command->add_flag("--quiet", arguments->quiet, "No progress and no summary");
  command->add_option("--save-dtype", arguments->save_dtype,
                      "Of the model that is written: f32 or bf16; the run's own by default");
  command
      ->add_option("--trace", arguments->trace,
                   "Write steps 2 to 4 of this process as a trace for ui.perfetto.dev or chrome://tracing")
      ->type_name("FILE");
  // How `ablate` runs its cells; not for people.
  const std::string hidden;
  command->add_option("--name", arguments->name)->group(hidden);
  command->add_option("--suite", arguments->suite)->group(hidden);
  command->add_option("--case", arguments->case_name)->group(hidden);
  command->add_option("--purpose", arguments->purpose)->group(hidden)->check(CLI::IsMember({"sweep", "final"}));
  command->add_option("--split", arguments->split)->group(hidden)->check(CLI::IsMember({"validation", "test"}));
  command->add_option("--parent", arguments->parent)->group(hidden);
  command->add_flag("--forgetting", arguments->forgetting)->group(hidden);
  command->add_flag("--discard", arguments->discard)->group(hidden);
  command->callback([arguments, &context, defaults, pretrain] {
    context.shared = true;
    context.action = [arguments, &context, defaults, pretrain] {
      return train(*arguments, defaults, pretrain, context.json);
    };
  });
}

}  // namespace

void add_finetune(CLI::App& program, CommandContext& context) {
  add_training(program, context, "finetune", "Fine-tune a model with one method",
               "osteon finetune --model path/to/llama --data train.jsonl --method bone --rank 64 --out runs/bone", {},
               false);
}

void add_pretrain(CLI::App& program, CommandContext& context) {
  RunConfig defaults;
  defaults.method = "full";
  add_training(program, context, "pretrain", "Train all weights of a model from random ones",
               "osteon pretrain experiments/runs/pretrain_tiny.toml --out runs/tiny", defaults, true);
}

}  // namespace osteon::experiments
