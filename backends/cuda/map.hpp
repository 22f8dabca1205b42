#pragma once

#include "backends/cuda/simt.hpp"

namespace osteon::cuda {

// Results that depend on one element of each operand.

/// Element (row, column) of an operand is data[row * row_stride + column], or data[row * row_stride] if a row has one
/// element for all its columns. A row_stride of 0 repeats one row.
template <class T>
struct Operand {
  Global<const T> data;
  std::int64_t row_stride = 0;
  bool one_per_row = false;

  template <int kCount>
  __device__ Pack<T, kCount> load(std::int64_t row, std::int64_t column) const {
    if (!one_per_row)
      return load_pack<kCount>(data, row * row_stride + column);
    Pack<T, kCount> pack;
    for (int k = 0; k < kCount; ++k)
      pack[k] = data[row * row_stride];
    return pack;
  }
  template <int kCount>
  bool holds() const {
    return one_per_row || holds_packs<kCount>(data, row_stride);
  }
};

template <int kCount, class Op, class T, class... X>
__device__ void store_mapped(const Op& op, const Target<T>& y, std::int64_t at, const Pack<X, kCount>&... x) {
  using C = decltype(op(X{}...));
  Pack<C, kCount> values;
  for (int k = 0; k < kCount; ++k)
    values[k] = op(x[k]...);
  y.store_pack(at, values);
}

template <int kCount, class Op, class T, class... X>
__global__ void map_kernel(std::int64_t rows, std::int64_t columns, Op op, Target<T> y, std::int64_t y_stride,
                           Operand<X>... x) {
  for (std::int64_t row = first_row(); row < rows; row += row_step())
    for_packs<kCount>(columns, [&]<int kPack>(std::int64_t column) {
      store_mapped<kPack>(op, y, row * y_stride + column, x.template load<kPack>(row, column)...);
    });
}

/// y (+)= op(x...) for every element of `rows` rows of `columns`; op returns the type that is computed in. y may be an
/// operand.
template <class Op, class T, class... X>
void map(const char* name, Cuda device, std::int64_t rows, std::int64_t columns, const Op& op, const Target<T>& y,
         std::int64_t y_stride, const Operand<X>&... x) {
  if (rows == 0 || columns == 0)
    return;
  constexpr int kCount = kPackOf<T, X...>;
  const bool packs = holds_packs<kCount>(y.data, y_stride) && (x.template holds<kCount>() && ...);
  dispatch_pack<kCount>(packs, [&](auto count) {
    const Plane plane(rows, (columns + count - 1) / count);
    launch(name, map_kernel<count, Op, T, X...>, plane.grid, plane.block, 0, device, rows, columns, op, y, y_stride,
           x...);
  });
}

/// The same where all are dense and of one shape.
template <class Op, class T, class... X>
void map(const char* name, Cuda device, std::int64_t count, const Op& op, const Target<T>& y,
         const Global<const X>&... x) {
  map(name, device, 1, count, op, y, 0, Operand<X>{x}...);
}

// Several results of the same operands.

template <class T, int kTargets>
struct Targets {
  Target<T> of[kTargets];  ///< where nobody wants a result, without data

  template <int kCount>
  bool hold(std::int64_t stride) const {
    for (const Target<T>& target : of)
      if (!holds_packs<kCount>(target.data, stride))
        return false;
    return true;
  }
};

template <int kCount, class Op, class T, int kTargets, class... X>
__device__ void store_all(const Op& op, const Targets<T, kTargets>& y, std::int64_t at, const Pack<X, kCount>&... x) {
  using C = compute_t<T>;
  Pack<C, kCount> values[kTargets];  // a target may be an operand: all are read before anything is written
  for (int k = 0; k < kCount; ++k) {
    C results[kTargets];
    op(results, x[k]...);
    unrolled<kTargets>([&](int i) { values[i][k] = results[i]; });
  }
  unrolled<kTargets>([&](int i) {
    if (y.of[i].data)
      y.of[i].store_pack(at, values[i]);
  });
}

template <int kCount, class Op, class T, int kTargets, class... X>
__global__ void map_all_kernel(std::int64_t rows, std::int64_t columns, Op op, Targets<T, kTargets> y,
                               Operand<X>... x) {
  for (std::int64_t row = first_row(); row < rows; row += row_step())
    for_packs<kCount>(columns, [&]<int kPack>(std::int64_t column) {
      store_all<kPack>(op, y, row * columns + column, x.template load<kPack>(row, column)...);
    });
}

/// The targets, dense, of `rows` rows of `columns`: op(results, x...) leaves what goes to each of them in its place of
/// the array `results`. A target may be an operand.
template <class Op, class T, int kTargets, class... X>
void map_all(const char* name, Cuda device, std::int64_t rows, std::int64_t columns, const Op& op,
             const Targets<T, kTargets>& y, const Operand<X>&... x) {
  if (rows == 0 || columns == 0)
    return;
  constexpr int kCount = kPackOf<T, X...>;
  const bool packs = y.template hold<kCount>(rows > 1 ? columns : 0) && (x.template holds<kCount>() && ...);
  dispatch_pack<kCount>(packs, [&](auto count) {
    const Plane plane(rows, (columns + count - 1) / count);
    launch(name, map_all_kernel<count, Op, T, kTargets, X...>, plane.grid, plane.block, 0, device, rows, columns, op, y,
           x...);
  });
}

/// The same where all are of one shape.
template <class Op, class T, int kTargets, class... X>
void map_all(const char* name, Cuda device, std::int64_t count, const Op& op, const Targets<T, kTargets>& y,
             const Global<const X>&... x) {
  map_all(name, device, 1, count, op, y, Operand<X>{x}...);
}

}  // namespace osteon::cuda
