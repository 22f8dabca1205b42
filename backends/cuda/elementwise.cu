#include <limits>

#include "backends/cuda/map.hpp"
#include "backends/kernels/elementwise.hpp"

namespace osteon::kernels {
namespace {

using namespace cuda;

/// To nearest even; saturates, and NaN becomes 0.
__device__ std::int32_t to_i32(double value) {
  constexpr double kLowest = -2147483648.0, kHighest = 2147483647.0;
  if (value != value)
    return 0;
  return static_cast<std::int32_t>(fmin(fmax(rint(value), kLowest), kHighest));
}

/// In the type from which one rounding leads to To.
template <class To>
struct Convert {
  template <class From>
  __device__ auto operator()(From value) const {
    if constexpr (std::is_same_v<To, std::int32_t>)
      return to_i32(static_cast<double>(value));
    else if constexpr (std::is_same_v<From, std::int32_t>)
      return static_cast<double>(value);
    else
      return load(value);
  }
};

/// One value for all elements, in the dtype already.
template <class T>
struct Constant {
  T value;
  __device__ auto operator()() const {
    if constexpr (std::is_same_v<T, std::int32_t>)
      return value;
    else
      return load(value);
  }
};

struct Add {
  template <class T>
  __device__ compute_t<T> operator()(T a, T b) const {
    return load(a) + load(b);
  }
};

template <class C>
struct Multiply {
  template <class A, class B>
  __device__ C operator()(A a, B b) const {
    return static_cast<C>(a) * static_cast<C>(b);
  }
};

template <class C>
struct MultiplyAdd {
  template <class A, class B>
  __device__ C operator()(A a, B b, B addend) const {
    return static_cast<C>(a) * static_cast<C>(b) + static_cast<C>(addend);
  }
};

template <class C>
struct Scale {
  C factor;
  template <class T>
  __device__ C operator()(T x) const {
    return factor * static_cast<C>(x);
  }
};

template <class C>
struct Same {
  template <class T>
  __device__ C operator()(T x) const {
    return static_cast<C>(x);
  }
};

template <class F>
void dispatch_copied(DType dtype, F&& f) {
  if (dtype == DType::i32)
    f(std::int32_t{});
  else
    dispatch_floating(dtype, "copy", f);
}

template <class T>
T filler(double value) {
  if constexpr (std::is_same_v<T, std::int32_t>)
    return to_i32(value);
  else
    return static_cast<T>(value);
}

constexpr int kTile = 32, kTileRows = 8;

/// A tile is read along the rows of x and written along those of y, so that both go in whole lines of memory; a column
/// more than it needs keeps the lanes that read down a column in different banks.
template <class T>
__global__ void transpose_kernel(std::int64_t rows, std::int64_t columns, Global<const T> x, Target<T> y) {
  OSTEON_SHARED(T, tile, kTile * (kTile + 1));
  const int across = static_cast<int>(threadIdx.x), down = static_cast<int>(threadIdx.y);
  const std::int64_t column = std::int64_t{blockIdx.x} * kTile;
  for (std::int64_t row = std::int64_t{blockIdx.y} * kTile; row < rows;  // mutant: no rows are left
       row += std::int64_t{gridDim.y} * kTile) {
    for (int i = down; i < kTile; i += kTileRows)
      if (row + i < rows && column + across < columns)
        tile[i * (kTile + 1) + across] = x[(row + i) * columns + column + across];
    __syncthreads();
    for (int i = down; i < kTile; i += kTileRows)
      if (column + i < columns && row + across < rows) {
        const T value = tile[across * (kTile + 1) + i];
        y.store((column + i) * rows + row + across, load(value));
      }
    __syncthreads();  // the next tile is written after all of this one is read
  }
}

}  // namespace

void copy(Cuda device, ConstView from, View to) {
  expect_numel("copy", "to", to, from.numel());
  if (from.dtype == to.dtype) {
    cuda::copy(device, from.data, to.data, from.numel() * size_of(from.dtype));
    return;
  }
  dispatch_copied(from.dtype, [&](auto source) {
    dispatch_copied(to.dtype, [&](auto target) {
      using From = decltype(source);
      using To = decltype(target);
      if constexpr (!std::is_same_v<From, To>)
        map("copy", device, from.numel(), Convert<To>{}, Target<To>{elements<To>(to)}, elements<From>(from));
    });
  });
}

void fill(Cuda device, View y, double value) {
  dispatch_copied(y.dtype, [&](auto element) {
    using T = decltype(element);
    map("fill", device, y.numel(), Constant<T>{filler<T>(value)}, Target<T>{elements<T>(y)});
  });
}

void add(Cuda device, ConstView a, ConstView b, View y) {
  expect_like("add", "b", b, a);
  expect_like("add", "y", y, a);
  dispatch_floating(a.dtype, "add", [&](auto element) {
    using T = decltype(element);
    map("add", device, a.numel(), Add{}, Target<T>{elements<T>(y)}, elements<T>(a), elements<T>(b));
  });
}

void mul(Cuda device, ConstView a, ConstView b, Sink y) {
  expect_like("mul", "b", b, a);
  expect_like("mul", "y", y.view, a);
  dispatch_floating(a.dtype, "mul", [&](auto element) {
    using T = decltype(element);
    map("mul", device, a.numel(), Multiply<compute_t<T>>{}, target<T>(y), elements<T>(a), elements<T>(b));
  });
}

void scale(Cuda device, ConstView x, double factor, Sink y) {
  expect_numel("scale", "y", y.view, x.numel());
  dispatch_floating(x.dtype, "scale", [&](auto source) {
    dispatch_floating(y.view.dtype, "scale", [&](auto to) {
      using From = decltype(source);
      using To = decltype(to);
      using C = common_t<From, To>;
      map("scale", device, x.numel(), Scale<C>{static_cast<C>(factor)}, target<To>(y), elements<From>(x));
    });
  });
}

void repeat_rows(Cuda device, ConstView row, View y) {
  const std::int64_t d = y.cols();
  expect_shape("repeat_rows", "row", row, {d});
  dispatch_floating(y.dtype, "repeat_rows", [&](auto element) {
    dispatch_floating(row.dtype, "repeat_rows", [&](auto row_element) {
      using T = decltype(element);
      using R = decltype(row_element);
      map("repeat_rows", device, y.rows(), d, Same<common_t<T, R>>{}, Target<T>{elements<T>(y)}, d,
          Operand<R>{elements<R>(row)});
    });
  });
}

void scale_columns(Cuda device, ConstView x, ConstView factors, ConstView bias, Sink y) {
  const std::int64_t d = x.cols();
  expect_like("scale_columns", "y", y.view, x);
  expect_shape("scale_columns", "factors", factors, {d});
  if (bias)
    expect_like("scale_columns", "bias", bias, factors);
  dispatch_floating(x.dtype, "scale_columns", [&](auto element) {
    dispatch_floating(factors.dtype, "scale_columns", [&](auto factor_element) {
      using T = decltype(element);
      using F = decltype(factor_element);
      using C = common_t<T, F>;
      const Operand<T> in{elements<T>(x), d};
      const Operand<F> factor{elements<F>(factors)};
      if (bias)
        map("scale_columns", device, x.rows(), d, MultiplyAdd<C>{}, target<T>(y), d, in, factor,
            Operand<F>{elements<F>(bias)});
      else
        map("scale_columns", device, x.rows(), d, Multiply<C>{}, target<T>(y), d, in, factor);
    });
  });
}

void scale_rows(Cuda device, ConstView x, ConstView factors, View y) {
  const std::int64_t d = x.rows(), k = x.cols();
  expect_shape("scale_rows", "y", y, x.shape);
  expect_numel("scale_rows", "factors", factors, d);
  dispatch_floating(x.dtype, "scale_rows", [&](auto source) {
    dispatch_floating(y.dtype, "scale_rows", [&](auto to) {
      dispatch_floating(factors.dtype, "scale_rows", [&](auto factor_element) {
        using From = decltype(source);
        using To = decltype(to);
        using F = decltype(factor_element);
        map("scale_rows", device, d, k, Multiply<common_t<From, F, To>>{}, Target<To>{elements<To>(y)}, k,
            Operand<From>{elements<From>(x), k}, Operand<F>{elements<F>(factors), 1, true});
      });
    });
  });
}

void transpose(Cuda device, ConstView x, Sink y) {
  const std::int64_t d = x.rows(), k = x.cols();
  expect_shape("transpose", "y", y.view, {k, d});
  expect_dtype("transpose", "y", y.view, x.dtype);
  if (x.numel() == 0)
    return;
  dispatch_floating(x.dtype, "transpose", [&](auto element) {
    using T = decltype(element);
    const dim3 grid(static_cast<unsigned>((k + kTile - 1) / kTile), blocks_for(d, kTile));
    launch("transpose", transpose_kernel<T>, grid, dim3(kTile, kTileRows), 0, device, d, k, elements<T>(x),
           target<T>(y));
  });
}

void copy_columns(Cuda device, ConstView from, std::int64_t from_begin, Sink to, std::int64_t to_begin,
                  std::int64_t count) {
  const std::int64_t from_cols = from.cols(), to_cols = to.view.cols(), rows = from.rows();
  check(to.view.rows() == rows, "copy_columns: to: expected ", rows, " rows, got shape ", to.view.shape);
  check(count >= 0 && from_begin >= 0 && from_begin + count <= from_cols,
        "copy_columns: from: expected columns within [0, ", from_cols, "), got [", from_begin, ", ", from_begin + count,
        ")");
  check(to_begin >= 0 && to_begin + count <= to_cols, "copy_columns: to: expected columns within [0, ", to_cols,
        "), got [", to_begin, ", ", to_begin + count, ")");
  dispatch_floating(from.dtype, "copy_columns", [&](auto source) {
    dispatch_floating(to.view.dtype, "copy_columns", [&](auto element) {
      using From = decltype(source);
      using To = decltype(element);
      const Target<To> y{elements<To>(to.view) + to_begin, to.add};
      map("copy_columns", device, rows, count, Same<common_t<From, To>>{}, y, to_cols,
          Operand<From>{elements<From>(from) + from_begin, from_cols});
    });
  });
}

}  // namespace osteon::kernels
