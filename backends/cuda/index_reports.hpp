#pragma once

#include "backends/device.hpp"

namespace osteon::cuda {

/// Looks at what kernels have reported to the index checks of this stream, all of whose work is done; throws what the
/// first failed check says. All of them are over then.
void throw_reported(Cuda device);

}  // namespace osteon::cuda
