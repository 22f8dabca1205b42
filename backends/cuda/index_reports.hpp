#pragma once

#include "backends/device.hpp"

namespace osteon::cuda {

/// Asks for the memory of all reports, if nobody has: in a capture it could not be had.
void allocate_reports();

/// Looks at what kernels have reported to the index checks of this stream, all of whose work is done; throws what the
/// first failed check says. All of them are over then.
/// Those of captured graphs stay: each replay may report to them.
void throw_reported(Cuda device);

/// The graph that was captured on this stream is replayed no more: its checks are over with the default stream's next
/// synchronize(), where replays may still be running.
void release_reports(Cuda captured_on);

}  // namespace osteon::cuda
