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
#pragma GCC unroll 8
  for (Index i = 0; i < kSide; i += 2) {
    y[i] = _mm512_unpacklo_epi32(x[i], x[i + 1]);
    y[i + 1] = _mm512_unpackhi_epi32(x[i], x[i + 1]);
  }
#pragma GCC unroll 4
  for (Index i = 0; i < kSide; i += 4)
#pragma GCC unroll 2
    for (Index j = 0; j < 2; ++j) {
      x[i + 2 * j] = _mm512_unpacklo_epi64(y[i + j], y[i + j + 2]);
      x[i + 2 * j + 1] = _mm512_unpackhi_epi64(y[i + j], y[i + j + 2]);
    }
#pragma GCC unroll 4
  for (Index i = 0; i < 4; ++i)
#pragma GCC unroll 2
    for (Index half = 0; half < kSide; half += 8) {
      y[half + i] = _mm512_shuffle_i32x4(x[half + i], x[half + i + 4], 0x88);
      y[half + i + 4] = _mm512_shuffle_i32x4(x[half + i], x[half + i + 4], 0xdd);
    }
#pragma GCC unroll 8
  for (Index i = 0; i < 8; ++i) {
    x[i] = _mm512_shuffle_i32x4(y[i], y[i + 8], 0x88);
    x[i + 8] = _mm512_shuffle_i32x4(y[i], y[i + 8], 0xdd);
  }
}

OSTEON_AMX inline __mmask32 first_lanes(Index count) {
  return count >= 32 ? ~__mmask32{0} : (__mmask32{1} << std::max<Index>(count, 0)) - 1;
}

/// A square of words as a tile, transposed or as it is.
template <bool kTransposed>
OSTEON_AMX inline void store_tile(__m512i (&rows)[kSide], std::byte* to) {
  if constexpr (kTransposed)
    transpose(rows);
#pragma GCC unroll 16
  for (Index i = 0; i < kSide; ++i)
    _mm512_store_si512(to + i * 64, rows[i]);
}

/// kSide vectors whose terms are next to each other, of which `count` exist, as one tile. The same terms `ahead`
/// elements on are fetched: rows are too short for the processor to see where this leads.
template <bool kRight>
OSTEON_AMX inline void pack_along(const bf16* data, Index next, Index count, Index terms, Index ahead, std::byte* to) {
  const __mmask32 mask = first_lanes(terms);
  __m512i rows[kSide];
  for (Index i = 0; i < kSide; ++i)
    __builtin_prefetch(data + ahead + i * next, 0, 2);
#pragma GCC unroll 16
  for (Index i = 0; i < kSide; ++i)  // without a branch: rows that do not exist are nothing of the last one
    rows[i] = _mm512_maskz_loadu_epi16(i < count ? mask : 0, data + std::min(i, count - 1) * next);
  store_tile<kRight>(rows, to);
}

/// kSquare vectors across memory, of which `count` exist, as one tile behind another, or the first tile of them.
template <bool kRight>
OSTEON_AMX inline void pack_across(const bf16* data, Index next, Index count, Index tiles, Index terms, std::byte* to) {
  const __mmask32 mask = first_lanes(count);
  const auto term = [&](Index t) OSTEON_AMX {
    return _mm512_maskz_loadu_epi16(t < terms ? mask : 0, data + std::min(t, terms - 1) * next);
  };
  // 0 0 1 1 2 2 ...: word j of a row gets terms 2i and 2i + 1 of vector j.
  const __m512i first = _mm512_set_epi32(0xf000f, 0xe000e, 0xd000d, 0xc000c, 0xb000b, 0xa000a, 0x90009, 0x80008,
                                         0x70007, 0x60006, 0x50005, 0x40004, 0x30003, 0x20002, 0x10001, 0);
  const __m512i second = _mm512_add_epi16(first, _mm512_set1_epi16(kSide));
  const auto joined = [](__m512i even, __m512i odd, __m512i vectors) OSTEON_AMX {
    return _mm512_mask_permutexvar_epi16(_mm512_maskz_permutexvar_epi16(0x55555555, vectors, even), 0xaaaaaaaa, vectors,
                                         odd);
  };
  if constexpr (kRight) {
    for (Index i = 0; i < kSide; ++i) {
      const __m512i even = term(2 * i), odd = term(2 * i + 1);
      _mm512_store_si512(to + i * 64, joined(even, odd, first));
      if (tiles == 2)
        _mm512_store_si512(to + kTileBytes + i * 64, joined(even, odd, second));
    }
  } else {
    for (Index tile = 0; tile < tiles; ++tile) {
      __m512i rows[kSide];
#pragma GCC unroll 16
      for (Index i = 0; i < kSide; ++i)
        rows[i] = joined(term(2 * i), term(2 * i + 1), tile == 0 ? first : second);
      store_tile<true>(rows, to + tile * kTileBytes);
    }
  }
}

/// One or two tiles of vectors from `first` on and terms [k, k_end), tiles of the same terms next to each other; zero
/// beyond the last vector and term. Of the left factor a row holds a vector's terms; of the right one, row i holds
/// terms 2i and 2i + 1 of each vector side by side.
template <bool kRight>
OSTEON_AMX inline void pack(const Vectors& from, Index first, Index tiles, Index k, Index k_end, std::byte* to) {
  for (; k < k_end; k += kTerms, to += tiles * kTileBytes) {
    const Index terms = std::min(k_end - k, kTerms);
    if (from.across)
      pack_across<kRight>(from.data + k * from.next + first, from.next, from.count - first, tiles, terms, to);
    else
      for (Index tile = 0; tile < tiles; ++tile) {
        const Index at = first + tile * kSide;
        pack_along<kRight>(from.data + at * from.next + k, from.next, from.count - at, terms,
                           at + kSquare < from.count ? kSquare * from.next : 0, to + tile * kTileBytes);
      }
  }
}

/// Where the tiles of one or two of a factor's vectors lie: the first at data, its rows `row` bytes apart, the second
/// `second` bytes after it, the next terms' `step` bytes after them.
struct Strip {
  const std::byte* data;
  Index row, second, step;

  Strip after(Index steps) const { return {data + steps * step, row, second, step}; }
};

/// Adds the products of `steps` tiles of kDown tiles of rows by kAcross tiles of columns to tiles 0 to 3. kPassing: the
/// right factor passes by the first-level cache, and leaves the left one there.
template <int kDown, int kAcross, bool kPassing>
OSTEON_AMX inline void add_steps(const Strip& left, const Strip& right, Index steps) {
  const std::byte *a = left.data, *b = right.data;
  for (Index step = 0; step < steps; ++step, a += left.step, b += right.step) {
    if constexpr (kPassing)
      _tile_stream_loadd(6, b, right.row);
    else
      _tile_loadd(6, b, right.row);
    _tile_loadd(4, a, left.row);
    _tile_dpbf16ps(0, 4, 6);
    if constexpr (kAcross == 2) {
      if constexpr (kPassing)
        _tile_stream_loadd(7, b + right.second, right.row);
      else
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
template <int kDown, int kAcross, bool kPassing = false>
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
  add_steps<kDown, kAcross, kPassing>(left, right, steps);
  add_steps<kDown, kAcross, kPassing>(rest, right.after(steps), rest_steps);
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

/// Two vectors of a row of results, one behind the other, of which lanes of `mask` exist.
struct Pair {
  __m512 first, second;
};
OSTEON_AMX inline Pair load_pair(const float* from, __mmask32 mask) {
  return {_mm512_maskz_loadu_ps(static_cast<__mmask16>(mask), from),
          _mm512_maskz_loadu_ps(static_cast<__mmask16>(mask >> 16), from + kSide)};
}
OSTEON_AMX inline Pair load_pair(const bf16* from, __mmask32 mask) {
  const __m512i bits = _mm512_maskz_loadu_epi16(mask, from);
  const auto widened = [](__m256i half) OSTEON_AMX {
    return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(half), 16));
  };
  return {widened(_mm512_castsi512_si256(bits)), widened(_mm512_extracti64x4_epi64(bits, 1))};
}
OSTEON_AMX inline void store_pair(float* to, __mmask32 mask, Pair x) {
  _mm512_mask_storeu_ps(to, static_cast<__mmask16>(mask), x.first);
  _mm512_mask_storeu_ps(to + kSide, static_cast<__mmask16>(mask >> 16), x.second);
}
OSTEON_AMX inline void store_pair(bf16* to, __mmask32 mask, Pair x) {
  _mm512_mask_storeu_epi16(to, mask, (__m512i)_mm512_cvtne2ps_pbh(x.second, x.first));
}

OSTEON_AMX inline void stream_pair(float* to, Pair x) {
  _mm512_stream_ps(to, x.first);
  _mm512_stream_ps(to + kSide, x.second);
}
OSTEON_AMX inline void stream_pair(bf16* to, Pair x) {
  _mm512_stream_si512((__m512i*)to, (__m512i)_mm512_cvtne2ps_pbh(x.second, x.first));
}

/// Where results go: c = alpha sums, or c += alpha sums, rows of c `row` apart; past the caches if `streamed`.
template <class R>
struct Result {
  R* c;
  Index row;
  float alpha;
  bool add, streamed;
};

/// The upper left part of a square, or of its transpose if `turned`, as rows [row, row + rows) and columns
/// [col, col + cols) of the result.
template <class R>
OSTEON_AMX inline void store_square(const float* sums, bool turned, Result<R> result, Index row, Index col, Index rows,
                                    Index cols) {
  const __m512 alpha = _mm512_set1_ps(result.alpha);
  const __mmask32 mask = first_lanes(cols);
  const bool streamed = result.streamed && cols >= kSquare, add = result.add;
  R* const c = result.c + row * result.row + col;
  const auto store_row = [&](Index i, const float* first, const float* second) OSTEON_AMX {
    R* const to = c + i * result.row;
    const Pair sum{_mm512_load_ps(first), _mm512_load_ps(second)};
    const Pair x{_mm512_mul_ps(sum.first, alpha), _mm512_mul_ps(sum.second, alpha)};
    if (streamed) {
      stream_pair(to, x);
    } else if (!add) {
      store_pair(to, mask, x);
    } else {
      const Pair old = load_pair(to, mask);
      store_pair(to, mask,
                 {_mm512_fmadd_ps(sum.first, alpha, old.first), _mm512_fmadd_ps(sum.second, alpha, old.second)});
    }
  };
  if (!turned) {
    for (Index i = 0; i < rows; ++i)
      store_row(i, sums + i * kSquare, sums + i * kSquare + kSide);
    return;
  }
  for (Index first = 0; first < rows; first += kSide) {
    alignas(64) float halves[2][kSide * kSide];
    for (Index half = 0; half < 2; ++half) {
      __m512i square[kSide];
#pragma GCC unroll 16
      for (Index i = 0; i < kSide; ++i)
        square[i] = _mm512_load_si512(sums + (half * kSide + i) * kSquare + first);
      store_tile<true>(square, reinterpret_cast<std::byte*>(halves[half]));
    }
    for (Index i = 0; i < std::min(kSide, rows - first); ++i)
      store_row(first + i, halves[0] + i * kSide, halves[1] + i * kSide);
  }
}

}  // namespace osteon::cpu::amx

#endif
