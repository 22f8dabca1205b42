#pragma once

#include "backends/device.hpp"
#include "backends/view.hpp"

namespace osteon::kernels {

/// dlogits [n, vocab_size] (+)= factor * the largest logit of each row, at its place (the first one wins); 0 elsewhere.
void l2_wrap_backward(Cpu, ConstView logits, double factor, Sink dlogits);
void l2_wrap_backward(Cuda, ConstView logits, double factor, Sink dlogits);

}  // namespace osteon::kernels
