#pragma once

#include "backends/device.hpp"
#include "backends/view.hpp"

namespace osteon::kernels {

/// RWKV's token shift: every channel looks between its token and the one before.
///   y_t = x_t + (x_{t-1} - x_t) m_t,   m_t = mix + extra_t
/// x, extra (may be absent), y [batch, seq_len, d]; mix [d]; last [batch, d] = x_{-1}, absent = 0. One dtype.
void time_mix(Cpu, ConstView x, ConstView mix, ConstView extra, ConstView last, View y);
void time_mix(Cuda, ConstView x, ConstView mix, ConstView extra, ConstView last, View y);
/// dx_t (+)= dy_t (1 - m_t) + dy_{t+1} m_{t+1},  dextra (+)= dy_t (x_{t-1} - x_t),
/// dmix (+)= the sum of that over rows, in order. `last` is a constant.
void time_mix_backward(Cpu, ConstView dy, ConstView x, ConstView mix, ConstView extra, ConstView last, Sink dx,
                       Sink dmix, Sink dextra);
void time_mix_backward(Cuda, ConstView dy, ConstView x, ConstView mix, ConstView extra, ConstView last, Sink dx,
                       Sink dmix, Sink dextra);

}  // namespace osteon::kernels
