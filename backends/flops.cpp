#include "backends/flops.hpp"

#include <numeric>

#include "backends/trace.hpp"

namespace osteon {
namespace {

struct Counter {
  Work work = Work::base;
  Pass pass = Pass::forward;
  std::array<FlopCount, kDevices> counts;

  FlopCount& of(Device device) { return counts[static_cast<std::size_t>(device)]; }
};

Counter& counter() {
  thread_local Counter one;
  return one;
}

}  // namespace

std::string_view name_of(Work work) {
  constexpr std::array<std::string_view, kWorks.size()> names = {"base", "adapter", "attention", "recurrence", "head"};
  return names[static_cast<std::size_t>(work)];
}

double FlopCount::total(Pass pass) const {
  const auto& all = flops[static_cast<std::size_t>(pass)];
  return std::accumulate(all.begin(), all.end(), 0.0);
}

FlopCount flop_count(Device device) { return counter().of(device); }
void reset_flop_count(Device device) { counter().of(device) = {}; }

void count_flops(Device device, double flops) {
  Counter& now = counter();
  now.of(device).flops[static_cast<std::size_t>(now.pass)][static_cast<std::size_t>(now.work)] += flops;
  if (tracing() && device != Device::meta)
    detail::trace_recorder->count_flops(flops);
}

CountAs::CountAs(Work work) : work_before_(counter().work), pass_before_(counter().pass) { counter().work = work; }
CountAs::CountAs(Pass pass) : work_before_(counter().work), pass_before_(counter().pass) { counter().pass = pass; }
CountAs::~CountAs() {
  counter().work = work_before_;
  counter().pass = pass_before_;
}

Work CountAs::work() { return counter().work; }
Pass CountAs::pass() { return counter().pass; }

}  // namespace osteon
