#pragma once

#include <algorithm>
#include <bit>
#include <cstdint>
#include <cstring>

#include "backends/cpu/bf16_pair.hpp"
#include "backends/cpu/gemm_pack.hpp"
#include "backends/cpu/simd.hpp"

namespace osteon::cpu {

// How attention lays out its operands for the products of tiles (attention_tiles.hpp): rows are queries, keys or values
// of one head, head_dim numbers each; elements E are numbers of the compute type or pairs of bf16.

/// to [total, elements of a row] = `count` rows `stride` apart, element by element along the row, and rows of zeros.
template <class E, class T>
void pack_along(const T* rows, std::int64_t stride, std::int64_t count, std::int64_t total, std::int64_t head_dim,
                E* to) {
  const std::int64_t length = elements_of<E>(head_dim);
  if constexpr (std::is_same_v<E, Bf16Pair>) {
    for (std::int64_t i = 0; i < count; ++i) {
      to[(i + 1) * length - 1] = {};
      std::memcpy(to + i * length, rows + i * stride, static_cast<std::size_t>(head_dim) * sizeof(T));
    }
  } else {
    convert_rows(Factor<T>{rows, count, stride, 1, E{1}}, 0, count, 0, head_dim, head_dim, to);
  }
  std::fill(to + count * length, to + total * length, E{});
}

/// to [elements of a column, width] = rows, element by element across them: row(i) points at row i < count; rows and
/// columns beyond are 0.
template <class E, class Row>
void pack_across(const Row& row, std::int64_t count, std::int64_t head_dim, std::int64_t width, E* to) {
  for (std::int64_t i = 0; i < count; i += kTerms<E>, to += width) {
    const auto* const first = row(i);
    if constexpr (std::is_same_v<E, Bf16Pair>) {
      const bool pair = i + 1 < count;
      const auto* const second = pair ? row(i + 1) : first;
      const std::uint32_t mask = pair ? 0xffffU : 0U;
#pragma omp simd
      for (std::int64_t c = 0; c < head_dim; ++c)
        to[c].bits = first[c].bits | (second[c].bits & mask) << 16;
    } else {
#pragma omp simd
      for (std::int64_t c = 0; c < head_dim; ++c)
        to[c] = load(first[c]);
    }
    std::fill(to + head_dim, to + width, E{});
  }
}

/// Words whose lower halves are the numbers of `first` and whose upper ones those of `second`, up to `count`; 0 beyond
/// them and for a row that is not there.
inline Vector<float> interleaved(const bf16* first, const bf16* second, std::int64_t count) {
  const auto words = [&](const bf16* from) {
    HalfVector half{};
    if (count >= kLanes<float>)
      half = load_vector<HalfVector>(from);
    else
      std::memcpy(&half, from, static_cast<std::size_t>(count) * sizeof(bf16));
    return __builtin_convertvector(half, WordVector);
  };
  const WordVector lower = first == nullptr ? WordVector{} : words(first);
  return std::bit_cast<Vector<float>>(second == nullptr ? lower : lower | words(second) << 16);
}

/// to [head_dim, pairs], rows `to_row` elements apart = rows, pair by pair across them: row(i) points at row i < count;
/// pairs beyond are 0, up to a whole number of vectors.
template <class Row>
void pack_features(const Row& row, std::int64_t count, std::int64_t head_dim, std::int64_t pairs, std::int64_t to_row,
                   Bf16Pair* to) {
  constexpr std::int64_t kWidth = kLanes<float>;
  for (std::int64_t i0 = 0; i0 < pairs; i0 += kWidth)
    for (std::int64_t c0 = 0; c0 < head_dim; c0 += kWidth) {
      const std::int64_t width = std::min(kWidth, head_dim - c0);
      const auto at = [&](std::int64_t i) { return i < count ? row(i) + c0 : nullptr; };
      Vector<float> square[kWidth];
      for (std::int64_t i = 0; i < kWidth; ++i)
        square[i] = interleaved(at(2 * (i0 + i)), at(2 * (i0 + i) + 1), width);
      transpose_square<float>(square);
      for (std::int64_t c = 0; c < width; ++c)
        store_vector(to + (c0 + c) * to_row + i0, square[c]);
    }
}

/// columns [elements of a row, kRows] = rows, transposed; row(i) points at row i, rows from `count` on are 0.
template <class E, int N, class Row>
void pack_columns(const Row& row, std::int64_t count, std::int64_t head_dim, E* columns) {
  using C = sum_t<E>;
  constexpr std::int64_t kWidth = kLanes<C>, kRows = N * kWidth;
  const std::int64_t length = elements_of<E>(head_dim);
  for (std::int64_t i0 = 0; i0 < kRows; i0 += kWidth)
    for (std::int64_t c0 = 0; c0 < length; c0 += kWidth) {
      Vector<C> square[kWidth];
      for (std::int64_t i = 0; i < kWidth; ++i) {
        const std::int64_t skip = c0 * kTerms<E>;
        square[i] = i0 + i < count ? load_elements<E>(row(i0 + i) + skip, head_dim - skip) : Vector<C>{};
      }
      transpose_square<C>(square);
      for (std::int64_t c = 0; c < std::min(kWidth, length - c0); ++c)
        store_vector(columns + (c0 + c) * kRows + i0, square[c]);
    }
}

/// Numbers [keys, N vectors], keys `stride` apart and even in number, rounded into pairs of neighbouring keys, `to_row`
/// apart.
template <int N>
void pair_across(const float* numbers, std::int64_t stride, std::int64_t keys, Bf16Pair* to,
                 std::int64_t to_row = N * kLanes<float>) {
  for (std::int64_t j = 0; j < keys; j += 2)
    for (std::int64_t i = 0; i < N * kLanes<float>; i += kLanes<float>) {
      const float* const from = numbers + j * stride + i;
      store_vector(to + j / 2 * to_row + i,
                   paired(load_vector<Vector<float>>(from), load_vector<Vector<float>>(from + stride)));
    }
}

/// The same numbers, keys and rows of the result `stride` of them apart, as pairs of neighbouring rows.
inline void pair_along(const float* numbers, std::int64_t stride, std::int64_t keys, std::int64_t rows, Bf16Pair* to) {
  for (std::int64_t j = 0; j < keys; ++j)
    for (std::int64_t i = 0; i < rows; i += kLanes<float>)
      store_vector(to + (j * stride + i) / 2, rounded_to_bf16(load_vector<Vector<float>>(numbers + j * stride + i)));
}

/// The inverse of pack_columns: row(i)[c] (+)= columns[c, i] * factor[i] for i < count.
template <class C, int N, class Row>
void unpack_columns(const C* columns, const C* factor, std::int64_t count, std::int64_t head_dim, bool add,
                    const Row& row) {
  constexpr std::int64_t kWidth = kLanes<C>, kRows = N * kWidth;
  for (std::int64_t i0 = 0; i0 < count; i0 += kWidth)
    for (std::int64_t c0 = 0; c0 < head_dim; c0 += kWidth) {
      const std::int64_t width = std::min(kWidth, head_dim - c0);
      Vector<C> square[kWidth];
      for (std::int64_t c = 0; c < kWidth; ++c)
        square[c] = c < width ? load_vector<Vector<C>>(columns + (c0 + c) * kRows + i0) : Vector<C>{};
      transpose_square<C>(square);
      for (std::int64_t i = 0; i < kWidth && i0 + i < count; ++i) {
        const Vector<C> part = square[i] * factor[i0 + i];
        auto* to = row(i0 + i) + c0;
        if (width == kWidth) {
          dispatch_add(add, [&](auto adds) {
#pragma omp simd
            for (std::int64_t c = 0; c < kWidth; ++c)
              store(to[c], part[c], adds);
          });
        } else {
          for (std::int64_t c = 0; c < width; ++c)
            store(to[c], part[c], add);
        }
      }
    }
}

}  // namespace osteon::cpu
