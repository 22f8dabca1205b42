#pragma once

#include <bit>
#include <cmath>
#include <cstdint>
#include <type_traits>

#include "backends/dtype.hpp"

namespace osteon::cpu {

// A loop that calls a function is not vectorised: these are inlined wherever they are used.

/// An element in the type that kernels compute in, and back. By reference: a bf16 that is copied as a struct stops the
/// vectoriser.
template <class T>
[[gnu::always_inline]] inline compute_t<T> load(const T& value) {
  return static_cast<compute_t<T>>(value);
}
template <class T, class C>
[[gnu::always_inline]] inline void store(T& to, C value) {
  to = static_cast<T>(value);
}
/// y = value or y += value, with one rounding.
template <class T, class C>
[[gnu::always_inline]] inline void store(T& to, C value, bool add) {
  to = static_cast<T>(add ? static_cast<C>(to) + value : value);
}
/// The same for loops, where a test per element would stop the vectoriser: see dispatch_add.
template <class T, class C, bool kAdd>
[[gnu::always_inline]] inline void store(T& to, C value, std::bool_constant<kAdd>) {
  if constexpr (kAdd)
    to = static_cast<T>(static_cast<C>(to) + value);
  else
    to = static_cast<T>(value);
}
/// f(std::true_type) or f(std::false_type).
template <class F>
void dispatch_add(bool add, const F& f) {
  if (add)
    f(std::true_type{});
  else
    f(std::false_type{});
}

/// exp for loops under `omp simd`: no branches, no calls. About 1 ulp; subnormal results, infinities and NaN as
/// std::exp. exp(x) = 2^n exp(r) with n = round(x / ln 2); |r| <= ln(2)/2, where a Taylor polynomial of degree 7 has an
/// error of 6e-9.
[[gnu::always_inline]] inline float exp(float x) {
  // Beyond these bounds the result is infinite or 0; a NaN fails both comparisons and stays.
  x = x > 89.0F ? 89.0F : x;
  x = x < -104.0F ? -104.0F : x;
  constexpr float kRound = 12582912.0F;  // 1.5 * 2^23: adding it leaves no fraction bits
  const float n = (x * 1.44269504088896341F + kRound) - kRound;
  const float r = (x - n * 0.693145751953125F) - n * 1.42860682030941723e-6F;  // ln 2 in two parts
  float p = r * 1.9841269841e-4F + 1.3888888889e-3F;
  p = p * r + 8.3333333333e-3F;
  p = p * r + 4.1666666667e-2F;
  p = p * r + 1.6666666667e-1F;
  p = p * r + 0.5F;
  p = p * r * r + r + 1.0F;
  // 2^n in two factors, so that subnormal results and results next to the largest f32 come out right.
  const auto exponent = static_cast<std::int32_t>(n);  // NaN: any value, p is NaN
  const std::int32_t half = exponent >> 1, rest = exponent - half;
  return p * std::bit_cast<float>((half + 127) << 23) * std::bit_cast<float>((rest + 127) << 23);
}
[[gnu::always_inline]] inline double exp(double x) { return std::exp(x); }

template <class C>
[[gnu::always_inline]] inline C sigmoid(C x) {
  return C(1) / (C(1) + exp(-x));
}

// Sums in lanes, so one order for a length. Functions rather than loops in lambdas: GCC gathers from a pointer that a
// lambda captured, element by element.

template <class Sum, class T>
Sum vector_sum(const T* x, std::int64_t n) {
  Sum s = 0;
#pragma omp simd reduction(+ : s)
  for (std::int64_t i = 0; i < n; ++i)
    s += static_cast<Sum>(x[i]);
  return s;
}

template <class Sum, class A, class B>
Sum vector_dot(const A* a, const B* b, std::int64_t n) {
  Sum s = 0;
#pragma omp simd reduction(+ : s)
  for (std::int64_t i = 0; i < n; ++i)
    s += static_cast<Sum>(a[i]) * static_cast<Sum>(b[i]);
  return s;
}

/// Sum of a b c, products taken from the left.
template <class Sum, class A, class B, class D>
Sum vector_dot(const A* a, const B* b, const D* c, std::int64_t n) {
  Sum s = 0;
#pragma omp simd reduction(+ : s)
  for (std::int64_t i = 0; i < n; ++i)
    s += static_cast<Sum>(a[i]) * static_cast<Sum>(b[i]) * static_cast<Sum>(c[i]);
  return s;
}

}  // namespace osteon::cpu
