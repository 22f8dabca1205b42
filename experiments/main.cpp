#include <CLI/CLI.hpp>
#include <algorithm>
#include <cerrno>
#include <chrono>
#include <csignal>
#include <cstdio>
#include <cstring>
#include <fmt/format.h>
#include <iostream>
#include <thread>

#include "backends/error.hpp"
#include "backends/omp_threads.hpp"
#include "backends/suggest.hpp"
#include "experiments/commands/command.hpp"
#include "experiments/mpi/communicator.hpp"
#include "experiments/training/environment.hpp"

namespace osteon::experiments {
namespace {

/// CLI11 says "The following argument was not expected: x"; a near subcommand or option is worth naming.
std::string parse_error_text(const CLI::App& program, const CLI::ParseError& error, int argc, char** argv) {
  std::string text = error.what();
  std::vector<std::string> names;
  for (const CLI::App* command : program.get_subcommands({}))
    names.push_back(command->get_name());
  if (program.get_subcommands().empty() && argc > 1)
    text += suggestion(argv[1], names);
  for (const CLI::App* command : program.get_subcommands()) {
    std::vector<std::string> options;
    for (const CLI::Option* option : command->get_options())
      for (const std::string& name : option->get_lnames())
        options.push_back("--" + name);
    for (int i = 2; i < argc; ++i) {
      const std::string word = argv[i], name = word.substr(0, word.find('='));
      if (name.starts_with("--") && std::find(options.begin(), options.end(), name) == options.end())
        return text + suggestion(name, options);
    }
  }
  return text;
}

int run_program(int argc, char** argv) {
  CLI::App program("Osteon: full fine-tuning, LoRA, PiSSA, Bone and Bat side by side", "osteon");
  program.set_version_flag("--version", [] {
    const Environment environment = capture_environment({});
    return environment.version + " (" + environment.commit + ")";
  });
  program.require_subcommand(1);
  CommandContext context;
  for (const auto add : {add_ablate, add_finetune, add_pretrain, add_evaluate, add_generate, add_forward, add_merge,
                         add_unload, add_convert, add_plan, add_report, add_reproduce, add_inspect, add_tokenize})
    add(program, context);
  try {
    program.parse(argc, argv);
  } catch (const CLI::CallForHelp&) {
    std::cout << program.help();  // of the subcommand, if one was given
    return 0;
  } catch (const CLI::CallForVersion& version) {
    std::cout << version.what() << '\n';
    return 0;
  } catch (const CLI::ParseError& error) {
    fmt::print(stderr, "osteon: {}\nosteon --help lists the subcommands and options\n",
               parse_error_text(program, error, argc, argv));
    return 2;
  }
  check<ConfigError>(context.shared || mpi::size() == 1, program.get_subcommands().front()->get_name(),
                     ": expected one process, got ", mpi::size(),
                     " ranks: each would do all the work and write the same files; ablate, finetune and pretrain share "
                     "theirs");
  return context.action();
}

/// Says why and gives the status. A rank that fails ends all; the others leave it to rank 0, which mostly failed alike.
int failed(const std::exception& error) {
  const bool own = dynamic_cast<const Error*>(&error) != nullptr;
  std::string text = (own ? "" : "unexpected error: ") + std::string(error.what());
  if (mpi::rank() > 0) {
    std::this_thread::sleep_for(std::chrono::seconds(1));
    text = join("rank ", mpi::rank(), ": ", text);
  }
  print_error(text);
  mpi::abort(1);
  return 1;
}

/// What was printed must have arrived: a full disk behind `>` is an error like any other.
int after_printing(int status) {
  std::cout.flush();
  if (status != 0 || (std::cout.good() && std::fflush(stdout) == 0 && std::ferror(stdout) == 0))
    return status;
  print_error(join("standard output: expected to be written, got ", std::strerror(errno)));
  return 1;
}

}  // namespace

}  // namespace osteon::experiments

int main(int argc, char** argv) {
  osteon::limit_spinning(argv);
  std::signal(SIGXFSZ, SIG_IGN);  // a file beyond the limit (ulimit -f) is an error that names it
  try {
    const osteon::experiments::mpi::Session session;
    try {
      return osteon::experiments::after_printing(osteon::experiments::run_program(argc, argv));
    } catch (const std::exception& error) {
      return osteon::experiments::failed(error);
    }
  } catch (const std::exception& error) {  // there is no MPI to open
    return osteon::experiments::failed(error);
  }
}
