#include <algorithm>
#include <array>
#include <bit>

#include "backends/cuda/emulation/threads.hpp"

namespace osteon::cuda::emulation {
namespace {

void require_lanes(unsigned mask, WarpOp op) {
  const Engine& e = engine();
  const unsigned lane = now.thread % kWarpSize, first = now.thread - lane;
  const unsigned there = std::min(e.count - first, kWarpSize);
  if ((mask >> lane & 1U) == 0)
    fail_kernel(join(name_of(op), ": mask ", hex(mask), " leaves out the lane that calls, ", lane));
  if (there < kWarpSize && mask >> there != 0)
    fail_kernel(
        join(name_of(op), ": mask ", hex(mask), " names lanes that the warp of ", there, " threads does not have"));
}

/// What a lane brings to a collective.
struct Part {
  void* of_lane;
  Together together;
};

/// The results of an operation at which all lanes of `mask` have arrived; `warp` is its first thread.
void exchange(WarpOp op, unsigned mask, unsigned warp) {
  Engine& e = engine();
  e.warp_waiting[warp / kWarpSize] &= ~mask;
  std::array<std::uint64_t, kWarpSize> values{};
  unsigned ballot = 0;
  for (unsigned lane = 0; lane < kWarpSize; ++lane)
    if ((mask >> lane & 1U) != 0) {
      values[lane] = e.threads[warp + lane]->value;
      ballot |= static_cast<unsigned>(values[lane] != 0) << lane;
    }
  for (unsigned lane = 0; lane < kWarpSize; ++lane) {
    if ((mask >> lane & 1U) == 0)
      continue;
    Thread& t = *e.threads[warp + lane];
    e.states[warp + lane] = State::ready;
    if (op == WarpOp::ballot)
      t.value = ballot;
    if (op == WarpOp::ballot || op == WarpOp::sync || op == WarpOp::collective)
      continue;
    const int self = static_cast<int>(lane);
    int from = op == WarpOp::shuffle        ? t.operand
               : op == WarpOp::shuffle_up   ? self - t.operand
               : op == WarpOp::shuffle_down ? self + t.operand
                                            : self ^ t.operand;
    if ((op == WarpOp::shuffle_up || op == WarpOp::shuffle_down) && (from < 0 || from >= static_cast<int>(kWarpSize)))
      from = self;  // beyond the warp a lane keeps its own
    if (from < 0 || from >= static_cast<int>(kWarpSize) || (mask >> from & 1U) == 0)
      fail_kernel(join(name_of(op), ": lane ", lane, " reads lane ", from, ", which mask ", hex(mask), " leaves out"));
    t.value = values[static_cast<std::size_t>(from)];
  }
}

/// Whether `other` waits for the lanes that the current thread waits for.
bool joins(unsigned other) {
  const Thread &self = *engine().current, &t = *engine().threads[other];
  if (t.mask != self.mask)
    return false;
  if (t.op != self.op || t.site.line != self.site.line)
    fail_kernel(join(name_of(self.op), " at ", text_of(self.site), " while ", describe(other)));
  return true;
}

bool all_join() {
  const unsigned mask = engine().current->mask, warp = now.thread / kWarpSize * kWarpSize;
  for (unsigned lane = 0; lane < kWarpSize; ++lane)
    if ((mask >> lane & 1U) != 0 && !joins(warp + lane))
      return false;
  return true;
}

/// What the last lane to arrive does for all. Its frame is not that of the many which wait.
[[gnu::noinline]] void complete() {
  Engine& e = engine();
  const Thread& self = *e.current;
  const unsigned warp = now.thread / kWarpSize * kWarpSize;
  if (self.op == WarpOp::collective) {
    const auto part_of = [](std::uint64_t at) { return reinterpret_cast<const Part*>(at); };  // NOLINT: an address
    std::array<void*, kWarpSize> of_lanes{};
    for (unsigned other = 0; other < kWarpSize; ++other)
      of_lanes[other] = part_of(e.threads[warp + other]->value)->of_lane;
    part_of(self.value)->together(of_lanes.data());
  }
  exchange(self.op, self.mask, warp);
  if (self.op == WarpOp::sync && static_cast<unsigned>(std::popcount(self.mask)) == std::min(e.count - warp, kWarpSize))
    now.warp_epoch = ++e.warp_epochs[warp / kWarpSize];
}

}  // namespace

std::uint64_t warp_operation(WarpOp op, unsigned mask, std::uint64_t value, int operand, Site site) {
  Engine& e = engine();
  require_lanes(mask, op);
  Thread& self = *e.current;
  self.site = site;
  self.op = op;
  self.mask = mask;
  self.operand = operand;
  self.value = value;
  const unsigned lane = now.thread % kWarpSize, warp = now.thread - lane;
  const unsigned waiting = (e.warp_waiting[warp / kWarpSize] |= 1U << lane) & mask;
  // Who comes early looks at one of the others, the last one at all.
  if (!joins(warp + static_cast<unsigned>(std::countr_zero(waiting))) || waiting != mask || !all_join())
    wait(State::in_warp_operation);
  else
    complete();
  return self.value;
}

void warp_collective(void* of_lane, Together together, Site site) {
  const Part part{of_lane, together};
  warp_operation(WarpOp::collective, ~0U, reinterpret_cast<std::uint64_t>(&part), 0, site);
}

}  // namespace osteon::cuda::emulation
