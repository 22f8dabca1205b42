#pragma once

#include "backends/device.hpp"
#include "backends/view.hpp"

namespace osteon::kernels {

/// Rows of softmax cross-entropy, target -100 = ignored. logits [n, vocab_size] in the accumulator dtype, targets [n]
/// i32, losses [n] f64 gets -log softmax(logits)[target] (0 where ignored).
/// dlogits [n, vocab_size], any floating dtype, if given: factor * (softmax - onehot), rows of ignored targets 0; it
/// may lie in the logits' memory, in no wider dtype. IndexError for a target outside [0, vocab_size) other than -100.
void cross_entropy(Cpu, ConstView logits, ConstView targets, Factor factor, View losses, View dlogits);
void cross_entropy(Cuda, ConstView logits, ConstView targets, Factor factor, View losses, View dlogits);

}  // namespace osteon::kernels
