#include "backends/kernels/elementwise.hpp"

#include <cmath>
#include <cstring>
#include <limits>

#include "backends/check.hpp"
#include "backends/cpu/parallel.hpp"
#include "backends/cpu/simd.hpp"

namespace osteon::kernels {
namespace {

using namespace cpu;

std::int32_t to_i32(double value) {
  constexpr double kLowest = std::numeric_limits<std::int32_t>::min(),
                   kHighest = std::numeric_limits<std::int32_t>::max();
  if (std::isnan(value))
    return 0;
  return static_cast<std::int32_t>(std::min(std::max(std::nearbyint(value), kLowest), kHighest));
}

template <class From, class To>
To convert(From value) {
  if constexpr (std::is_same_v<To, std::int32_t>)
    return to_i32(static_cast<double>(value));
  else if constexpr (std::is_same_v<From, std::int32_t> && std::is_same_v<To, bf16>)
    return To(static_cast<double>(value));  // through f32 it would round twice
  else
    return static_cast<To>(value);
}

template <class F>
void dispatch_copied(DType dtype, F&& f) {
  if (dtype == DType::i32)
    f(std::int32_t{});
  else
    dispatch_floating(dtype, "copy", f);
}

void copy_bytes(const void* from, void* to, std::int64_t bytes) {
  parallel_ranges(bytes, 1, 4096, [=](std::int64_t begin, std::int64_t end) {
    std::memcpy(static_cast<std::byte*>(to) + begin, static_cast<const std::byte*>(from) + begin,
                static_cast<std::size_t>(end - begin));
  });
}

template <class T>
const T* data_or_null(const ConstView& view) {
  return view ? view.as<T>() : nullptr;
}

}  // namespace

void copy(Cpu, ConstView from, View to) {
  expect_numel("copy", "to", to, from.numel());
  if (from.dtype == to.dtype) {
    copy_bytes(from.data, to.data, from.numel() * size_of(from.dtype));
    return;
  }
  dispatch_copied(from.dtype, [&](auto source) {
    dispatch_copied(to.dtype, [&](auto target) {
      using From = decltype(source);
      using To = decltype(target);
      const From* x = from.as<From>();
      To* y = to.as<To>();
      parallel_elements(from.numel(), [=](std::int64_t i) { y[i] = convert<From, To>(x[i]); });
    });
  });
}

void fill(Cpu, View y, double value) {
  dispatch_copied(y.dtype, [&](auto element) {
    using T = decltype(element);
    const T filler = convert<double, T>(value);
    T* data = y.as<T>();
    parallel_elements(y.numel(), [=](std::int64_t i) { data[i] = filler; });
  });
}

void add(Cpu, ConstView a, ConstView b, View y) {
  expect_like("add", "b", b, a);
  expect_like("add", "y", y, a);
  dispatch_floating(a.dtype, "add", [&](auto element) {
    using T = decltype(element);
    const T *left = a.as<T>(), *right = b.as<T>();
    T* sum = y.as<T>();
    parallel_elements(a.numel(), [=](std::int64_t i) { store(sum[i], load(left[i]) + load(right[i])); });
  });
}

void mul(Cpu, ConstView a, ConstView b, Sink y) {
  expect_like("mul", "b", b, a);
  expect_like("mul", "y", y.view, a);
  dispatch_floating(a.dtype, "mul", [&](auto element) {
    using T = decltype(element);
    const T *left = a.as<T>(), *right = b.as<T>();
    T* product = y.view.as<T>();
    dispatch_add(y.add, [&](auto add) {
      parallel_elements(a.numel(), [=](std::int64_t i) { store(product[i], load(left[i]) * load(right[i]), add); });
    });
  });
}

void scale(Cpu, ConstView x, double factor, Sink y) {
  expect_numel("scale", "y", y.view, x.numel());
  dispatch_floating(x.dtype, "scale", [&](auto source) {
    dispatch_floating(y.view.dtype, "scale", [&](auto target) {
      using From = decltype(source);
      using To = decltype(target);
      using C = decltype(load(source) + load(target));
      const From* from = x.as<From>();
      To* to = y.view.as<To>();
      dispatch_add(y.add, [&](auto add) {
        parallel_elements(x.numel(), [=, f = static_cast<C>(factor)](std::int64_t i) {
          store(to[i], f * static_cast<C>(from[i]), add);
        });
      });
    });
  });
}

void repeat_rows(Cpu, ConstView row, View y) {
  const std::int64_t d = y.cols();
  expect_shape("repeat_rows", "row", row, {d});
  dispatch_floating(y.dtype, "repeat_rows", [&](auto element) {
    dispatch_floating(row.dtype, "repeat_rows", [&](auto row_element) {
      using T = decltype(element);
      using R = decltype(row_element);
      T* data = y.as<T>();
      const R* values = row.as<R>();
      parallel_rows(y.rows(), d, [=](std::int64_t n) {
        T* to = data + n * d;
#pragma omp simd
        for (std::int64_t j = 0; j < d; ++j)
          store(to[j], load(values[j]));
      });
    });
  });
}

void scale_columns(Cpu, ConstView x, ConstView factors, ConstView bias, Sink y) {
  const std::int64_t d = x.cols();
  expect_like("scale_columns", "y", y.view, x);
  expect_shape("scale_columns", "factors", factors, {d});
  if (bias)
    expect_like("scale_columns", "bias", bias, factors);
  dispatch_floating(x.dtype, "scale_columns", [&](auto element) {
    dispatch_floating(factors.dtype, "scale_columns", [&](auto factor_element) {
      using T = decltype(element);
      using F = decltype(factor_element);
      using C = decltype(load(element) + load(factor_element));
      const T* from = x.as<T>();
      T* to = y.view.as<T>();
      const F *factor = factors.as<F>(), *addend = data_or_null<F>(bias);
      dispatch_add(y.add, [&](auto add) {
        parallel_rows(x.rows(), d, [=](std::int64_t n) {
          const T* in = from + n * d;
          T* out = to + n * d;
          if (addend == nullptr) {
#pragma omp simd
            for (std::int64_t j = 0; j < d; ++j)
              store(out[j], static_cast<C>(in[j]) * static_cast<C>(factor[j]), add);
          } else {
#pragma omp simd
            for (std::int64_t j = 0; j < d; ++j)
              store(out[j], static_cast<C>(in[j]) * static_cast<C>(factor[j]) + static_cast<C>(addend[j]), add);
          }
        });
      });
    });
  });
}

void scale_rows(Cpu, ConstView x, ConstView factors, View y) {
  const std::int64_t d = x.rows(), k = x.cols();
  expect_shape("scale_rows", "y", y, x.shape);
  expect_numel("scale_rows", "factors", factors, d);
  dispatch_floating(x.dtype, "scale_rows", [&](auto source) {
    dispatch_floating(y.dtype, "scale_rows", [&](auto target) {
      dispatch_floating(factors.dtype, "scale_rows", [&](auto factor_element) {
        using From = decltype(source);
        using To = decltype(target);
        using F = decltype(factor_element);
        using C = decltype(load(source) + load(factor_element) + load(target));
        const From* from = x.as<From>();
        To* to = y.as<To>();
        const F* factor = factors.as<F>();
        parallel_rows(d, k, [=](std::int64_t n) {
          const C f = static_cast<C>(factor[n]);
          const From* in = from + n * k;
          To* out = to + n * k;
#pragma omp simd
          for (std::int64_t j = 0; j < k; ++j)
            store(out[j], static_cast<C>(in[j]) * f);
        });
      });
    });
  });
}

void transpose(Cpu, ConstView x, Sink y) {
  const std::int64_t d = x.rows(), k = x.cols();
  expect_shape("transpose", "y", y.view, {k, d});
  expect_dtype("transpose", "y", y.view, x.dtype);
  dispatch_floating(x.dtype, "transpose", [&](auto element) {
    using T = decltype(element);
    constexpr std::int64_t kTile = 32;  // a tile of x and one of y fit the first-level cache
    const T* from = x.as<T>();
    T* to = y.view.as<T>();
    dispatch_add(y.add, [&](auto add) {
      parallel_ranges(k, d, kTile, [=](std::int64_t begin, std::int64_t end) {
        for (std::int64_t j0 = begin; j0 < end; j0 += kTile)
          for (std::int64_t i0 = 0; i0 < d; i0 += kTile)
            for (std::int64_t j = j0; j < std::min(j0 + kTile, end); ++j) {
              T* out = to + j * d;
#pragma omp simd
              for (std::int64_t i = i0; i < std::min(i0 + kTile, d); ++i)
                store(out[i], load(from[i * k + j]), add);
            }
      });
    });
  });
}

void copy_columns(Cpu, ConstView from, std::int64_t from_begin, Sink to, std::int64_t to_begin, std::int64_t count) {
  const std::int64_t from_cols = from.cols(), to_cols = to.view.cols(), rows = from.rows();
  check(to.view.rows() == rows, "copy_columns: to: expected ", rows, " rows, got shape ", to.view.shape);
  check(count >= 0 && from_begin >= 0 && from_begin + count <= from_cols,
        "copy_columns: from: expected columns within [0, ", from_cols, "), got [", from_begin, ", ", from_begin + count,
        ")");
  check(to_begin >= 0 && to_begin + count <= to_cols, "copy_columns: to: expected columns within [0, ", to_cols,
        "), got [", to_begin, ", ", to_begin + count, ")");
  dispatch_floating(from.dtype, "copy_columns", [&](auto source) {
    dispatch_floating(to.view.dtype, "copy_columns", [&](auto target) {
      using From = decltype(source);
      using To = decltype(target);
      using C = decltype(load(source) + load(target));
      const From* x = from.as<From>() + from_begin;
      To* y = to.view.as<To>() + to_begin;
      dispatch_add(to.add, [&](auto add) {
        parallel_rows(rows, count, [=](std::int64_t n) {
          const From* in = x + n * from_cols;
          To* out = y + n * to_cols;
#pragma omp simd
          for (std::int64_t j = 0; j < count; ++j)
            store(out[j], static_cast<C>(in[j]), add);
        });
      });
    });
  });
}

}  // namespace osteon::kernels
