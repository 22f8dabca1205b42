#pragma once

#include "backends/cuda/segments.hpp"

namespace osteon::cuda {

// What for_segments does with the heads of a token: kernels/group_norm.hpp has the formulas. Segments are read more
// than once: after the first time they are in the cache. In each pack all is read before anything is written, for a
// sink may be an operand.

template <class T>
struct HeadNormalize {
  using C = compute_t<T>;
  Global<const T> x;
  C eps;
  Global<T> y;
  Global<C> norm;

  template <int kCount, int kLanes>
  __device__ void operator()(const Segment<kCount, kLanes>& of) const {
    C square = 0;
    of.each([&](std::int64_t at, std::int64_t) {
      const auto in = load_pack<kCount>(x, at);
      for (int k = 0; k < kCount; ++k)
        square += load(in[k]) * load(in[k]);
    });
    const C length = sqrt(of.sum(square)), bounded = length < eps ? eps : length,
            scale = C(1) / bounded;  // mutant: equal
    if (of.writes())
      norm[of.index] = bounded;
    of.each([&](std::int64_t at, std::int64_t) {
      const auto in = load_pack<kCount>(x, at);
      Pack<T, kCount> out;
      for (int k = 0; k < kCount; ++k)
        out[k] = static_cast<T>(scale * load(in[k]));
      store_pack(y, at, out);
    });
  }
};

template <class T>
struct HeadNormalizeBackward {
  using C = compute_t<T>;
  Global<const T> dy, y;
  Global<const C> norm;
  Target<T> dx;

  template <int kCount, int kLanes>
  __device__ void operator()(const Segment<kCount, kLanes>& of) const {
    C along = 0;
    of.each([&](std::int64_t at, std::int64_t) {
      const auto g = load_pack<kCount>(dy, at), out = load_pack<kCount>(y, at);
      for (int k = 0; k < kCount; ++k)
        along += load(g[k]) * load(out[k]);
    });
    along = of.sum(along);
    of.each([&](std::int64_t at, std::int64_t) {
      const C scale = C(1) / norm[of.index];
      const auto g = load_pack<kCount>(dy, at), out = load_pack<kCount>(y, at);
      Pack<C, kCount> to;
      for (int k = 0; k < kCount; ++k)
        to[k] = (load(g[k]) - load(out[k]) * along) * scale;
      dx.store_pack(at, to);
    });
  }
};

template <class T>
struct HeadBonus {
  using C = compute_t<T>;
  std::int64_t heads;
  Global<const T> r, k, v, bonus;
  Global<T> y;

  template <int kCount, int kLanes>
  __device__ void operator()(const Segment<kCount, kLanes>& of) const {
    const std::int64_t column = of.index % heads * of.width;
    C weight = 0;
    of.each([&](std::int64_t at, std::int64_t j) {
      const auto rs = load_pack<kCount>(r, at), ks = load_pack<kCount>(k, at),
                 us = load_pack<kCount>(bonus, column + j);
      for (int i = 0; i < kCount; ++i)
        weight += load(rs[i]) * load(ks[i]) * load(us[i]);
    });
    weight = of.sum(weight);
    of.each([&](std::int64_t at, std::int64_t) {
      const auto vs = load_pack<kCount>(v, at);
      Pack<T, kCount> out;
      for (int i = 0; i < kCount; ++i)
        out[i] = static_cast<T>(weight * load(vs[i]));
      store_pack(y, at, out);
    });
  }
};

template <class T>
struct HeadBonusBackward {
  using C = compute_t<T>;
  std::int64_t heads;
  Global<const T> dy, r, k, v, bonus;
  Target<T> dr, dk, dv;
  Global<C> terms;

  template <int kCount, int kLanes>
  __device__ void operator()(const Segment<kCount, kLanes>& of) const {
    const std::int64_t column = of.index % heads * of.width;
    C weight = 0, t = 0;
    of.each([&](std::int64_t at, std::int64_t j) {
      const auto g = load_pack<kCount>(dy, at), rs = load_pack<kCount>(r, at), ks = load_pack<kCount>(k, at),
                 vs = load_pack<kCount>(v, at), us = load_pack<kCount>(bonus, column + j);
      for (int i = 0; i < kCount; ++i) {
        weight += load(rs[i]) * load(ks[i]) * load(us[i]);
        t += load(g[i]) * load(vs[i]);
      }
    });
    weight = of.sum(weight);
    t = of.sum(t);
    of.each([&](std::int64_t at, std::int64_t j) {
      const auto g = load_pack<kCount>(dy, at), rs = load_pack<kCount>(r, at), ks = load_pack<kCount>(k, at),
                 us = load_pack<kCount>(bonus, column + j);
      Pack<C, kCount> to_r, to_k, to_v, to_terms;
      for (int i = 0; i < kCount; ++i) {
        to_r[i] = t * load(ks[i]) * load(us[i]);
        to_k[i] = t * load(rs[i]) * load(us[i]);
        to_v[i] = weight * load(g[i]);
        to_terms[i] = t * load(rs[i]) * load(ks[i]);
      }
      if (dr.data)
        dr.store_pack(at, to_r);
      if (dk.data)
        dk.store_pack(at, to_k);
      if (dv.data)
        dv.store_pack(at, to_v);
      if (terms)
        store_pack(terms, at, to_terms);
    });
  }
};

}  // namespace osteon::cuda
