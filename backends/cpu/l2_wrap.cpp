#include "backends/kernels/l2_wrap.hpp"

#include <algorithm>

#include "backends/check.hpp"
#include "backends/cpu/parallel.hpp"
#include "backends/cpu/simd.hpp"

namespace osteon::kernels {

void l2_wrap_backward(Cpu, ConstView logits, double factor, Sink dlogits) {
  const std::int64_t rows = logits.rows(), columns = logits.cols();
  expect_like("l2_wrap_backward", "dlogits", dlogits.view, logits);
  check(columns > 0, "l2_wrap_backward: logits: expected at least one column, got shape ", logits.shape);
  dispatch_floating(logits.dtype, "l2_wrap_backward", [&](auto element) {
    using T = decltype(element);
    using C = compute_t<T>;
    const T* in = logits.as<T>();
    T* out = dlogits.view.as<T>();
    cpu::parallel_rows(rows, columns, [=, add = dlogits.add](std::int64_t row) {
      const T* x = in + row * columns;
      T* to = out + row * columns;
      const T* largest =
          std::max_element(x, x + columns, [](const T& a, const T& b) { return cpu::load(a) < cpu::load(b); });
      const C value = cpu::load(*largest) * static_cast<C>(factor);
      if (!add)
        std::fill_n(to, columns, T{});
      cpu::store(to[largest - x], value, add);
    });
  });
}

}  // namespace osteon::kernels
