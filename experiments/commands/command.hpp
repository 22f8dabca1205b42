#pragma once

#include <CLI/App.hpp>
#include <functional>
#include <string>

namespace osteon::experiments {

/// What every subcommand is told: whether to print one JSON object instead of text.
struct CommandContext {
  bool json = false;
  bool shared = false;          ///< whether several ranks of mpirun may run it: they share the work
  std::function<int()> action;  ///< both set by the subcommand that was given; returns the exit status
};

// One function a subcommand, each in its own file: registers options, help and example, and what to do.
void add_ablate(CLI::App& program, CommandContext& context);
void add_convert(CLI::App& program, CommandContext& context);
void add_evaluate(CLI::App& program, CommandContext& context);
void add_finetune(CLI::App& program, CommandContext& context);
void add_forward(CLI::App& program, CommandContext& context);
void add_generate(CLI::App& program, CommandContext& context);
void add_inspect(CLI::App& program, CommandContext& context);
void add_merge(CLI::App& program, CommandContext& context);
void add_plan(CLI::App& program, CommandContext& context);
void add_pretrain(CLI::App& program, CommandContext& context);
void add_report(CLI::App& program, CommandContext& context);
void add_reproduce(CLI::App& program, CommandContext& context);
void add_tokenize(CLI::App& program, CommandContext& context);
void add_unload(CLI::App& program, CommandContext& context);

/// A new subcommand with its one line of help, an example below the options, and the common --json.
CLI::App* new_command(CLI::App& program, CommandContext& context, const std::string& name, const std::string& summary,
                      const std::string& example);

/// --device, as the config key.
void add_device_option(CLI::App* command, std::string& device);

/// "osteon: text" on stderr. A closed or full stderr is passed over: what was done and its exit status stay.
void print_error(const std::string& text);

/// Refuses to write into the folder that `option` reads: what is there would be lost, or be taken for something else.
void check_apart(const std::string& out, const std::string& read, const std::string& option);

/// From here on SIGINT, SIGTERM and SIGHUP (a closed terminal) only set what interrupted() tells, so that a run saves
/// and ends, and so does each of them after the first; those that the caller ignores stay ignored. SIGPIPE is ignored:
/// in `osteon finetune 2>&1 | tee log` an interrupt ends the reader too, and saving must not end at a line for it.
void catch_signals();
bool interrupted();

}  // namespace osteon::experiments
