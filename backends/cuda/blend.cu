#include "backends/cuda/column_chain.hpp"
#include "backends/cuda/map.hpp"
#include "backends/kernels/blend.hpp"
#include "backends/rwkv_checks.hpp"

namespace osteon::kernels {
namespace {

using namespace cuda;

struct Lerp {
  template <class T>
  __device__ compute_t<T> operator()(T a, T b, T gate) const {
    return load(a) + (load(b) - load(a)) * load(gate);
  }
};
struct LerpBackward {
  template <class C, class T>
  __device__ void operator()(C (&to)[3], T dy, T a, T b, T gate) const {
    to[0] = load(dy) * (C(1) - load(gate));
    to[1] = load(dy) * load(gate);
    to[2] = load(dy) * (load(b) - load(a));
  }
};

struct GatedKey {
  template <class T>
  __device__ compute_t<T> operator()(T k, T gate, T strength) const {
    using C = compute_t<T>;
    return load(k) * (C(1) + (load(gate) - C(1)) * load(strength));
  }
};
struct GatedKeyBackward {
  template <class C, class T>
  __device__ void operator()(C (&to)[2], T dy, T k, T gate, T strength) const {
    to[0] = load(dy) * (C(1) + (load(gate) - C(1)) * load(strength));
    to[1] = load(dy) * load(k) * load(strength);
  }
};
/// What a row adds to the strength's gradient.
template <class T>
struct StrengthTerm {
  Global<const T> dy, k, gate;
  __device__ compute_t<T> operator()(std::int64_t i, std::int64_t, std::int64_t) const {
    return load(dy[i]) * load(k[i]) * (load(gate[i]) - compute_t<T>(1));
  }
};

}  // namespace

void lerp(Cuda device, ConstView a, ConstView b, ConstView gate, View y) {
  check_lerp(a, b, gate, y);
  dispatch_floating(a.dtype, "lerp", [&](auto element) {
    using T = decltype(element);
    map("lerp", device, a.numel(), Lerp{}, Target<T>{elements<T>(y)}, elements<T>(a), elements<T>(b),
        elements<T>(gate));
  });
}

void lerp_backward(Cuda device, ConstView dy, ConstView a, ConstView b, ConstView gate, Sink da, Sink db, Sink dgate) {
  check_lerp_backward(dy, a, b, gate, da, db, dgate);
  dispatch_floating(a.dtype, "lerp_backward", [&](auto element) {
    using T = decltype(element);
    map_all("lerp_backward", device, a.numel(), LerpBackward{},
            Targets<T, 3>{{target<T>(da), target<T>(db), target<T>(dgate)}}, elements<T>(dy), elements<T>(a),
            elements<T>(b), elements<T>(gate));
  });
}

void gated_key(Cuda device, ConstView k, ConstView gate, ConstView strength, View y) {
  check_gated_key(k, gate, strength, y);
  dispatch_floating(k.dtype, "gated_key", [&](auto element) {
    using T = decltype(element);
    const std::int64_t d = k.cols();
    map("gated_key", device, k.rows(), d, GatedKey{}, Target<T>{elements<T>(y)}, d, Operand<T>{elements<T>(k), d},
        Operand<T>{elements<T>(gate), d}, Operand<T>{elements<T>(strength)});
  });
}

void gated_key_backward(Cuda device, ConstView dy, ConstView k, ConstView gate, ConstView strength, Sink dk, Sink dgate,
                        Sink dstrength) {
  check_gated_key_backward(dy, k, gate, strength, dk, dgate, dstrength);
  dispatch_floating(k.dtype, "gated_key_backward", [&](auto element) {
    using T = decltype(element);
    const std::int64_t d = k.cols();
    const auto g = elements<T>(dy), key = elements<T>(k), gates = elements<T>(gate);
    if (dstrength)
      dispatch_floating(dstrength.view.dtype, "gated_key_backward", [&](auto sum_element) {
        using To = decltype(sum_element);
        column_chain<common_t<T, To>>("gated_key_dstrength", device, k.rows(), d, StrengthTerm<T>{g, key, gates},
                                      target<To>(dstrength));
      });
    if (dk || dgate)
      map_all("gated_key_backward", device, k.rows(), d, GatedKeyBackward{},
              Targets<T, 2>{{target<T>(dk), target<T>(dgate)}}, Operand<T>{g, d}, Operand<T>{key, d},
              Operand<T>{gates, d}, Operand<T>{elements<T>(strength)});
  });
}

}  // namespace osteon::kernels
