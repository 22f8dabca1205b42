#include "backends/cuda/emulation/engine.hpp"

#include <algorithm>
#include <numeric>
#include <random>
#include <string_view>
#include <utility>
#include <vector>

#include "backends/cuda/emulation/threads.hpp"

namespace osteon::cuda::emulation {
namespace {

dim3 index_in(const dim3& extents, unsigned linear) {
  return {linear % extents.x, linear / extents.x % extents.y, linear / extents.x / extents.y};
}
unsigned size_of(const dim3& extents) { return extents.x * extents.y * extents.z; }

void run_thread() {
  Engine& e = engine();
  try {
    if (!e.cancelling)
      (*e.body)();
  } catch (const Cancelled&) {
  } catch (...) {
    if (!e.failure)
      e.failure = std::current_exception();
  }
  e.states[now.thread] = State::finished;
  --e.unfinished;
}

/// Ends the threads that still wait, so that what lives on their stacks is destroyed.
void cancel() {
  Engine& e = engine();
  e.cancelling = true;
  for (unsigned i = 0; i < e.count; ++i)
    if (e.states[i] != State::finished) {
      make_current(i);
      e.current->fiber.resume();
    }
  e.cancelling = false;
}

std::vector<unsigned> ordered(unsigned count, Order order, std::minstd_rand& draws) {
  std::vector<unsigned> items(count);
  std::iota(items.begin(), items.end(), 0U);
  if (order == Order::reverse)
    std::reverse(items.begin(), items.end());
  else if (order == Order::random)
    std::shuffle(items.begin(), items.end(), draws);
  return items;
}

void run_block(Order order, std::minstd_rand& draws) {
  Engine& e = engine();
  e.arrived = 0;
  std::fill(e.warp_waiting.begin(), e.warp_waiting.end(), 0U);
  ++now.epoch;
  now.block_begin = now.epoch;
  for (unsigned i = 0; i < e.count; ++i) {
    e.threads[i]->fiber.start(run_thread);
    e.states[i] = State::ready;
  }
  e.turns = ordered(e.count, order, draws);
  for (e.unfinished = e.count; e.unfinished > 0;) {
    e.turn = 0;
    if (!next_turn()) {
      now.thread = kNoThread;
      fail_kernel(describe_deadlock());
    }
    do {
      e.current->fiber.resume();  // until a thread has ended, or the round
      if (e.failure)
        return;
    } while (next_turn());
    if (order == Order::random)
      std::shuffle(e.turns.begin(), e.turns.end(), draws);
  }
}

}  // namespace

void block_barrier(Site site) {
  Engine& e = engine();
  e.current->site = site;
  if (++e.arrived < e.count) {
    wait(State::at_barrier);
    return;
  }
  for (unsigned i = 0; i < e.count; ++i) {
    const Site& other = e.threads[i]->site;
    if (other.line != site.line || (other.file != site.file && std::string_view(other.file) != site.file))
      fail_kernel(join("__syncthreads at ", text_of(site), " while ", describe(i)));
    e.states[i] = State::ready;
  }
  e.arrived = 0;
  ++now.epoch;
}

void run_grid(const Launch& launch, Order order, const std::function<void()>& body) {
  Engine& e = engine();
  check<Error>(e.launch == nullptr, "kernel '", launch.kernel, "': launched by a kernel");
  e.launch = &launch;
  e.body = &body;
  e.count = size_of(launch.block);
  while (e.threads.size() < e.count)
    e.threads.push_back(std::make_unique<Thread>());
  e.states.resize(e.count, State::finished);
  for (unsigned i = 0; i < e.count; ++i)
    e.threads[i]->index = index_in(launch.block, i);
  e.warp_epochs.resize(std::max<std::size_t>(e.warp_epochs.size(), e.count / kWarpSize + 1));
  e.warp_waiting.resize(e.count / kWarpSize + 1);
  blockDim = launch.block;
  gridDim = launch.grid;
  now.shared_bytes = launch.shared_bytes;
  std::minstd_rand draws;
  const auto finish = [&] {
    cancel();
    e.launch = nullptr;
    return std::exchange(e.failure, nullptr);
  };
  try {
    for (const unsigned block : ordered(size_of(launch.grid), order, draws)) {
      blockIdx = index_in(launch.grid, block);
      run_block(order, draws);
      if (e.failure)
        break;
    }
  } catch (...) {
    finish();
    throw;
  }
  if (const std::exception_ptr failure = finish())
    std::rethrow_exception(failure);
}

}  // namespace osteon::cuda::emulation
