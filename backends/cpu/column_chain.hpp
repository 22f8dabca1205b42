#pragma once

#include <algorithm>
#include <array>
#include <string_view>

#include "backends/check.hpp"
#include "backends/cpu/parallel.hpp"
#include "backends/cpu/simd.hpp"

namespace osteon::cpu {

/// out[j] (+)= sum over rows of term(row, row * d + j), one chain per column, columns in parallel: bit-equal for any
/// split of the rows.
template <class C, class F>
void column_chain(std::string_view op, std::int64_t rows, std::int64_t d, const Sink& sink, const F& term) {
  expect_numel(op, "out", sink.view, d);
  dispatch_floating(sink.view.dtype, op, [&](auto element) {
    using T = decltype(element);
    using Sum = decltype(C{} + load(element));
    constexpr std::int64_t kColumns = 64;  // running sums held at a time
    T* out = sink.view.as<T>();
    parallel_ranges(d, rows, kColumns, [=, add = sink.add](std::int64_t begin, std::int64_t end) {
      for (std::int64_t j0 = begin; j0 < end; j0 += kColumns) {
        const std::int64_t width = std::min(kColumns, end - j0);
        std::array<Sum, kColumns> chain{};
        if (add)
          for (std::int64_t j = 0; j < width; ++j)
            chain[static_cast<std::size_t>(j)] = static_cast<Sum>(out[j0 + j]);
        Sum* const c = chain.data();
        for (std::int64_t row = 0; row < rows; ++row) {
          const std::int64_t at = row * d + j0;
          if (width == kColumns) {
#pragma omp simd
            for (std::int64_t j = 0; j < kColumns; ++j)
              c[j] += static_cast<Sum>(term(row, at + j));
          } else {
#pragma omp simd
            for (std::int64_t j = 0; j < width; ++j)
              c[j] += static_cast<Sum>(term(row, at + j));
          }
        }
        for (std::int64_t j = 0; j < width; ++j)
          store(out[j0 + j], c[j]);
      }
    });
  });
}

}  // namespace osteon::cpu
