#include "backends/kernels/block_sum.hpp"

#include <algorithm>

#include "backends/check.hpp"
#include "backends/cpu/parallel.hpp"
#include "backends/cpu/simd.hpp"

namespace osteon::kernels {
namespace {

using Index = std::int64_t;

/// sums[lane] = x[lane] + x[rank + lane] + ..., each lane one chain in order; x holds `count` elements.
template <Index kLanes, class T, class C>
void sum_lanes(const T* x, Index count, Index rank, C* sums) {
  C total[kLanes] = {};
  Index i = 0;
  for (; i + kLanes <= count; i += rank)
#pragma omp simd
    for (Index lane = 0; lane < kLanes; ++lane)
      total[lane] += cpu::load(x[i + lane]);
  for (Index lane = 0; lane < count - i; ++lane)  // the ragged last block
    total[lane] += cpu::load(x[i + lane]);
  std::copy(total, total + kLanes, sums);
}

/// y[lane], y[rank + lane], ... (+)= x[lane]; y holds `count` elements.
template <Index kLanes, class T>
void spread_lanes(const T* x, Index count, Index rank, T* y, bool add) {
  compute_t<T> values[kLanes];
  for (Index lane = 0; lane < kLanes; ++lane)
    values[lane] = cpu::load(x[lane]);
  Index i = 0;
  for (; i + kLanes <= count; i += rank)
#pragma omp simd
    for (Index lane = 0; lane < kLanes; ++lane)
      cpu::store(y[i + lane], values[lane], add);
  for (Index lane = 0; lane < count - i; ++lane)
    cpu::store(y[i + lane], values[lane], add);
}

/// Walks the lanes [0, rank) in the widest pieces that fit: f(lane, std::integral_constant<Index, width>).
template <class F>
void for_lanes(Index rank, const F& f) {
  Index lane = 0;
  const auto pieces = [&]<Index kLanes>() {
    for (; lane + kLanes <= rank; lane += kLanes)
      f(lane, std::integral_constant<Index, kLanes>{});
  };
  pieces.template operator()<64>();
  pieces.template operator()<32>();
  pieces.template operator()<16>();
  pieces.template operator()<8>();
  pieces.template operator()<4>();
  pieces.template operator()<1>();
}

template <class T, class R>
void sum_rows(const ConstView& x, const Sink& y) {
  const T* const from = x.as<T>();
  R* const to = y.view.as<R>();
  const Index features = x.cols(), rank = y.view.cols();
  cpu::parallel_rows(x.rows(), features, [&](Index row) {
    const T* const source = from + row * features;
    R* const target = to + row * rank;
    for_lanes(rank, [&](Index lane, auto width) {
      compute_t<T> sums[width];
      sum_lanes<width>(source + lane, features - lane, rank, sums);
      for (Index i = 0; i < width; ++i)
        cpu::store(target[lane + i], sums[i], y.add);
    });
  });
}

}  // namespace

void block_sum(Cpu, ConstView x, Sink y) {
  check(y.view.cols() >= 1, "block_sum: rank: expected at least 1, got ", y.view.cols());
  check(x.rows() == y.view.rows(), "block_sum: expected as many rows of y as of x, got x ", x.shape, " and y ",
        y.view.shape);
  dispatch_floating(x.dtype, "block_sum", [&]<class T>(T) {
    if (y.view.dtype == accumulator(x.dtype))
      sum_rows<T, compute_t<T>>(x, y);
    else
      sum_rows<T, T>(x, y);
  });
}

void block_tile(Cpu, ConstView x, Sink y) {
  check(x.cols() >= 1, "block_tile: rank: expected at least 1, got ", x.cols());
  check(x.rows() == y.view.rows(), "block_tile: expected as many rows of y as of x, got x ", x.shape, " and y ",
        y.view.shape);
  dispatch_floating(x.dtype, "block_tile", [&]<class T>(T) {
    const T* const from = x.as<T>();
    T* const to = y.view.as<T>();
    const Index features = y.view.cols(), rank = x.cols();
    cpu::parallel_rows(x.rows(), features, [&](Index row) {
      for_lanes(rank, [&](Index lane, auto width) {
        spread_lanes<width>(from + row * rank + lane, features - lane, rank, to + row * features + lane, y.add);
      });
    });
  });
}

}  // namespace osteon::kernels
