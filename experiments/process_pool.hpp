#pragma once

#include <cstdint>
#include <deque>
#include <filesystem>
#include <functional>
#include <map>
#include <string>
#include <sys/types.h>
#include <vector>

namespace osteon::experiments {

/// Runs programs, a fixed number at a time. When `should_stop` says so, running ones get SIGINT, waiting ones are
/// dropped. Not thread safe: everything happens in add() and wait().
class ProcessPool {
 public:
  /// Called with the exit status of a finished program (128 + signal if one ended it).
  using Finished = std::function<void(int status)>;

  ProcessPool(std::int64_t at_a_time, std::function<bool()> should_stop);
  ~ProcessPool();  ///< stops and waits for what still runs
  ProcessPool(const ProcessPool&) = delete;
  ProcessPool& operator=(const ProcessPool&) = delete;

  /// Queues a program; what it prints goes to `log`.
  void add(std::vector<std::string> command, std::filesystem::path log, Finished finished);
  /// Returns when all have ended.
  void wait();
  bool stopping() const { return stopping_; }

 private:
  struct Job {
    std::vector<std::string> command;
    std::filesystem::path log;
    Finished finished;
  };
  void start(Job job);
  void reap_one();
  void stop();

  std::int64_t at_a_time_;
  std::function<bool()> should_stop_;
  std::deque<Job> waiting_;
  std::map<pid_t, Finished> running_;
  bool stopping_ = false;
};

}  // namespace osteon::experiments
