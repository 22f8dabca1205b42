#include "backends/cuda/emulation/threads.hpp"

#include <algorithm>
#include <array>
#include <sstream>

namespace osteon::cuda::emulation {

void wait(State state) {
  Engine& e = engine();
  e.states[now.thread] = state;
  if (next_turn())  // straight to it: the way through who began the round would be a second switch
    Fiber::pass_to(e.current->fiber);
  else
    Fiber::suspend();
  if (e.cancelling)
    throw Cancelled{};
}

std::string text_of(const dim3& index) { return join("(", index.x, ", ", index.y, ", ", index.z, ")"); }
std::string text_of(const Site& site) {
  const std::string path = site.file;
  return join(path.substr(path.rfind('/') + 1), ":", site.line);
}
const char* name_of(WarpOp op) {
  constexpr std::array<const char*, 7> names = {"__syncwarp",
                                                "__shfl_sync",
                                                "__shfl_up_sync",
                                                "__shfl_down_sync",
                                                "__shfl_xor_sync",
                                                "__ballot_sync",
                                                "an instruction of the warp"};
  return names[static_cast<std::size_t>(op)];
}
std::string hex(unsigned mask) {
  std::ostringstream text;
  text << "0x" << std::hex << mask;
  return text.str();
}

std::string describe(unsigned thread) {
  const Engine& e = engine();
  const Thread& t = *e.threads[thread];
  const std::string who = join("thread ", text_of(t.index));
  switch (e.states[thread]) {
    case State::at_barrier:
      return join(who, " waits at __syncthreads, ", text_of(t.site));
    case State::in_warp_operation:
      return join(who, " waits at ", name_of(t.op), " with mask ", hex(t.mask), ", ", text_of(t.site));
    case State::finished:
      return who + " has returned";
    default:
      return who + " runs";
  }
}

std::string describe_deadlock() {
  const Engine& e = engine();
  std::vector<unsigned> examples;
  for (unsigned i = 0; i < e.count; ++i) {
    const auto same = [&](unsigned other) {
      const Thread &a = *e.threads[i], &b = *e.threads[other];
      return e.states[i] == e.states[other] &&
             (e.states[i] == State::finished || (a.site.line == b.site.line && a.mask == b.mask));
    };
    if (std::none_of(examples.begin(), examples.end(), same))
      examples.push_back(i);
  }
  std::string text = "its threads wait for each other for ever: ";
  for (std::size_t i = 0; i < std::min<std::size_t>(examples.size(), 4); ++i)
    text += (i == 0 ? "" : "; ") + describe(examples[i]);
  return text;
}

void fail_kernel(const std::string& what) {
  const Engine& e = engine();
  if (e.launch == nullptr)
    throw KernelError(what);
  std::string where = join("kernel '", e.launch->kernel, "', block ", text_of(blockIdx));
  if (now.thread != kNoThread)
    where += ", thread " + text_of(threadIdx);
  throw KernelError(where + ": " + what);
}

}  // namespace osteon::cuda::emulation
