#include "backends/kernels/dora.hpp"

#include <algorithm>
#include <cmath>

namespace osteon::kernels {

void dora_row_norm(Cpu, ConstView base_norm_squared, ConstView wa, ConstView b, ConstView baa, double scaling,
                   View norm) {
  const std::int64_t out = norm.numel(), rank = b.cols();
  dispatch_floating(norm.dtype, "dora_row_norm", [&]<class T>(T) {
    const T *base = base_norm_squared.as<T>(), *pwa = wa.as<T>(), *pb = b.as<T>(), *pbaa = baa.as<T>();
    T* c = norm.as<T>();
#pragma omp parallel for schedule(static) if (out * rank > 16384)
    for (std::int64_t j = 0; j < out; ++j) {
      double square = static_cast<double>(base[j]);  // cancellation is harmless in f64
      for (std::int64_t l = 0; l < rank; ++l) {
        const std::int64_t i = j * rank + l;
        square += scaling * static_cast<double>(pb[i]) *
                  (2.0 * static_cast<double>(pwa[i]) + scaling * static_cast<double>(pbaa[i]));
      }
      c[j] = T(std::sqrt(std::max(square, 0.0)));
    }
  });
}

void dora_ratio(Cpu, ConstView magnitude, ConstView norm, View ratio) {
  dispatch_floating(norm.dtype, "dora_ratio", [&]<class T>(T) {
    const T *m = magnitude.as<T>(), *c = norm.as<T>();
    T* n = ratio.as<T>();
    for (std::int64_t j = 0; j < norm.numel(); ++j) {
      const double divisor = static_cast<double>(c[j]);
      n[j] = T(divisor == 0.0 ? 0.0 : static_cast<double>(m[j]) / divisor);
    }
  });
}

void dora_magnitude_gradient(Cpu, ConstView dy, ConstView u, ConstView norm, Sink dm) {
  const std::int64_t rows = dy.rows(), out = dy.cols();
  dispatch_floating(dy.dtype, "dora_magnitude_gradient", [&]<class T>(T) {
    using C = compute_t<T>;
    const T *pg = dy.as<T>(), *pu = u.as<T>();
    const C* c = norm.as<C>();
    C* gradient = dm.view.as<C>();
    constexpr std::int64_t kColumns = 64;  // one cache line of columns or more per thread, rows in order
#pragma omp parallel for schedule(static) if (rows * out > 16384)
    for (std::int64_t first = 0; first < out; first += kColumns) {
      const std::int64_t last = std::min(first + kColumns, out);
      C sums[kColumns], inverse[kColumns];
      for (std::int64_t j = first; j < last; ++j) {
        sums[j - first] = dm.add ? gradient[j] : C(0);
        inverse[j - first] = c[j] == C(0) ? C(0) : C(1) / c[j];
      }
      for (std::int64_t n = 0; n < rows; ++n)
        for (std::int64_t j = first; j < last; ++j)
          sums[j - first] += C(pg[n * out + j]) * C(pu[n * out + j]) * inverse[j - first];
      for (std::int64_t j = first; j < last; ++j)
        gradient[j] = sums[j - first];
    }
  });
}

}  // namespace osteon::kernels
