#pragma once

#include <chrono>
#include <cstdint>
#include <string>

namespace osteon::experiments {

/// What a long run shows while it works, on stderr: one bar that is drawn over on a terminal, in one row of it;
/// elsewhere a plain line ten times a run. Says nothing where `quiet`.
class Progress {
 public:
  Progress(std::string title, std::int64_t total, bool quiet = false);
  ~Progress();
  Progress(const Progress&) = delete;
  Progress& operator=(const Progress&) = delete;

  /// `done` of the total is finished; `status` is shown behind the bar ("loss 1.23  4,100 tok/s  123 MiB").
  void show(std::int64_t done, const std::string& status);

 private:
  std::string line(std::int64_t done, const std::string& text) const;

  std::string title_;
  std::int64_t total_, shown_tenth_ = -1, first_ = -1;
  bool quiet_, terminal_, drawn_ = false;
  std::chrono::steady_clock::time_point start_, last_drawn_;
};

/// "1 h 02 min", "3 min 20 s", "12 s".
std::string duration_text(double seconds);

}  // namespace osteon::experiments
