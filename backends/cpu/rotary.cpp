#include "backends/kernels/rotary.hpp"

#include "backends/check.hpp"
#include "backends/cpu/parallel.hpp"
#include "backends/cpu/simd.hpp"

namespace osteon::kernels {

using namespace cpu;

void rotary(Cpu, ConstView x, ConstView table, ConstView positions, bool inverse, Sink y) {
  check(x.shape.rank() == 4, "rotary: x: expected [batch, seq_len, heads, head_dim], got ", x.shape);
  const std::int64_t batch = x.dim(0), seq_len = x.dim(1), heads = x.dim(2), head_dim = x.dim(3), half = head_dim / 2;
  check(head_dim % 2 == 0, "rotary: x: expected an even head_dim, got ", x.shape);
  check(table.shape.rank() == 3, "rotary: table: expected [max_positions, 2, head_dim/2], got ", table.shape);
  const std::int64_t max_positions = table.dim(0);
  expect_shape("rotary", "table", table, {max_positions, 2, half});
  expect_like("rotary", "y", y.view, x);
  const std::int32_t* position = nullptr;
  if (positions) {
    expect_numel("rotary", "positions", positions, batch * seq_len);
    expect_dtype("rotary", "positions", positions, DType::i32);
    position = positions.as<std::int32_t>();
    for (std::int64_t n = 0; n < batch * seq_len; ++n)
      check<IndexError>(0 <= position[n] && position[n] < max_positions,
                        "rotary: positions: expected positions in [0, ", max_positions, "), got ", position[n], " at ",
                        n);
  } else {
    check<IndexError>(batch == 0 || seq_len <= max_positions, "rotary: table: expected at least ", seq_len,
                      " positions, got ", max_positions);
  }
  dispatch_floating(x.dtype, "rotary", [&](auto element) {
    dispatch_floating(table.dtype, "rotary", [&](auto table_element) {
      using T = decltype(element);
      using A = decltype(table_element);
      using C = compute_t<T>;
      const T* in = x.as<T>();
      const A* angles = table.as<A>();
      T* out = y.view.as<T>();
      const C sign = inverse ? C(-1) : C(1);
      dispatch_add(y.add, [&](auto add) {
        parallel_rows(batch * seq_len, heads * head_dim, [=](std::int64_t n) {
          const std::int64_t p = position != nullptr ? position[n] : n % seq_len;
          const A *cosine = angles + p * 2 * half, *sine = cosine + half;
          for (std::int64_t head = 0; head < heads; ++head) {
            const T* from = in + (n * heads + head) * head_dim;
            T* to = out + (n * heads + head) * head_dim;
#pragma omp simd
            for (std::int64_t j = 0; j < half; ++j) {  // both halves are read before either is written: y may be x
              const C a = load(from[j]), b = load(from[j + half]);
              const C c = static_cast<C>(cosine[j]), s = sign * static_cast<C>(sine[j]);
              store(to[j], a * c - b * s, add);
              store(to[j + half], b * c + a * s, add);
            }
          }
        });
      });
    });
  });
}

}  // namespace osteon::kernels
