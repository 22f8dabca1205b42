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

/// Runs programs, a fixed number at a time, and, with a limit, only so many that their bytes fit it together; the first
/// that fits is next, and one that does not fit even alone runs alone. When `should_stop` says so, running ones get
/// SIGINT, waiting ones are dropped. Not thread safe: everything happens in add() and wait().
class ProcessPool {
 public:
  /// Called with the exit status of a finished program (128 + signal if one ended it).
  using Finished = std::function<void(int status)>;

  /// `most_bytes`: of all that run at once; 0 = no limit.
  ProcessPool(std::int64_t at_a_time, std::function<bool()> should_stop, std::int64_t most_bytes = 0);
  ~ProcessPool();  ///< stops and waits for what still runs
  ProcessPool(const ProcessPool&) = delete;
  ProcessPool& operator=(const ProcessPool&) = delete;

  /// Queues a program; what it prints goes to `log`.
  void add(std::vector<std::string> command, std::filesystem::path log, Finished finished, std::int64_t bytes = 0);
  /// Returns when all have ended.
  void wait();
  bool stopping() const { return stopping_; }

 private:
  struct Job {
    std::vector<std::string> command;
    std::filesystem::path log;
    Finished finished;
    std::int64_t bytes = 0;
  };
  struct Running {
    Finished finished;
    std::int64_t bytes = 0;
  };
  bool fits(const Job& job) const;
  void start(Job job);
  void reap_one();
  void stop();

  std::int64_t at_a_time_, most_bytes_, used_bytes_ = 0;
  std::function<bool()> should_stop_;
  std::deque<Job> waiting_;
  std::map<pid_t, Running> running_;
  bool stopping_ = false;
};

}  // namespace osteon::experiments
