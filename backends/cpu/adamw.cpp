#include "backends/kernels/adamw.hpp"

#include <cmath>

#include "backends/cpu/check.hpp"
#include "backends/cpu/parallel.hpp"
#include "backends/cpu/simd.hpp"

namespace osteon::kernels {
namespace {

using namespace cpu;

/// a + t (b - a), as torch's vectorised lerp: with one rounding at the end where there is an instruction for it, as
/// std::fma is slow elsewhere.
template <class C>
C lerp(C a, C b, C t) {
#ifdef __FP_FAST_FMAF
  return std::fma(t, b - a, a);
#else
  return a + t * (b - a);
#endif
}

}  // namespace

void adamw(Cpu, View parameter, View master, ConstView gradient, View m, View v, AdamwOptions options) {
  const DType state = accumulator(parameter.dtype);
  const auto expect_state = [&](const char* name, const ConstView& view) {
    expect_numel("adamw", name, view, parameter.numel());
    expect_dtype("adamw", name, view, state);
  };
  expect_state("gradient", gradient);
  expect_state("m", m);
  expect_state("v", v);
  if (master)
    expect_state("master", master);
  check<ConfigError>(options.step >= 1, "adamw: step: expected at least 1, got ", options.step);
  dispatch_floating(parameter.dtype, "adamw", [&](auto element) {
    using T = decltype(element);
    using C = compute_t<T>;
    const auto power = [&](double beta) { return std::pow(beta, static_cast<double>(options.step)); };
    const C decay = static_cast<C>(1 - options.lr * options.weight_decay);
    const C mix = static_cast<C>(1 - options.beta1);
    const C beta2 = static_cast<C>(options.beta2), square_mix = static_cast<C>(1 - options.beta2);
    const C correction = static_cast<C>(std::sqrt(1 - power(options.beta2)));
    const C eps = static_cast<C>(options.eps), step = static_cast<C>(-options.lr / (1 - power(options.beta1)));
    const C scale = static_cast<C>(options.gradient_scale);
    const C* g = gradient.as<C>();
    C *first = m.as<C>(), *second = v.as<C>();
    T* p = parameter.as<T>();
    C* full = master ? master.as<C>() : nullptr;
    const auto updated = [=](std::int64_t i, C value) {
      const C gi = g[i] * scale;
      const C mi = lerp(first[i], gi, mix);
      const C vi = second[i] * beta2 + square_mix * gi * gi;
      first[i] = mi;
      second[i] = vi;
      return value * decay + step * mi / (std::sqrt(vi) / correction + eps);
    };
    if (full != nullptr)
      parallel_elements(parameter.numel(), [=](std::int64_t i) {
        const C value = updated(i, full[i]);
        full[i] = value;
        store(p[i], value);
      });
    else
      parallel_elements(parameter.numel(), [=](std::int64_t i) { store(p[i], updated(i, load(p[i]))); });
  });
}

}  // namespace osteon::kernels
