#pragma once

#include "backends/device.hpp"
#include "backends/view.hpp"

namespace osteon::cuda {

/// out (+)= parts[0] + parts[1] + ..., for parts [count, out's elements] of the type that products of `out` are summed
/// in. One after the other onto `out`, which is rounded after each: the bits are those of any split of the parts into
/// calls. The first is stored as it is where `out` is not added to.
void add_token_parts(Cuda device, ConstView parts, Sink out);

}  // namespace osteon::cuda
