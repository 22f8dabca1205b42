#pragma once

#include "backends/device.hpp"
#include "backends/random.hpp"
#include "backends/view.hpp"

namespace osteon::kernels {

/// y (+)= x * mask / (1 - p): element i is kept where uniform number first + i of `key` is at least p. The backward is
/// the same call on the gradient: the mask is never stored.
void dropout(Cpu, ConstView x, double p, RandomKey key, Sink y, std::int64_t first = 0);
void dropout(Cuda, ConstView x, double p, RandomKey key, Sink y, std::int64_t first = 0);
/// Element i of the stream, uniform in [low, high) before it is rounded to y's dtype.
void fill_uniform(Cpu, View y, double low, double high, RandomKey key);
void fill_uniform(Cuda, View y, double low, double high, RandomKey key);
/// Box-Muller on pairs of the stream: normal with the given mean and standard deviation.
void fill_normal(Cpu, View y, double mean, double deviation, RandomKey key);
void fill_normal(Cuda, View y, double mean, double deviation, RandomKey key);

}  // namespace osteon::kernels
