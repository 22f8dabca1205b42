#pragma once

#include "backends/device.hpp"
#include "backends/error.hpp"
#include "backends/random.hpp"

namespace osteon {

/// Where random ops (dropout) of this thread take their streams: the trainer sets the key once a batch, every op
/// takes the next stream. Kept and put back by activation checkpointing, so that a mask is drawn again as it was.
struct RandomState {
  RandomKey key;
  std::uint64_t next = 0;
  /// Rows (of one token) of the whole batch that lie before, at other processes: masks go by the place in the whole.
  std::int64_t first_row = 0;
};

inline RandomState& random_state() {
  thread_local RandomState state;
  return state;
}

/// Throws Error where a graph is captured: its replays would draw the same numbers again.
inline RandomKey next_random_key() {
  check<Error>(!capturing(), "dropout draws other masks in each step");
  return random_state().key.split(random_state().next++);
}

}  // namespace osteon
