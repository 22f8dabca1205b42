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
