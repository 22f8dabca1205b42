#include "backends/kernels/adamw.hpp"

#include <algorithm>
#include <cmath>
#include <vector>

#include "backends/check.hpp"
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

// Elements that a thread takes at a time; whole vectors, so that an element's place matters to no bit.
constexpr std::int64_t kPiece = 16384;

/// Some elements of one parameter.
struct Piece {
  const AdamwUpdate* update;
  std::int64_t begin, end;
};

void check_update(const AdamwUpdate& update) {
  const DType state = accumulator(update.parameter.dtype);
  const auto expect_state = [&](const char* name, const ConstView& view) {
    expect_numel("adamw", name, view, update.parameter.numel());
    expect_dtype("adamw", name, view, state);
  };
  expect_state("gradient", update.gradient);
  expect_state("m", update.m);
  expect_state("v", update.v);
  if (update.master)
    expect_state("master", update.master);
  check<ConfigError>(update.options.step >= 1, "adamw: step: expected at least 1, got ", update.options.step);
}

template <class T>
void run(const Piece& piece) {
  using C = compute_t<T>;
  const AdamwOptions& options = piece.update->options;
  const auto power = [&](double beta) { return std::pow(beta, static_cast<double>(options.step)); };
  const C decay = static_cast<C>(1 - options.lr * options.weight_decay);
  const C mix = static_cast<C>(1 - options.beta1);
  const C beta2 = static_cast<C>(options.beta2), square_mix = static_cast<C>(1 - options.beta2);
  const C correction = static_cast<C>(std::sqrt(1 - power(options.beta2)));
  const C eps = static_cast<C>(options.eps), step = static_cast<C>(-options.lr / (1 - power(options.beta1)));
  const C scale = static_cast<C>(options.gradient_scale);
  const C* const g = piece.update->gradient.as<C>();
  C *const first = piece.update->m.as<C>(), *const second = piece.update->v.as<C>();
  T* const p = piece.update->parameter.as<T>();
  const auto updated = [=](std::int64_t i, C value) {
    const C gi = g[i] * scale;
    const C mi = lerp(first[i], gi, mix);
    const C vi = second[i] * beta2 + square_mix * gi * gi;
    first[i] = mi;
    second[i] = vi;
    return value * decay + step * mi / (std::sqrt(vi) / correction + eps);
  };
  if (piece.update->master) {
    C* const full = piece.update->master.as<C>();
#pragma omp simd
    for (std::int64_t i = piece.begin; i < piece.end; ++i) {
      const C value = updated(i, full[i]);
      full[i] = value;
      store(p[i], value);
    }
  } else {
#pragma omp simd
    for (std::int64_t i = piece.begin; i < piece.end; ++i)
      store(p[i], updated(i, load(p[i])));
  }
}

}  // namespace

void adamw(Cpu, std::span<const AdamwUpdate> updates) {
  std::vector<Piece> pieces;
  for (const AdamwUpdate& update : updates) {
    check_update(update);
    const std::int64_t count = update.parameter.numel();
    for (std::int64_t begin = 0; begin < count; begin += kPiece)
      pieces.push_back({&update, begin, std::min(begin + kPiece, count)});
  }
  parallel_rows(static_cast<std::int64_t>(pieces.size()), kPiece, [&](std::int64_t i) {
    const Piece& piece = pieces[static_cast<std::size_t>(i)];
    dispatch_floating(piece.update->parameter.dtype, "adamw", [&]<class T>(T) { run<T>(piece); });
  });
}

}  // namespace osteon::kernels
