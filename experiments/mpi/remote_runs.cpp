#include "experiments/mpi/remote_runs.hpp"

#include <chrono>
#include <thread>

#include "experiments/mpi/communicator.hpp"

namespace osteon::experiments::mpi {
namespace {

constexpr auto kPoll = std::chrono::milliseconds(5);

// What rank 0 says, the first word of its texts: "start" is followed by id, log and command.
const std::string kStart = "start", kStop = "stop", kClose = "close";

class RankHost final : public ProgramHost {
 public:
  explicit RankHost(std::int64_t rank) : rank_(rank) {}

  void start(std::int64_t id, const std::vector<std::string>& command, const std::filesystem::path& log) override {
    std::vector<std::string> words = {kStart, std::to_string(id), log.string()};
    words.insert(words.end(), command.begin(), command.end());
    send_text(rank_, packed(words));
  }
  std::optional<Ended> ended() override {
    const std::optional<std::string> text = poll_text(rank_);
    if (!text)
      return std::nullopt;
    const std::vector<std::string> words = unpacked(*text);
    return Ended{std::stoll(words.at(0)), std::stoi(words.at(1))};
  }
  void stop() override { send_text(rank_, packed({kStop})); }

 private:
  std::int64_t rank_;
};

}  // namespace

RemoteRuns::~RemoteRuns() {
  for (std::int64_t other = 1; other < size(); ++other)
    send_text(other, packed({kClose}));
}

std::vector<std::unique_ptr<ProgramHost>> other_ranks() {
  std::vector<std::unique_ptr<ProgramHost>> hosts;
  for (std::int64_t other = 1; other < size(); ++other)
    hosts.push_back(std::make_unique<RankHost>(other));
  return hosts;
}

void serve_runs(const std::function<bool()>& should_stop) {
  LocalHost here;
  for (;;) {
    if (should_stop())
      here.stop();
    if (const auto text = poll_text(0)) {
      const std::vector<std::string> words = unpacked(*text);
      if (words.at(0) == kClose)
        return;  // what still runs is stopped by `here`
      if (words.at(0) == kStop)
        here.stop();
      else
        here.start(std::stoll(words.at(1)), {words.begin() + 3, words.end()}, words.at(2));
    } else if (const auto ended = here.ended()) {
      send_text(0, packed({std::to_string(ended->id), std::to_string(ended->status)}));
    } else {
      std::this_thread::sleep_for(kPoll);
    }
  }
}

std::string packed(const std::vector<std::string>& words) {
  std::string text;
  for (const std::string& word : words)
    (text += word) += '\0';
  return text;
}

std::vector<std::string> unpacked(const std::string& text) {
  std::vector<std::string> words;
  for (std::size_t begin = 0, end = 0; (end = text.find('\0', begin)) != std::string::npos; begin = end + 1)
    words.push_back(text.substr(begin, end - begin));
  return words;
}

}  // namespace osteon::experiments::mpi
