#include "experiments/process_pool.hpp"

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <csignal>
#include <cstring>
#include <fcntl.h>
#include <spawn.h>
#include <sys/wait.h>
#include <thread>

#include "backends/error.hpp"

extern char** environ;  // NOLINT: POSIX's own name

namespace osteon::experiments {
namespace {

constexpr auto kPoll = std::chrono::milliseconds(5);

}  // namespace

ProcessPool::ProcessPool(std::int64_t at_a_time, std::function<bool()> should_stop, std::int64_t most_bytes)
    : at_a_time_(std::max<std::int64_t>(1, at_a_time)), most_bytes_(most_bytes), should_stop_(std::move(should_stop)) {}

ProcessPool::~ProcessPool() {
  stop();
  for (const auto& [process, job] : running_)
    waitpid(process, nullptr, 0);
}

void ProcessPool::add(std::vector<std::string> command, std::filesystem::path log, Finished finished,
                      std::int64_t bytes) {
  waiting_.push_back({std::move(command), std::move(log), std::move(finished), bytes});
}

bool ProcessPool::fits(const Job& job) const {
  return running_.empty() || most_bytes_ == 0 || used_bytes_ + job.bytes <= most_bytes_;
}

void ProcessPool::start(Job job) {
  std::vector<char*> words;
  for (std::string& word : job.command)
    words.push_back(word.data());
  words.push_back(nullptr);
  posix_spawn_file_actions_t files;
  posix_spawn_file_actions_init(&files);
  const int flags = O_WRONLY | O_CREAT | O_TRUNC;
  posix_spawn_file_actions_addopen(&files, STDOUT_FILENO, job.log.c_str(), flags, 0644);
  posix_spawn_file_actions_adddup2(&files, STDOUT_FILENO, STDERR_FILENO);
  pid_t process = 0;
  const int error = posix_spawn(&process, words[0], &files, nullptr, words.data(), environ);
  posix_spawn_file_actions_destroy(&files);
  check<Error>(error == 0, job.command[0], ": cannot be started: ", std::strerror(error));
  running_[process] = {std::move(job.finished), job.bytes};
  used_bytes_ += job.bytes;
}

void ProcessPool::reap_one() {
  int state = 0;
  for (auto it = running_.begin(); it != running_.end(); ++it) {
    const pid_t ended = waitpid(it->first, &state, WNOHANG);
    if (ended == 0)
      continue;
    const Finished finished = std::move(it->second.finished);
    used_bytes_ -= it->second.bytes;
    running_.erase(it);
    const int status = ended < 0 ? 127 : WIFEXITED(state) ? WEXITSTATUS(state) : 128 + WTERMSIG(state);
    finished(status);
    return;
  }
  std::this_thread::sleep_for(kPoll);
}

void ProcessPool::stop() {
  if (stopping_)
    return;
  stopping_ = true;
  waiting_.clear();
  for (const auto& [process, job] : running_)
    kill(process, SIGTERM);  // SIGINT is ignored below a script that runs in the background
}

void ProcessPool::wait() {
  while (!waiting_.empty() || !running_.empty()) {
    if (should_stop_ && should_stop_() && !stopping_)
      stop();
    while (static_cast<std::int64_t>(running_.size()) < at_a_time_) {
      const auto next = std::find_if(waiting_.begin(), waiting_.end(), [&](const Job& job) { return fits(job); });
      if (next == waiting_.end())
        break;
      Job job = std::move(*next);
      waiting_.erase(next);
      start(std::move(job));
    }
    reap_one();
  }
}

}  // namespace osteon::experiments
