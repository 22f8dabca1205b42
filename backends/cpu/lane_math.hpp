#pragma once

#include <bit>
#include <cmath>
#include <cstdint>
#include <type_traits>

#include "backends/cpu/bf16_pair.hpp"
#include "backends/cpu/vector.hpp"

namespace osteon::cpu {

// Functions of numbers in the lanes of a vector, for kernels whose loops the compiler vectorises badly: it has neither
// the instruction that scales by a power of two nor the one that rounds to bf16.

constexpr double kLog2e = 1.4426950408889634;

/// 2^x in the lanes of a vector, for x of at most 126, within 1e-7; below -126 it is 0. 1 for 0, exactly.
inline Vector<float> exp2_lanes(const Vector<float>& x) {
  using V = Vector<float>;
  constexpr float kRound = 12582912.0F;  // 1.5 * 2^23: adding it leaves n in the lowest bits
  const V shifted = x + kRound, n = shifted - kRound, r = x - n;
  V p = broadcast<V>(1.53551547e-4F);  // 2^r = 1 + r q(r) on [-1/2, 1/2], the q of the least largest relative error
  for (const float term : {1.33989356e-3F, 9.61842947e-3F, 5.55033237e-2F, 2.40226477e-1F, 6.93147182e-1F, 1.0F})
    p = fused(p, r, broadcast<V>(term));
#if defined(__AVX512F__)
  const __mmask16 normal = _mm512_cmp_ps_mask((__m512)x, _mm512_set1_ps(-126), _CMP_NLT_UQ);
  return (V)_mm512_maskz_scalef_ps(normal, (__m512)p, (__m512)n);
#else
  const auto power = std::bit_cast<V>((std::bit_cast<IntVector<float>>(shifted) + 127) << 23);
  return x < -126.0F ? V{} : p * power;
#endif
}
inline Vector<double> exp2_lanes(const Vector<double>& x) {
  Vector<double> y{};
  for (int lane = 0; lane < static_cast<int>(kLanes<double>); ++lane)
    y[lane] = std::exp2(x[lane]);
  return y;
}

/// The larger number of each lane; `b` where either is NaN.
template <class V>
inline V larger(const V& a, const V& b) {
#if defined(__AVX512F__)
  if constexpr (std::is_same_v<V, Vector<float>>)
    return (V)_mm512_maskz_max_ps(0xffff, (__m512)a, (__m512)b);  // of the other form GCC 12 warns (bug 105593)
#endif
  return a > b ? a : b;
}

/// 1 / x for x of at least 1, within 1e-7.
template <class V>
inline V reciprocal(const V& x) {
#if defined(__AVX512F__)
  if constexpr (std::is_same_v<V, Vector<float>>) {  // a division takes the time of sixteen other instructions
    const V guess = (V)_mm512_maskz_rcp14_ps(0xffff, (__m512)x);
    return fused(guess, fused(-x, guess, broadcast<V>(1.0F)), guess);
  }
#endif
  return (V{} + 1) / x;
}

/// 1 / (1 + exp(-x)); below -87 it is 0.
template <class V>
inline V sigmoid_lanes(const V& x) {
  using C = std::remove_cvref_t<decltype(V{}[0])>;
  const V y = reciprocal(exp2_lanes(x * static_cast<C>(-kLog2e)) + C(1));
  return x < C(-87) ? V{} : y;
}

/// Numbers rounded to `count` stored elements.
template <class T, class V>
inline void store_lanes(T* to, const V& v, std::int64_t count) {
  using C = std::remove_cvref_t<decltype(V{}[0])>;
  constexpr bool kAsTheyAre = std::is_same_v<T, C>, kRounds = std::is_same_v<T, bf16> && std::is_same_v<C, float>;
  if constexpr (kAsTheyAre || kRounds)
    if (count >= kLanes<C>) {
      if constexpr (kRounds)
        return store_vector(to, rounded_to_bf16(v));
      else
        return store_vector(to, v);
    }
  for (std::int64_t lane = 0; lane < count; ++lane)
    store(to[lane], v[lane]);
}

/// to = v or to += v. v is rounded before the sum: fused with the product that made it, as GCC does in one copy of a
/// loop and not in the next, the same sum would come out differently for one thread and for several.
template <class T, class V>
inline void put_lanes(T* to, const V& v, std::int64_t count, bool add) {
  using C = std::remove_cvref_t<decltype(V{}[0])>;
  const V value = opaque(v);
  store_lanes(to, add ? load_lanes<C>(to, count) + value : value, count);
}

/// f(i, lanes) for vectors of elements [i, i + lanes) of [begin, end), the last one shorter.
template <class C, class F>
inline void each_vector(std::int64_t begin, std::int64_t end, const F& f) {
  std::int64_t i = begin;
  for (; i + kLanes<C> <= end; i += kLanes<C>)
    f(i, kLanes<C>);
  if (i < end)
    f(i, end - i);
}

}  // namespace osteon::cpu
