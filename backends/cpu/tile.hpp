#pragma once

#include <cstdint>
#include <cstring>
#include <type_traits>

namespace osteon::cpu {

// Small matrix products on tiles that lie in the cache, for attention: every element's sum runs over `depth` in order,
// whatever the tile's size, so its bits do not depend on what is computed beside it.

/// Vectors of GCC's vector extension, as wide as the machine's.
#if defined(__AVX512F__)
constexpr int kVectorBytes = 64;
constexpr int kBlockRows = 8;  // 8 x 2 sums of 32 registers
#elif defined(__AVX__)
constexpr int kVectorBytes = 32;
constexpr int kBlockRows = 4;  // 4 x 2 sums of 16 registers
#else
constexpr int kVectorBytes = 16;
constexpr int kBlockRows = 4;
#endif

template <class C>
struct vector_of {
  using Int = std::conditional_t<sizeof(C) == 8, std::int64_t, std::int32_t>;
  typedef C type __attribute__((vector_size(kVectorBytes)));
  typedef Int int_type __attribute__((vector_size(kVectorBytes)));
};
template <class C>
using Vector = typename vector_of<C>::type;
/// Integers as wide as C: what a comparison of two vectors gives (0 or -1), and what shuffles take.
template <class C>
using IntVector = typename vector_of<C>::int_type;
template <class C>
constexpr std::int64_t kLanes = kVectorBytes / static_cast<std::int64_t>(sizeof(C));

template <class V, class C>
inline V load_vector(const C* from) {
  V v;
  std::memcpy(&v, from, sizeof v);
  return v;
}
template <class V, class C>
inline void store_vector(C* to, const V& v) {
  std::memcpy(to, &v, sizeof v);
}

/// c[m, 0 .. N vectors) (+)= sum over k of a[m * a_row + k * a_column] * b[k, 0 .. N vectors).
template <int M, int N, class C>
inline void block_product(const C* a, std::int64_t a_row, std::int64_t a_column, const C* b, std::int64_t b_row,
                          std::int64_t depth, C* c, std::int64_t c_row, bool add) {
  using V = Vector<C>;
  V sum[M][N];
#pragma GCC unroll 8
  for (int m = 0; m < M; ++m)
#pragma GCC unroll 2
    for (int n = 0; n < N; ++n)
      sum[m][n] = add ? load_vector<V>(c + m * c_row + n * kLanes<C>) : V{};
  for (std::int64_t k = 0; k < depth; ++k) {
    V right[N];
#pragma GCC unroll 2
    for (int n = 0; n < N; ++n)
      right[n] = load_vector<V>(b + k * b_row + n * kLanes<C>);
#pragma GCC unroll 8
    for (int m = 0; m < M; ++m) {
      const C left = a[m * a_row + k * a_column];
#pragma GCC unroll 2
      for (int n = 0; n < N; ++n)
        sum[m][n] += left * right[n];
    }
  }
#pragma GCC unroll 8
  for (int m = 0; m < M; ++m)
#pragma GCC unroll 2
    for (int n = 0; n < N; ++n)
      store_vector(c + m * c_row + n * kLanes<C>, sum[m][n]);
}

template <int N, class C>
inline void panel_product(const C* a, std::int64_t a_row, std::int64_t a_column, const C* b, std::int64_t b_row,
                          std::int64_t rows, std::int64_t depth, C* c, std::int64_t c_row, bool add) {
  std::int64_t m = 0;
  for (; m + kBlockRows <= rows; m += kBlockRows)
    block_product<kBlockRows, N>(a + m * a_row, a_row, a_column, b, b_row, depth, c + m * c_row, c_row, add);
  if (kBlockRows > 4 && m + 4 <= rows) {
    block_product<4, N>(a + m * a_row, a_row, a_column, b, b_row, depth, c + m * c_row, c_row, add);
    m += 4;
  }
  for (; m < rows; ++m)
    block_product<1, N>(a + m * a_row, a_row, a_column, b, b_row, depth, c + m * c_row, c_row, add);
}

/// c [rows, columns] (+)= a [rows, depth] b [depth, columns]: a with any two strides, b and c with contiguous columns,
/// a whole number of vectors of them.
template <class C>
inline void tile_product(const C* a, std::int64_t a_row, std::int64_t a_column, const C* b, std::int64_t b_row,
                         std::int64_t rows, std::int64_t depth, std::int64_t columns, C* c, std::int64_t c_row,
                         bool add) {
  std::int64_t n = 0;
  for (; n + 2 * kLanes<C> <= columns; n += 2 * kLanes<C>)
    panel_product<2>(a, a_row, a_column, b + n, b_row, rows, depth, c + n, c_row, add);
  if (n < columns)
    panel_product<1>(a, a_row, a_column, b + n, b_row, rows, depth, c + n, c_row, add);
}

/// Lanes of a (first) and b by number.
template <class C>
inline Vector<C> shuffled(Vector<C> a, Vector<C> b, IntVector<C> lanes) {
#ifdef __clang__  // has no shuffle by variable numbers
  Vector<C> y{};
  for (int i = 0; i < static_cast<int>(kLanes<C>); ++i)
    y[i] = lanes[i] < static_cast<int>(kLanes<C>) ? a[lanes[i]] : b[lanes[i] - static_cast<int>(kLanes<C>)];
  return y;
#else
  return __builtin_shuffle(a, b, lanes);
#endif
}

/// Transposes a square of vectors in registers: at each step lanes and rows exchange one bit of their index.
template <class C>
inline void transpose_square(Vector<C>* rows) {
  constexpr int kWidth = static_cast<int>(kLanes<C>);
#pragma GCC unroll 4
  for (int step = kWidth / 2; step > 0; step /= 2) {
    IntVector<C> low{}, high{};
    for (int lane = 0; lane < kWidth; ++lane) {
      low[lane] = (lane & step) == 0 ? lane : kWidth + lane - step;
      high[lane] = (lane & step) == 0 ? lane + step : kWidth + lane;
    }
#pragma GCC unroll 16
    for (int i = 0; i < kWidth; ++i)
      if ((i & step) == 0) {
        const Vector<C> a = rows[i], b = rows[i + step];
        rows[i] = shuffled<C>(a, b, low);
        rows[i + step] = shuffled<C>(a, b, high);
      }
  }
}

}  // namespace osteon::cpu
