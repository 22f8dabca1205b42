#include "experiments/commands/command.hpp"

#include <CLI/CLI.hpp>
#include <csignal>
#include <cstdio>
#include <filesystem>
#include <string_view>
#include <unistd.h>

#include "backends/error.hpp"

namespace osteon::experiments {
namespace {

volatile std::sig_atomic_t signalled = 0;

void on_signal(int /*signal*/) {
  constexpr std::string_view kText =
      "\nosteon: stopping; the step or evaluation that runs now is finished and saved first\n";
  if (signalled == 0) [[maybe_unused]]
    const ssize_t written = ::write(STDERR_FILENO, kText.data(), kText.size());
  signalled = 1;
}

}  // namespace

CLI::App* new_command(CLI::App& program, CommandContext& context, const std::string& name, const std::string& summary,
                      const std::string& example) {
  CLI::App* command = program.add_subcommand(name, summary);
  command->footer("Example:\n  " + example);
  command->add_flag("--json", context.json, "Print one JSON object on stdout instead of text");
  return command;
}

void add_device_option(CLI::App* command, std::string& device) {
  command->add_option("--device", device, "auto, cpu, cuda or cuda:N")->capture_default_str();
}

void print_error(const std::string& text) { std::fputs(("osteon: " + text + "\n").c_str(), stderr); }

void check_apart(const std::string& out, const std::string& read, const std::string& option) {
  std::error_code not_there;
  check<ConfigError>(!std::filesystem::equivalent(out, read, not_there),
                     "--out: expected another file or folder than that of ", option, ", got ", out);
}

void catch_signals() {
  struct sigaction action {};
  action.sa_flags = SA_RESTART;
  for (const int signal : {SIGINT, SIGTERM, SIGHUP}) {
    struct sigaction before {};
    ::sigaction(signal, nullptr, &before);
    if (before.sa_handler == SIG_IGN)  // NOLINT: the macro's cast; nohup and a script's `&` say so
      continue;
    action.sa_handler = on_signal;
    ::sigaction(signal, &action, nullptr);
  }
  action.sa_handler = SIG_IGN;  // NOLINT: the macro's cast
  ::sigaction(SIGPIPE, &action, nullptr);
}

bool interrupted() { return signalled != 0; }

}  // namespace osteon::experiments
