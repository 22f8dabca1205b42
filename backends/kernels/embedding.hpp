#pragma once

#include "backends/device.hpp"
#include "backends/view.hpp"

namespace osteon::kernels {

/// y [n, h] = table [vocab_size, h] at ids [n] (i32). Throws IndexError naming the first id outside the table.
void embedding(Cpu, ConstView table, ConstView ids, View y);
void embedding(Cuda, ConstView table, ConstView ids, View y);
/// dtable [vocab_size, h] (+)= rows of dy [n, h] at ids, in order of n.
void embedding_backward(Cpu, ConstView dy, ConstView ids, Sink dtable);
void embedding_backward(Cuda, ConstView dy, ConstView ids, Sink dtable);

}  // namespace osteon::kernels
