#include "experiments/training/progress.hpp"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <fmt/format.h>
#include <sys/ioctl.h>
#include <unistd.h>

namespace osteon::experiments {
namespace {

constexpr int kBarWidth = 24;
constexpr double kRedrawSeconds = 0.1;

double seconds_since(std::chrono::steady_clock::time_point start) {
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

/// Where stderr is closed or full the line is lost, not the run.
void print(const std::string& text) {
  std::fputs(text.c_str(), stderr);
  std::fflush(stderr);
}

/// Of the terminal; many where it does not say.
std::size_t columns() {
  winsize size{};
  return ioctl(STDERR_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 1 ? size.ws_col : 1000;
}

}  // namespace

std::string duration_text(double seconds) {
  const auto whole = static_cast<std::int64_t>(std::llround(std::max(0.0, seconds)));
  if (whole >= 3600)
    return fmt::format("{} h {:02} min", whole / 3600, whole % 3600 / 60);
  if (whole >= 60)
    return fmt::format("{} min {:02} s", whole / 60, whole % 60);
  return fmt::format("{} s", whole);
}

Progress::Progress(std::string title, std::int64_t total, bool quiet)
    : title_(std::move(title)),
      total_(std::max<std::int64_t>(1, total)),
      quiet_(quiet),
      terminal_(isatty(STDERR_FILENO) == 1),
      start_(std::chrono::steady_clock::now()) {}

Progress::~Progress() {
  if (drawn_)
    print("\n");
}

/// One row: a line that wraps could not be drawn over. What there is no room for is the bar, then the title, then the
/// end of the text.
std::string Progress::line(std::int64_t done, const std::string& text) const {
  const std::size_t room = columns() - 1, plain = title_.size() + 1 + text.size();
  if (plain > room)
    return text.substr(0, room);
  if (plain + kBarWidth + 1 > room)
    return title_ + " " + text;
  const auto filled = static_cast<std::size_t>(kBarWidth * done / total_);
  std::string bar;
  for (std::size_t i = 0; i < kBarWidth; ++i)
    bar += i < filled ? "█" : "░";
  return title_ + " " + bar + " " + text;
}

void Progress::show(std::int64_t done, const std::string& status) {
  if (quiet_)
    return;
  if (first_ < 0)
    first_ = done - 1;  // a resumed run begins in the middle: its pace counts from there
  const double elapsed = seconds_since(start_);
  const double left =
      done > first_ ? elapsed * static_cast<double>(total_ - done) / static_cast<double>(done - first_) : 0;
  const std::string left_text = done < total_ ? duration_text(left) + " left" : duration_text(elapsed);
  if (terminal_) {
    if (drawn_ && done < total_ && seconds_since(last_drawn_) < kRedrawSeconds)
      return;
    print("\r\x1b[2K" + line(done, fmt::format("{}/{}  {}  {}", done, total_, status, left_text)));
    drawn_ = true;
    last_drawn_ = std::chrono::steady_clock::now();
    return;
  }
  const std::int64_t tenth = done * 10 / total_;
  if (tenth == shown_tenth_)
    return;
  shown_tenth_ = tenth;
  print(fmt::format("{} {}/{}  {}  {}\n", title_, done, total_, status, left_text));
}

}  // namespace osteon::experiments
