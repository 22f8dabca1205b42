#include "experiments/sweep/slurm.hpp"

#include <algorithm>
#include <array>
#include <cstdio>
#include <cstdlib>
#include <fmt/format.h>
#include <map>
#include <nlohmann/json.hpp>
#include <sstream>
#include <sys/wait.h>

#include "backends/error.hpp"
#include "experiments/measure/planner.hpp"
#include "experiments/sweep/fairness.hpp"
#include "experiments/training/tiny_models.hpp"
#include "nn/io/atomic_file.hpp"

namespace osteon::experiments {
namespace {

namespace fs = std::filesystem;

constexpr int kNotFound = 127;  // the shell's own status

/// A word for sh, bare where it may be.
std::string quoted(const std::string& word) {
  const auto plain = [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
           std::string_view("_-./:=,+").find(c) != std::string_view::npos;
  };
  if (!word.empty() && std::all_of(word.begin(), word.end(), plain))
    return word;
  std::string text = "'";
  for (const char c : word)
    text += c == '\'' ? "'\\''" : std::string(1, c);
  return text + "'";
}

struct Said {
  int status = 0;
  std::string text;
};

/// What one of Slurm's programs prints; status kNotFound where it is not in PATH.
Said ask(const std::string& program, const std::string& arguments) {
  const std::string command =
      fmt::format("command -v {} >/dev/null || exit {}; exec {} {}", program, kNotFound, program, arguments);
  FILE* pipe = popen(command.c_str(), "r");
  check<Error>(pipe != nullptr, program, ": cannot be started");
  Said said;
  std::array<char, 256> part{};
  while (std::fgets(part.data(), part.size(), pipe) != nullptr)
    said.text += part.data();
  const int state = pclose(pipe);
  said.status = WIFEXITED(state) ? WEXITSTATUS(state) : 128 + WTERMSIG(state);
  return said;
}

/// The largest plan of these runs, a quarter more, and 1 GiB for the program, data and scoring, which no plan counts. 0
/// where none can be planned: the run itself says why.
std::int64_t job_bytes(const std::vector<const SuiteRun*>& runs, std::int64_t threads) {
  std::map<std::size_t, std::int64_t> planned;  // by cell
  std::int64_t most = 0;
  for (const SuiteRun* run : runs)
    if (const auto [one, added] = planned.try_emplace(run->cell, 0); added) {
      try {
        one->second = plan_of(run->config, threads).needed_bytes();
      } catch (const Error&) {
        continue;
      }
      most = std::max(most, one->second);
    }
  return most == 0 ? 0 : most + most / 4 + (std::int64_t{1} << 30);
}

/// The array job. The runs' command lines are part of it: Slurm keeps its own copy of a script that was submitted.
std::string job_script(const std::vector<std::vector<std::string>>& commands, std::int64_t bytes,
                       const AblationOptions& options) {
  const std::string logs = fs::absolute(options.folder / "slurm").lexically_normal().string();
  check<ConfigError>(logs.find_first_of("\"\\%\n") == std::string::npos, "--out: with --slurm expected a path without ",
                     "\", \\, % and line ends, got ", logs);
  std::string text = fmt::format("#!/bin/sh\n#SBATCH --job-name=osteon\n#SBATCH --array=0-{}{}\n", commands.size() - 1,
                                 options.jobs > 0 ? fmt::format("%{}", options.jobs) : "");
  text += fmt::format("#SBATCH --cpus-per-task={}\n", options.threads);
  if (bytes > 0)
    text += fmt::format("#SBATCH --mem={}M\n", (bytes >> 20) + 1);
  text += fmt::format("#SBATCH --output=\"{}/%A_%a.log\"\n", logs);
  // A minute before its time is over a run saves and ends. It must not be started again by the same command line, which
  // would begin anew; the next `ablate` lets it go on.
  text += "#SBATCH --signal=B:TERM@60\n#SBATCH --no-requeue\n";
  for (const std::string& line : *options.slurm)
    text += "#SBATCH " + line + "\n";
  text += "cd " + quoted(fs::current_path().string()) + " || exit\n";
  for (const TinyModel& model : tiny_models())
    if (const char* base = std::getenv(model.variable))
      text += join("export ", model.variable, "=", quoted(base), "\n");
  text += "case $SLURM_ARRAY_TASK_ID in\n";
  for (std::size_t i = 0; i < commands.size(); ++i) {
    text += fmt::format("{}) exec", i);
    for (const std::string& word : commands[i])
      text += " " + quoted(word);
    text += " ;;\n";
  }
  return text + "esac\necho \"submit this script with sbatch\" >&2\nexit 1\n";
}

/// The job's number; empty where there is no sbatch.
std::string submit(const fs::path& script) {
  const Said said = ask("sbatch", "--parsable " + quoted(script.string()));
  if (said.status == kNotFound)
    return {};
  const std::string number = said.text.substr(0, said.text.find_first_not_of("0123456789"));  // "7" or "7;cluster"
  check<Error>(said.status == 0, "sbatch ended with status ", said.status, "; the script is ", script.string());
  check<Error>(!number.empty(), "sbatch: expected the number of a job, got ", said.text);
  return number;
}

}  // namespace

std::vector<std::string> slurm_option_lines(const std::string& text) {
  const std::string origin = "--slurm-options: ";
  check<ConfigError>(std::none_of(text.begin(), text.end(), [](unsigned char c) { return c < ' '; }), origin,
                     "expected one line, got a control character in '", text, "'");
  std::vector<std::string> lines;
  std::istringstream words(text);
  for (std::string word; words >> word;) {
    const std::string name = word.substr(0, word.find('='));
    if (word.front() != '-') {
      check<ConfigError>(!lines.empty(), origin, "expected an option such as --time=2:00:00, got ", word);
      lines.back() += " " + word;
      continue;
    }
    check<ConfigError>(!name.starts_with("--arr") && !word.starts_with("-a"), origin, name,
                       ": the array is that of the runs; --jobs says how many at a time");
    lines.push_back(word);
  }
  return lines;
}

void check_no_slurm_job(const fs::path& folder) {
  const fs::path file = folder / "slurm/job";
  if (!fs::exists(file))
    return;
  const std::string number = io::read_file(file);
  check<FileError>(!number.empty() && number.find_first_not_of("0123456789") == std::string::npos, file.string(),
                   ": expected the number of a job, got ", number);
  const Said said = ask("squeue", "--noheader --jobs=" + number + " 2>/dev/null");
  check<ConfigError>(said.status != 0 || said.text.empty(), folder.string(), ": job ", number,
                     " is still in Slurm's queue; wait for it, or end it with `scancel ", number, "`");
}

std::vector<std::optional<RunSummary>> submit_all(const Suite& suite, const std::vector<SuiteRun>& runs, RunKind kind,
                                                  const AblationOptions& options, AblationResult& result) {
  std::vector<std::optional<RunSummary>> summaries;
  std::vector<const SuiteRun*> left;
  for (const SuiteRun& run : runs) {
    const fs::path folder = run_folder(options.folder, kind, run);
    summaries.push_back(finished_run_of(folder, run.config));
    if (summaries.back()) {
      ++result.reused;
    } else if (const std::optional<std::string> why = failure_of(folder, run.config)) {
      ++result.failed;
      result.errors.push_back(run.id + ": " + *why);
    } else {
      left.push_back(&run);
    }
  }
  if (left.empty())
    return summaries;
  std::vector<std::vector<std::string>> commands;
  for (const SuiteRun* run : left) {
    commands.push_back(run_command(suite, *run, kind, options));
    commands.back()[0] = fs::read_symlink("/proc/self/exe").string();
  }
  const fs::path script = options.folder / "slurm/job.sh";
  fs::create_directories(script.parent_path());
  fs::remove(options.folder / "slurm/job");  // it has ended
  io::write_file_atomically(script, job_script(commands, job_bytes(left, options.threads), options));
  const std::string number = submit(script);
  if (!number.empty())
    io::write_file_atomically(options.folder / "slurm/job", number);
  result.submitted = SubmittedRuns{static_cast<std::int64_t>(left.size()), kind, number, script};
  return summaries;
}

std::string to_json(const SubmittedRuns& submitted) {
  return nlohmann::ordered_json{{"submitted", submitted.runs},
                                {"stage", submitted.kind == RunKind::sweep ? "sweep" : "final"},
                                {"job", submitted.job},
                                {"script", submitted.script.string()}}
      .dump();
}

}  // namespace osteon::experiments
