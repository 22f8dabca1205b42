#include "experiments/sweep/process_pool.hpp"

#include <algorithm>
#include <array>
#include <cerrno>
#include <chrono>
#include <csignal>
#include <cstring>
#include <fcntl.h>
#include <spawn.h>
#include <string_view>
#include <sys/wait.h>
#include <thread>
#include <unistd.h>

#include "backends/error.hpp"

extern char** environ;  // NOLINT: POSIX's own name

namespace osteon::experiments {
namespace {

constexpr auto kPoll = std::chrono::milliseconds(5);

/// Without what tells a program that it is a rank.
std::vector<char*> environment_of_children() {
  std::vector<char*> kept;
  for (char** entry = environ; *entry != nullptr; ++entry) {
    const std::string_view text = *entry;
    const std::array<std::string_view, 6> launchers = {"OMPI_", "PMIX_", "PMI_", "PRTE_", "MV2_", "SLURM_PMI"};
    if (std::none_of(launchers.begin(), launchers.end(), [&](auto prefix) { return text.starts_with(prefix); }))
      kept.push_back(*entry);
  }
  kept.push_back(nullptr);
  return kept;
}

}  // namespace

LocalHost::~LocalHost() {
  LocalHost::stop();
  for (const auto& [process, id] : running_)
    waitpid(process, nullptr, 0);
}

void LocalHost::start(std::int64_t id, const std::vector<std::string>& command, const std::filesystem::path& log) {
  std::vector<std::string> own = command;
  std::replace(own.begin(), own.end(), std::string(kParent), std::to_string(getpid()));
  std::vector<char*> words;
  for (std::string& word : own)
    words.push_back(word.data());
  words.push_back(nullptr);
  posix_spawn_file_actions_t files;
  posix_spawn_file_actions_init(&files);
  const int flags = O_WRONLY | O_CREAT | O_TRUNC;
  posix_spawn_file_actions_addopen(&files, STDOUT_FILENO, log.c_str(), flags, 0644);
  posix_spawn_file_actions_adddup2(&files, STDOUT_FILENO, STDERR_FILENO);
  pid_t process = 0;
  const int error = posix_spawn(&process, words[0], &files, nullptr, words.data(), environment_of_children().data());
  posix_spawn_file_actions_destroy(&files);
  check<Error>(error == 0, command[0], ": cannot be started: ", std::strerror(error));
  running_[process] = id;
}

std::optional<ProgramHost::Ended> LocalHost::ended() {
  int state = 0;
  for (auto it = running_.begin(); it != running_.end(); ++it) {
    const pid_t ended = waitpid(it->first, &state, WNOHANG);
    if (ended == 0)
      continue;
    const int status = ended < 0 ? 127 : WIFEXITED(state) ? WEXITSTATUS(state) : 128 + WTERMSIG(state);
    const std::int64_t id = it->second;
    running_.erase(it);
    return Ended{id, status};
  }
  return std::nullopt;
}

void LocalHost::stop() {
  for (const auto& [process, id] : running_)
    kill(process, SIGTERM);  // SIGINT is ignored below a script that runs in the background
}

ProcessPool::ProcessPool(std::int64_t at_a_time, std::function<bool()> should_stop, std::int64_t most_bytes,
                         std::vector<std::unique_ptr<ProgramHost>> others)
    : at_a_time_(std::max<std::int64_t>(1, at_a_time)), most_bytes_(most_bytes), should_stop_(std::move(should_stop)) {
  hosts_.push_back({std::make_unique<LocalHost>(), {}, 0});
  for (auto& other : others)
    hosts_.push_back({std::move(other), {}, 0});
}

ProcessPool::~ProcessPool() { stop(); }

void ProcessPool::add(std::vector<std::string> command, std::filesystem::path log, Finished finished,
                      std::int64_t bytes) {
  waiting_.push_back({std::move(command), std::move(log), std::move(finished), bytes});
}

bool ProcessPool::fits(const Host& host, const Job& job) const {
  return host.running.empty() || most_bytes_ == 0 || host.used_bytes + job.bytes <= most_bytes_;
}

void ProcessPool::fill(Host& host) {
  while (static_cast<std::int64_t>(host.running.size()) < at_a_time_) {
    const auto next = std::find_if(waiting_.begin(), waiting_.end(), [&](const Job& job) { return fits(host, job); });
    if (next == waiting_.end())
      return;
    Job job = std::move(*next);
    waiting_.erase(next);
    host.host->start(next_id_, job.command, job.log);
    host.running[next_id_++] = {std::move(job.finished), job.bytes};
    host.used_bytes += job.bytes;
  }
}

bool ProcessPool::reap_one(Host& host) {
  const auto ended = host.host->ended();
  if (!ended)
    return false;
  const auto found = host.running.find(ended->id);
  const Running done = std::move(found->second);
  host.running.erase(found);
  host.used_bytes -= done.bytes;
  done.finished(ended->status);
  return true;
}

void ProcessPool::stop() {
  if (stopping_)
    return;
  stopping_ = true;
  waiting_.clear();
  for (const Host& host : hosts_)
    if (!host.running.empty())
      host.host->stop();
}

void ProcessPool::wait() {
  const auto busy = [&] {
    return std::any_of(hosts_.begin(), hosts_.end(), [](const Host& host) { return !host.running.empty(); });
  };
  while (!waiting_.empty() || busy()) {
    if (should_stop_ && should_stop_() && !stopping_)
      stop();
    bool reaped = false;
    for (Host& host : hosts_) {
      fill(host);
      reaped = reap_one(host) || reaped;
    }
    if (!reaped)
      std::this_thread::sleep_for(kPoll);
  }
}

}  // namespace osteon::experiments
