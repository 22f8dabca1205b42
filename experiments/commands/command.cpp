#include "experiments/commands/command.hpp"

#include <CLI/CLI.hpp>
#include <csignal>

namespace osteon::experiments {
namespace {

volatile std::sig_atomic_t signalled = 0;

void on_signal(int /*signal*/) { signalled = 1; }

}  // namespace

CLI::App* new_command(CLI::App& program, CommandContext& context, const std::string& name, const std::string& summary,
                      const std::string& example) {
  CLI::App* command = program.add_subcommand(name, summary);
  command->footer("Example:\n  " + example);
  command->add_flag("--json", context.json, "Print one JSON object on stdout instead of text");
  return command;
}

void catch_signals() {
  std::signal(SIGINT, on_signal);
  std::signal(SIGTERM, on_signal);
}

bool interrupted() { return signalled != 0; }

}  // namespace osteon::experiments
