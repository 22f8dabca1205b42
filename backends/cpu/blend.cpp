#include "backends/kernels/blend.hpp"

#include "backends/cpu/column_chain.hpp"
#include "backends/cpu/lane_math.hpp"
#include "backends/rwkv_checks.hpp"

namespace osteon::kernels {
namespace {

using namespace cpu;

/// to (+)= value; nothing where nobody wants it. All operands are read before: a sink may be one of them.
template <class T, class V>
void store_sum(T* to, std::int64_t i, const V& value, std::int64_t lanes, bool add) {
  if (to != nullptr)
    put_lanes(to + i, value, lanes, add);
}

template <class T>
T* elements(const Sink& sink) {
  return sink ? sink.view.as<T>() : nullptr;
}

}  // namespace

void lerp(Cpu, ConstView a, ConstView b, ConstView gate, View y) {
  check_lerp(a, b, gate, y);
  dispatch_floating(a.dtype, "lerp", [&](auto element) {
    using T = decltype(element);
    using C = compute_t<T>;
    const T *from = a.as<T>(), *to = b.as<T>(), *g = gate.as<T>();
    T* out = y.as<T>();
    parallel_ranges(a.numel(), 1, 64, [=](std::int64_t begin, std::int64_t end) {
      each_vector<C>(begin, end, [=](std::int64_t i, std::int64_t lanes) {
        const Vector<C> start = load_lanes<C>(from + i, lanes);
        store_lanes(out + i, start + (load_lanes<C>(to + i, lanes) - start) * load_lanes<C>(g + i, lanes), lanes);
      });
    });
  });
}

void lerp_backward(Cpu, ConstView dy, ConstView a, ConstView b, ConstView gate, Sink da, Sink db, Sink dgate) {
  check_lerp_backward(dy, a, b, gate, da, db, dgate);
  dispatch_floating(a.dtype, "lerp_backward", [&](auto element) {
    using T = decltype(element);
    using C = compute_t<T>;
    const T *grad = dy.as<T>(), *from = a.as<T>(), *to = b.as<T>(), *g = gate.as<T>();
    T* const out_a = elements<T>(da);
    T* const out_b = elements<T>(db);
    T* const out_gate = elements<T>(dgate);
    const bool add_a = da.add, add_b = db.add, add_gate = dgate.add;
    parallel_ranges(a.numel(), 1, 64, [=](std::int64_t begin, std::int64_t end) {
      each_vector<C>(begin, end, [=](std::int64_t i, std::int64_t lanes) {
        const Vector<C> d = load_lanes<C>(grad + i, lanes), at = load_lanes<C>(g + i, lanes);
        const Vector<C> way = load_lanes<C>(to + i, lanes) - load_lanes<C>(from + i, lanes);
        store_sum(out_a, i, d * (1 - at), lanes, add_a);
        store_sum(out_b, i, d * at, lanes, add_b);
        store_sum(out_gate, i, d * way, lanes, add_gate);
      });
    });
  });
}

void gated_key(Cpu, ConstView k, ConstView gate, ConstView strength, View y) {
  check_gated_key(k, gate, strength, y);
  dispatch_floating(k.dtype, "gated_key", [&](auto element) {
    using T = decltype(element);
    using C = compute_t<T>;
    const T *key = k.as<T>(), *g = gate.as<T>(), *s = strength.as<T>();
    T* out = y.as<T>();
    const std::int64_t d = k.cols();
    parallel_rows(k.rows(), d, [=](std::int64_t row) {
      each_vector<C>(0, d, [=](std::int64_t j, std::int64_t lanes) {
        const std::int64_t i = row * d + j;
        const Vector<C> factor = 1 + (load_lanes<C>(g + i, lanes) - 1) * load_lanes<C>(s + j, lanes);
        store_lanes(out + i, load_lanes<C>(key + i, lanes) * factor, lanes);
      });
    });
  });
}

void gated_key_backward(Cpu, ConstView dy, ConstView k, ConstView gate, ConstView strength, Sink dk, Sink dgate,
                        Sink dstrength) {
  check_gated_key_backward(dy, k, gate, strength, dk, dgate, dstrength);
  dispatch_floating(k.dtype, "gated_key_backward", [&](auto element) {
    using T = decltype(element);
    using C = compute_t<T>;
    const T *grad = dy.as<T>(), *key = k.as<T>(), *g = gate.as<T>(), *s = strength.as<T>();
    const std::int64_t d = k.cols();
    if (dstrength)
      column_chain<C>("gated_key_backward", k.rows(), d, dstrength,
                      [=](std::int64_t, std::int64_t i) { return load(grad[i]) * load(key[i]) * (load(g[i]) - C(1)); });
    T* const out_k = elements<T>(dk);
    T* const out_gate = elements<T>(dgate);
    const bool add_k = dk.add, add_gate = dgate.add;
    if (out_k == nullptr && out_gate == nullptr)
      return;
    parallel_rows(k.rows(), d, [=](std::int64_t row) {
      each_vector<C>(0, d, [=](std::int64_t j, std::int64_t lanes) {
        const std::int64_t i = row * d + j;
        const Vector<C> at = load_lanes<C>(grad + i, lanes), scale = load_lanes<C>(s + j, lanes);
        const Vector<C> factor = 1 + (load_lanes<C>(g + i, lanes) - 1) * scale;
        const Vector<C> own_key = load_lanes<C>(key + i, lanes);
        store_sum(out_k, i, at * factor, lanes, add_k);
        store_sum(out_gate, i, at * own_key * scale, lanes, add_gate);
      });
    });
  });
}

}  // namespace osteon::kernels
