#include "backends/cuda/column_chain.hpp"
#include "backends/cuda/heads.hpp"
#include "backends/kernels/group_norm.hpp"
#include "backends/rwkv_checks.hpp"

namespace osteon::kernels {
namespace {

using namespace cuda;

template <class T>
struct GroupNorm {
  using C = compute_t<T>;
  std::int64_t groups;
  Global<const T> x, weight, bias;
  C eps;
  Global<T> y;
  Global<C> statistics;

  template <int kCount, int kLanes>
  __device__ void operator()(const Segment<kCount, kLanes>& of) const {
    const C n = static_cast<C>(of.width);
    C total = 0, square = 0;
    of.each([&](std::int64_t at, std::int64_t) {
      const auto in = load_pack<kCount>(x, at);
      for (int k = 0; k < kCount; ++k)
        total += load(in[k]);
    });
    const C mean = of.sum(total) / n;
    // Of small differences, so that a large mean does not cancel.
    of.each([&](std::int64_t at, std::int64_t) {
      const auto in = load_pack<kCount>(x, at);
      for (int k = 0; k < kCount; ++k) {
        const C apart = load(in[k]) - mean;
        square += apart * apart;
      }
    });
    const C rstd = C(1) / sqrt(of.sum(square) / n + eps);
    if (of.writes()) {
      statistics[2 * of.index] = mean;
      statistics[2 * of.index + 1] = rstd;
    }
    const std::int64_t column = of.index % groups * of.width;
    of.each([&](std::int64_t at, std::int64_t j) {
      const auto in = load_pack<kCount>(x, at), w = load_pack<kCount>(weight, column + j),
                 b = load_pack<kCount>(bias, column + j);
      Pack<T, kCount> out;
      for (int k = 0; k < kCount; ++k)
        out[k] = static_cast<T>(load(w[k]) * ((load(in[k]) - mean) * rstd) + load(b[k]));
      store_pack(y, at, out);
    });
  }
};

template <class T>
struct GroupNormBackward {
  using C = compute_t<T>;
  std::int64_t groups;
  Global<const T> dy, x, weight;
  Global<const C> statistics;
  Target<T> dx;

  template <int kCount, int kLanes>
  __device__ void operator()(const Segment<kCount, kLanes>& of) const {
    const C n = static_cast<C>(of.width);
    const C mean = of.width > 0 ? statistics[2 * of.index] : C(0),
            rstd = of.width > 0 ? statistics[2 * of.index + 1] : C(0);
    const std::int64_t column = of.index % groups * of.width;
    C total = 0, dot = 0;
    of.each([&](std::int64_t at, std::int64_t j) {
      const auto g = load_pack<kCount>(dy, at), in = load_pack<kCount>(x, at),
                 w = load_pack<kCount>(weight, column + j);
      for (int k = 0; k < kCount; ++k) {
        const C q = load(g[k]) * load(w[k]);
        total += q;
        dot += q * (load(in[k]) - mean);
      }
    });
    const C mean_q = of.sum(total) / n, slope = of.sum(dot) / n * rstd * rstd;
    of.each([&](std::int64_t at, std::int64_t j) {
      const auto g = load_pack<kCount>(dy, at), in = load_pack<kCount>(x, at),
                 w = load_pack<kCount>(weight, column + j);
      Pack<C, kCount> out;
      for (int k = 0; k < kCount; ++k)
        out[k] = rstd * (load(g[k]) * load(w[k]) - mean_q - (load(in[k]) - mean) * slope);
      dx.store_pack(at, out);
    });
  }
};

/// What a row adds to the weight's gradient.
template <class T>
struct WeightTerm {
  std::int64_t groups, width;
  Global<const T> dy, x;
  Global<const compute_t<T>> statistics;
  __device__ compute_t<T> operator()(std::int64_t i, std::int64_t row, std::int64_t column) const {
    const std::int64_t of = 2 * (row * groups + column / width);
    return load(dy[i]) * ((load(x[i]) - statistics[of]) * statistics[of + 1]);
  }
};

}  // namespace

void group_norm(Cuda device, ConstView x, ConstView weight, ConstView bias, double eps, View y, View statistics) {
  const std::int64_t rows = x.rows(), d = x.cols(), groups = statistics.dim(-2);
  check_group_norm(x, weight, bias, y, statistics);
  dispatch_floating(x.dtype, "group_norm", [&](auto element) {
    using T = decltype(element);
    using C = compute_t<T>;
    constexpr int kCount = kPackOf<T>;
    const GroupNorm<T> op{
        groups,         elements<T>(x),         elements<T>(weight), elements<T>(bias), static_cast<C>(eps),
        elements<T>(y), elements<C>(statistics)};
    const bool packs = all_hold_packs<kCount>(op.x, op.weight, op.bias, op.y);
    for_segments<kCount>("group_norm", device, rows * groups, d / groups, packs, op);
  });
}

void group_norm_backward(Cuda device, ConstView dy, ConstView x, ConstView weight, ConstView statistics, Sink dx,
                         Sink dweight) {
  const std::int64_t rows = x.rows(), d = x.cols(), groups = statistics.dim(-2), width = d / groups;
  check_group_norm_backward(dy, x, weight, statistics, dx, dweight);
  dispatch_floating(x.dtype, "group_norm_backward", [&](auto element) {
    using T = decltype(element);
    using C = compute_t<T>;
    constexpr int kCount = kPackOf<T>;
    const GroupNormBackward<T> op{
        groups, elements<T>(dy), elements<T>(x), elements<T>(weight), elements<C>(statistics), target<T>(dx)};
    // Before dx, which may be dy.
    if (dweight)
      dispatch_floating(dweight.view.dtype, "group_norm_backward", [&](auto sum_element) {
        using To = decltype(sum_element);
        column_chain<common_t<T, To>>("group_norm_dweight", device, rows, d,
                                      WeightTerm<T>{groups, width, op.dy, op.x, op.statistics}, target<To>(dweight));
      });
    const bool packs = all_hold_packs<kCount>(op.dy, op.x, op.weight, op.dx.data);
    if (dx)
      for_segments<kCount>("group_norm_backward", device, rows * groups, width, packs, op);
  });
}

void head_normalize(Cuda device, ConstView x, double eps, View y, View norm) {
  const std::int64_t heads = norm.cols(), n = x.cols() / heads;
  check_head_normalize("head_normalize", "y", x, y, norm);
  dispatch_floating(x.dtype, "head_normalize", [&](auto element) {
    using T = decltype(element);
    using C = compute_t<T>;
    constexpr int kCount = kPackOf<T>;
    const HeadNormalize<T> op{elements<T>(x), static_cast<C>(eps), elements<T>(y), elements<C>(norm)};
    for_segments<kCount>("head_normalize", device, x.rows() * heads, n, all_hold_packs<kCount>(op.x, op.y), op);
  });
}

void head_normalize_backward(Cuda device, ConstView dy, ConstView y, ConstView norm, Sink dx) {
  const std::int64_t heads = norm.cols(), n = y.cols() / heads;
  check_head_normalize("head_normalize_backward", "dy", y, dy, norm);
  expect_sinks("head_normalize_backward", "dx", y, {dx});
  dispatch_floating(y.dtype, "head_normalize_backward", [&](auto element) {
    using T = decltype(element);
    constexpr int kCount = kPackOf<T>;
    const HeadNormalizeBackward<T> op{elements<T>(dy), elements<T>(y), elements<compute_t<T>>(norm), target<T>(dx)};
    for_segments<kCount>("head_normalize_backward", device, y.rows() * heads, n,
                         all_hold_packs<kCount>(op.dy, op.y, op.dx.data), op);
  });
}

void head_bonus(Cuda device, ConstView r, ConstView k, ConstView v, ConstView bonus, std::int64_t heads, View y) {
  check_head_bonus(r, k, v, bonus, y);
  dispatch_floating(r.dtype, "head_bonus", [&](auto element) {
    using T = decltype(element);
    constexpr int kCount = kPackOf<T>;
    const HeadBonus<T> op{heads, elements<T>(r), elements<T>(k), elements<T>(v), elements<T>(bonus), elements<T>(y)};
    const bool packs = all_hold_packs<kCount>(op.r, op.k, op.v, op.bonus, op.y);
    for_segments<kCount>("head_bonus", device, r.rows() * heads, r.cols() / heads, packs, op);
  });
}

void head_bonus_backward(Cuda device, ConstView dy, ConstView r, ConstView k, ConstView v, ConstView bonus,
                         std::int64_t heads, Sink dr, Sink dk, Sink dv, View terms) {
  check_head_bonus_backward(dy, r, k, v, bonus, dr, dk, dv);
  dispatch_floating(r.dtype, "head_bonus_backward", [&](auto element) {
    using T = decltype(element);
    constexpr int kCount = kPackOf<T>;
    const HeadBonusBackward<T> op{heads,          elements<T>(dy),
                                  elements<T>(r), elements<T>(k),
                                  elements<T>(v), elements<T>(bonus),
                                  target<T>(dr),  target<T>(dk),
                                  target<T>(dv),  elements<compute_t<T>>(terms)};
    const bool packs = all_hold_packs<kCount>(op.dy, op.r, op.k, op.v, op.bonus) &&
                       all_hold_packs<kCount>(op.dr.data, op.dk.data, op.dv.data, op.terms);
    for_segments<kCount>("head_bonus_backward", device, r.rows() * heads, r.cols() / heads, packs, op);
  });
}

}  // namespace osteon::kernels
