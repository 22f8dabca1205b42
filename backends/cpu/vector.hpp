#pragma once

#include <bit>
#include <cstdint>
#include <cstring>
#include <type_traits>
#if defined(__FMA__)
#include <immintrin.h>
#endif

#include "backends/cpu/simd.hpp"

namespace osteon::cpu {

// Vectors of GCC's vector extension, as wide as the machine's registers.

#if defined(__AVX512F__)
constexpr std::int64_t kVectorBytes = 64;
#elif defined(__AVX__)
constexpr std::int64_t kVectorBytes = 32;
#else
constexpr std::int64_t kVectorBytes = 16;
#endif

template <class C, std::int64_t kBytes = kVectorBytes>
struct vector_of {
  using Int = std::conditional_t<sizeof(C) == 8, std::int64_t, std::int32_t>;
  typedef C type __attribute__((vector_size(kBytes)));
  typedef Int int_type __attribute__((vector_size(kBytes)));
};
template <class C, std::int64_t kBytes = kVectorBytes>
using Vector = typename vector_of<C, kBytes>::type;
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
/// v, as something of which the compiler does not know where it came from.
template <class V>
[[gnu::always_inline]] inline V opaque(V v) {
#if defined(__AVX512F__)
  asm("" : "+v"(v));
#elif defined(__SSE__)
  asm("" : "+x"(v));
#endif
  return v;
}
/// load_vector for a vector that several multiply-adds share. GCC would put the load into each of them, and such loops
/// are bound by their loads.
template <class V, class C>
inline V load_shared(const C* from) {
  return opaque(load_vector<V>(from));
}
template <class V, class C>
inline void store_vector(C* to, const V& v) {
  std::memcpy(static_cast<void*>(to), &v, sizeof v);
}

/// sum + a * b in every lane with one rounding, where the processor has an instruction for it. Said outright: for some
/// processors GCC takes multiply-adds in a chain apart, and then the same sum comes out differently in two loops.
template <class V>
[[gnu::always_inline]] inline V fused(const V& a, const V& b, const V& sum) {
#if defined(__FMA__)
  constexpr bool kSingle = sizeof(V{}[0]) == 4;
#if defined(__AVX512F__)
  if constexpr (sizeof(V) == 64) {
    if constexpr (kSingle)
      return (V)_mm512_fmadd_ps((__m512)a, (__m512)b, (__m512)sum);
    else
      return (V)_mm512_fmadd_pd((__m512d)a, (__m512d)b, (__m512d)sum);
  }
#endif
  if constexpr (sizeof(V) == 32) {
    if constexpr (kSingle)
      return (V)_mm256_fmadd_ps((__m256)a, (__m256)b, (__m256)sum);
    else
      return (V)_mm256_fmadd_pd((__m256d)a, (__m256d)b, (__m256d)sum);
  }
  if constexpr (sizeof(V) == 16) {
    if constexpr (kSingle)
      return (V)_mm_fmadd_ps((__m128)a, (__m128)b, (__m128)sum);
    else
      return (V)_mm_fmadd_pd((__m128d)a, (__m128d)b, (__m128d)sum);
  }
#else
  return sum + a * b;
#endif
}

/// `value` in every lane: taking 0 away changes no number, and the compiler takes it for the broadcast that it is.
template <class V, class C>
[[gnu::always_inline]] inline V broadcast(C value) {
  return value - V{};
}

/// A vector of elements, computed in C; `count` of them, the rest 0.
template <class C, class T>
inline Vector<C> load_lanes(const T* from, std::int64_t count) {
  if constexpr (std::is_same_v<T, C>) {
    if (count >= kLanes<C>)
      return load_vector<Vector<C>>(from);
  } else {
    if (count >= kLanes<C>) {  // bf16 is the upper half of an f32
      typedef std::uint16_t Halves __attribute__((vector_size(kVectorBytes / 2)));
      const auto bits = __builtin_convertvector(load_vector<Halves>(from), IntVector<C>) << 16;
      return std::bit_cast<Vector<C>>(bits);
    }
  }
  Vector<C> v{};
  for (std::int64_t lane = 0; lane < count; ++lane)
    v[lane] = load(from[lane]);
  return v;
}

/// Lanes of a (first) and b by number.
template <class C>
[[gnu::always_inline]] inline Vector<C> shuffled(Vector<C> a, Vector<C> b, IntVector<C> lanes) {
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
