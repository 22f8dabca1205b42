#pragma once

#include <algorithm>
#include <bit>
#include <cstdint>
#include <cstring>
#include <type_traits>

#include "backends/cpu/vector.hpp"

namespace osteon::cpu {

/// Two neighbouring terms of a sum, in the place of an f32: processors with AVX512-BF16 multiply and add both at once.
/// Aligned as its terms are: a row of them may begin anywhere.
struct [[gnu::packed, gnu::aligned(2)]] Bf16Pair {
  std::uint32_t bits;  ///< the first term in the lower half
};

#if defined(__AVX512BF16__)
constexpr bool kMultipliesPairs = true;
#else
constexpr bool kMultipliesPairs = false;
#endif

/// What elements E of a product hold: the terms in one of them, and the type of their sums.
template <class E>
constexpr std::int64_t kTerms = std::is_same_v<E, Bf16Pair> ? 2 : 1;
template <class E>
using sum_t = std::conditional_t<std::is_same_v<E, Bf16Pair>, float, E>;

/// Elements that hold `count` terms.
template <class E>
constexpr std::int64_t elements_of(std::int64_t count) {
  return (count + kTerms<E> - 1) / kTerms<E>;
}

/// The first and the second terms of pairs, as numbers.
[[gnu::always_inline]] inline Vector<float> first_terms(const IntVector<float>& pairs) {
  return std::bit_cast<Vector<float>>(pairs << 16);
}
[[gnu::always_inline]] inline Vector<float> second_terms(const IntVector<float>& pairs) {
  return std::bit_cast<Vector<float>>(pairs & -65536);
}

/// Subnormal numbers as zeros of their sign.
[[gnu::always_inline]] inline Vector<float> without_subnormals(const Vector<float>& x) {
  const auto bits = std::bit_cast<IntVector<float>>(x);
  const IntVector<float> sign = bits & INT32_MIN;
  return std::bit_cast<Vector<float>>((bits & 0x7f800000) == 0 ? sign : bits);
}

/// sum + left * right lane by lane as the instruction does it: the second term's product first, and
/// without subnormals, neither read nor written (Intel's Architecture Manual, VDPBF16PS).
[[gnu::always_inline]] inline Vector<float> add_pair_products(const IntVector<float>& left,
                                                              const IntVector<float>& right, const Vector<float>& sum) {
  const auto add = [](const Vector<float>& a, const Vector<float>& b, const Vector<float>& to) {
    return without_subnormals(fused(without_subnormals(a), without_subnormals(b), to));
  };
  return add(first_terms(left), first_terms(right),
             add(second_terms(left), second_terms(right), without_subnormals(sum)));
}

/// sum + the products of one element with the elements in the lanes of `columns`.
template <class E>
[[gnu::always_inline]] inline Vector<sum_t<E>> multiply_add(const E& a, const Vector<sum_t<E>>& columns,
                                                            const Vector<sum_t<E>>& sum) {
  using V = Vector<sum_t<E>>;
  if constexpr (!std::is_same_v<E, Bf16Pair>) {
    return fused(broadcast<V>(a), columns, sum);
  } else {
    const IntVector<float> left = IntVector<float>{} + std::bit_cast<std::int32_t>(a.bits);
#if defined(__AVX512BF16__)
    return (V)_mm512_dpbf16_ps((__m512)sum, (__m512bh)left, (__m512bh)columns);
#else
    return add_pair_products(left, std::bit_cast<IntVector<float>>(columns), sum);
#endif
  }
}

// As many unsigned integers as a vector of f32 has lanes, of 32 and of 16 bits.
typedef std::uint32_t WordVector __attribute__((vector_size(kVectorBytes)));
typedef std::uint16_t HalfVector __attribute__((vector_size(kVectorBytes / 2)));

/// Numbers rounded to bf16, one after the other.
[[gnu::always_inline]] inline HalfVector rounded_to_bf16(const Vector<float>& x) {
#if defined(__AVX512BF16__)
  return (HalfVector)_mm512_cvtneps_pbh((__m512)x);
#else
  const auto bits = std::bit_cast<WordVector>(x);
  const WordVector rounded = bits + 0x7fffU + ((bits >> 16) & 1U), quiet = bits | 0x400000U;
  const auto is_nan = (bits & 0x7fffffffU) > 0x7f800000U;
  return __builtin_convertvector((is_nan ? quiet : rounded) >> 16, HalfVector);
#endif
}

/// Two rows of numbers as pairs, the first one's in the lower halves.
[[gnu::always_inline]] inline Vector<float> paired(const Vector<float>& first, const Vector<float>& second) {
#if defined(__AVX512BF16__)
  const auto halves = (__m512i)_mm512_cvtne2ps_pbh((__m512)second, (__m512)first);
  const __m512i order = _mm512_set_epi16(31, 15, 30, 14, 29, 13, 28, 12, 27, 11, 26, 10, 25, 9, 24, 8, 23, 7, 22, 6, 21,
                                         5, 20, 4, 19, 3, 18, 2, 17, 1, 16, 0);
  return (Vector<float>)_mm512_permutexvar_epi16(order, halves);
#else
  const WordVector lower = __builtin_convertvector(rounded_to_bf16(first), WordVector);
  return std::bit_cast<Vector<float>>(lower | __builtin_convertvector(rounded_to_bf16(second), WordVector) << 16);
#endif
}

/// A vector of elements E from `count` stored terms of a row, zero beyond them.
template <class E, class T>
inline Vector<sum_t<E>> load_elements(const T* from, std::int64_t count) {
  if constexpr (!std::is_same_v<E, Bf16Pair>) {
    return load_lanes<E>(from, count);
  } else {
    if (count >= 2 * kLanes<float>)
      return load_vector<Vector<float>>(from);
    Vector<float> v{};
    std::memcpy(&v, from, static_cast<std::size_t>(std::max<std::int64_t>(count, 0)) * sizeof(bf16));
    return v;
  }
}

}  // namespace osteon::cpu
