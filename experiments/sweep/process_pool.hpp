#pragma once

#include <cstdint>
#include <deque>
#include <filesystem>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <sys/types.h>
#include <vector>

namespace osteon::experiments {

/// Somewhere programs run: here, or where another rank is (mpi/remote_runs.hpp).
class ProgramHost {
 public:
  struct Ended {
    std::int64_t id = 0;
    int status = 0;  ///< the exit status; 128 + signal if one ended it
  };
  virtual ~ProgramHost() = default;
  /// What it prints goes to `log`; of its words, kParent stands for the process that starts it.
  virtual void start(std::int64_t id, const std::vector<std::string>& command, const std::filesystem::path& log) = 0;
  /// One that has ended, each once, without waiting.
  virtual std::optional<Ended> ended() = 0;
  /// Tells all that run to end.
  virtual void stop() = 0;
};

inline constexpr const char* kParent = "{parent}";

/// Children of this process. They do not see by which launcher it was started: they are no ranks.
class LocalHost final : public ProgramHost {
 public:
  LocalHost() = default;
  ~LocalHost() override;  ///< stops and waits for what still runs
  LocalHost(const LocalHost&) = delete;
  LocalHost& operator=(const LocalHost&) = delete;
  void start(std::int64_t id, const std::vector<std::string>& command, const std::filesystem::path& log) override;
  std::optional<Ended> ended() override;
  void stop() override;

 private:
  std::map<pid_t, std::int64_t> running_;
};

/// Runs programs, a fixed number at a time on each host, and, with a limit, only so many that their bytes fit it
/// together there; the first that fits is next, and one that does not fit even alone runs alone. When `should_stop`
/// says so, running ones get SIGINT, waiting ones are dropped. Not thread safe: everything happens in add() and wait().
class ProcessPool {
 public:
  /// Called with the exit status of a finished program (128 + signal if one ended it).
  using Finished = std::function<void(int status)>;

  /// `most_bytes`: of all that run at once on a host; 0 = no limit. `others`: hosts besides this process.
  ProcessPool(std::int64_t at_a_time, std::function<bool()> should_stop, std::int64_t most_bytes = 0,
              std::vector<std::unique_ptr<ProgramHost>> others = {});
  ~ProcessPool();  ///< stops what still runs; waits for what runs here
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
  struct Host {
    std::unique_ptr<ProgramHost> host;
    std::map<std::int64_t, Running> running;  // by id
    std::int64_t used_bytes = 0;
  };
  bool fits(const Host& host, const Job& job) const;
  void fill(Host& host);
  /// Whether one had ended.
  bool reap_one(Host& host);
  void stop();

  std::int64_t at_a_time_, most_bytes_, next_id_ = 0;
  std::function<bool()> should_stop_;
  std::deque<Job> waiting_;
  std::vector<Host> hosts_;
  bool stopping_ = false;
};

}  // namespace osteon::experiments
