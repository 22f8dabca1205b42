#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>

#include "backends/dtype.hpp"

#if defined(__x86_64__) && __has_include(<amxbf16intrin.h>)
#define OSTEON_HAS_AMX_INTRINSICS
#include <immintrin.h>

// One tile of AMX holds 16 rows of 64 bytes. For functions that are called only where the processor has it: the rest of
// the program is compiled for less, perhaps.
#define OSTEON_AMX __attribute__((target("amx-tile,amx-bf16,avx512f,avx512bw,avx512dq,avx512vl,avx512bf16")))

namespace osteon::cpu::amx {

using Index = std::int64_t;

/// Rows, or columns, of a tile; terms that one instruction adds to a sum; bytes of a tile.
constexpr Index kSide = 16, kTerms = 32, kTileBytes = 1024;
/// Rows, or columns, of the square of two by two tiles that is summed at a time.
constexpr Index kSquare = 2 * kSide;
constexpr Index kSquareSize = kSquare * kSquare;

/// One factor of a product as `count` vectors of bf16 along k: term k of vector i at data + i * next + k, or, across
/// memory, at data + k * next + i.
struct Vectors {
  const bf16* data;
  Index count, next;
  bool across;
};

/// From here on this thread's tiles are 16 rows of 64 bytes, until they are released.
OSTEON_AMX inline void configure_tiles() {
  alignas(64) static constexpr struct {
    std::uint8_t palette = 1, start_row = 0, reserved[14] = {};
    std::uint16_t bytes[16] = {64, 64, 64, 64, 64, 64, 64, 64};
    std::uint8_t rows[16] = {16, 16, 16, 16, 16, 16, 16, 16};
  } kConfig;
  _tile_loadconfig(&kConfig);
}
OSTEON_AMX inline void release_tiles() { _tile_release(); }

/// Row i of a square of 16 x 16 words becomes column i.
OSTEON_AMX inline void transpose(__m512i (&x)[kSide]) {
  __m512i y[kSide];
  for (Index i = 0; i < kSide; i += 2) {
    y[i] = _mm512_unpacklo_epi32(x[i], x[i + 1]);
    y[i + 1] = _mm512_unpackhi_epi32(x[i], x[i + 1]);
  }
  for (Index i = 0; i < kSide; i += 4)
    for (Index j = 0; j < 2; ++j) {
      x[i + 2 * j] = _mm512_unpacklo_epi64(y[i + j], y[i + j + 2]);
      x[i + 2 * j + 1] = _mm512_unpackhi_epi64(y[i + j], y[i + j + 2]);
    }
  for (Index i = 0; i < 4; ++i)
    for (Index half = 0; half < kSide; half += 8) {
      y[half + i] = _mm512_shuffle_i32x4(x[half + i], x[half + i + 4], 0x88);
      y[half + i + 4] = _mm512_shuffle_i32x4(x[half + i], x[half + i + 4], 0xdd);
    }
  for (Index i = 0; i < 8; ++i) {
    x[i] = _mm512_shuffle_i32x4(y[i], y[i + 8], 0x88);
    x[i + 8] = _mm512_shuffle_i32x4(y[i], y[i + 8], 0xdd);
  }
}

OSTEON_AMX inline __mmask32 first_lanes(Index count) {
  return count >= 32 ? ~__mmask32{0} : (__mmask32{1} << std::max<Index>(count, 0)) - 1;
}

/// Terms [k, k_end) of vectors [first, first + 16), at most kTerms, zero beyond them. Of the left factor a row holds a
/// vector's terms; of the right one, row i holds terms 2i and 2i + 1 of each vector side by side.
template <bool kRight>
OSTEON_AMX inline void pack_tile(const Vectors& from, Index first, Index k, Index k_end, std::byte* to) {
  const Index count = std::min(from.count - first, kSide), terms = std::min(k_end - k, kTerms);
  __m512i rows[kSide];
  if (from.across) {
    const bf16* const data = from.data + k * from.next + first;
    const __mmask16 mask = static_cast<__mmask16>(first_lanes(count));
    const auto term = [&](Index i) OSTEON_AMX {
      return _mm512_cvtepu16_epi32(i < terms ? _mm256_maskz_loadu_epi16(mask, data + i * from.next)
                                             : _mm256_setzero_si256());
    };
    for (Index i = 0; i < kSide; ++i)
      rows[i] = _mm512_or_si512(term(2 * i), _mm512_slli_epi32(term(2 * i + 1), 16));
  } else {
    const bf16* const data = from.data + first * from.next + k;
    const __mmask32 mask = first_lanes(terms);
    for (Index i = 0; i < kSide; ++i)
      rows[i] = i < count ? _mm512_maskz_loadu_epi16(mask, data + i * from.next) : _mm512_setzero_si512();
  }
  if (kRight != from.across)
    transpose(rows);
  for (Index i = 0; i < kSide; ++i)
    _mm512_store_si512(to + i * 64, rows[i]);
}

/// One or two tiles of vectors from `first` on and terms [k, k_end), tiles of the same terms next to each other.
template <bool kRight>
OSTEON_AMX inline void pack(const Vectors& from, Index first, Index tiles, Index k, Index k_end, std::byte* to) {
  for (; k < k_end; k += kTerms)
    for (Index tile = 0; tile < tiles; ++tile, to += kTileBytes)
      pack_tile<kRight>(from, first + tile * kSide, k, k_end, to);
}

/// Where the tiles of one or two of a factor's vectors lie: the first at data, its rows `row` bytes apart, the second
/// `second` bytes after it, the next terms' `step` bytes after them.
struct Strip {
  const std::byte* data;
  Index row, second, step;

  Strip after(Index steps) const { return {data + steps * step, row, second, step}; }
};

/// Adds the products of `steps` tiles of kDown tiles of rows by kAcross tiles of columns to tiles 0 to 3.
template <int kDown, int kAcross>
OSTEON_AMX inline void add_steps(const Strip& left, const Strip& right, Index steps) {
  const std::byte *a = left.data, *b = right.data;
  for (Index step = 0; step < steps; ++step, a += left.step, b += right.step) {
    _tile_loadd(6, b, right.row);
    _tile_loadd(4, a, left.row);
    _tile_dpbf16ps(0, 4, 6);
    if constexpr (kAcross == 2) {
      _tile_loadd(7, b + right.second, right.row);
      _tile_dpbf16ps(1, 4, 7);
    }
    if constexpr (kDown == 2) {
      _tile_loadd(5, a + left.second, left.row);
      _tile_dpbf16ps(2, 5, 6);
      if constexpr (kAcross == 2)
        _tile_dpbf16ps(3, 5, 7);
    }
  }
}

/// kDown by kAcross tiles of sums, rows `row` f32 apart. Begins with what is there if `add`, else with 0; `rest` holds
/// the left factor's last terms where they do not fill a tile (steps 0 or 1).
template <int kDown, int kAcross>
OSTEON_AMX inline void sum_square(const Strip& left, Index steps, const Strip& rest, Index rest_steps,
                                  const Strip& right, bool add, float* sums, Index row) {
  const Index bytes = 4 * row, below = kSide * row;
  asm volatile("" ::: "memory");  // the intrinsics do not tell the compiler that they read memory
  if (add) {
    _tile_loadd(0, sums, bytes);
    if constexpr (kAcross == 2)
      _tile_loadd(1, sums + kSide, bytes);
    if constexpr (kDown == 2) {
      _tile_loadd(2, sums + below, bytes);
      if constexpr (kAcross == 2)
        _tile_loadd(3, sums + below + kSide, bytes);
    }
  } else {
    _tile_zero(0);
    _tile_zero(1);
    _tile_zero(2);
    _tile_zero(3);
  }
  add_steps<kDown, kAcross>(left, right, steps);
  add_steps<kDown, kAcross>(rest, right.after(steps), rest_steps);
  _tile_stored(0, sums, bytes);
  if constexpr (kAcross == 2)
    _tile_stored(1, sums + kSide, bytes);
  if constexpr (kDown == 2) {
    _tile_stored(2, sums + below, bytes);
    if constexpr (kAcross == 2)
      _tile_stored(3, sums + below + kSide, bytes);
  }
}

/// f.operator()<down, across>() for one or two tiles of rows and of columns.
template <class F>
OSTEON_AMX inline void with_tiles(Index down, Index across, const F& f) {
  if (down == 2)
    across == 2 ? f.template operator()<2, 2>() : f.template operator()<2, 1>();
  else
    across == 2 ? f.template operator()<1, 2>() : f.template operator()<1, 1>();
}

OSTEON_AMX inline __m512 load_result(const float* from, __mmask16 mask) { return _mm512_maskz_loadu_ps(mask, from); }
OSTEON_AMX inline __m512 load_result(const bf16* from, __mmask16 mask) {
  const __m512i bits = _mm512_cvtepu16_epi32(_mm256_maskz_loadu_epi16(mask, from));
  return _mm512_castsi512_ps(_mm512_slli_epi32(bits, 16));
}
OSTEON_AMX inline void store_result(float* to, __mmask16 mask, __m512 x) { _mm512_mask_storeu_ps(to, mask, x); }
OSTEON_AMX inline void store_result(bf16* to, __mmask16 mask, __m512 x) {
  _mm256_mask_storeu_epi16(to, mask, (__m256i)_mm512_cvtneps_pbh(x));
}

/// c [rows, cols] = alpha sums, or c += alpha sums, for the upper left part of a square, or of its transpose if
/// `turned`; rows of c `c_row` apart.
template <class R>
OSTEON_AMX inline void store_square(const float* sums, bool turned, Index rows, Index cols, float alpha, bool add, R* c,
                                    Index c_row) {
  const __m512 factor = _mm512_set1_ps(alpha);
  for (Index row = 0; row < rows; row += kSide)
    for (Index col = 0; col < cols; col += kSide) {
      const Index count = std::min(kSide, rows - row);
      const __mmask16 mask = static_cast<__mmask16>(first_lanes(std::min(kSide, cols - col)));
      __m512i square[kSide];
      const float* const from = sums + (turned ? col * kSquare + row : row * kSquare + col);
      for (Index i = 0; i < kSide; ++i)
        square[i] = _mm512_load_si512(from + i * kSquare);
      if (turned)
        transpose(square);
      R* const to = c + row * c_row + col;
      for (Index i = 0; i < kSide; ++i) {
        if (i >= count)
          break;
        const __m512 sum = _mm512_castsi512_ps(square[i]);
        store_result(
            to + i * c_row, mask,
            add ? _mm512_fmadd_ps(sum, factor, load_result(to + i * c_row, mask)) : _mm512_mul_ps(sum, factor));
      }
    }
}

}  // namespace osteon::cpu::amx

#endif
