#include "backends/kernels/activation.hpp"

#include "backends/check.hpp"
#include "backends/cpu/lane_math.hpp"
#include "backends/cpu/parallel.hpp"

namespace osteon::kernels {
namespace {

using namespace cpu;

/// tanh(x) within 2e-7 of it: a sigmoid, but a polynomial near 0, where the difference of two halves would cancel.
Vector<float> tanh_lanes(const Vector<float>& x) {
  using V = Vector<float>;
  const V square = x * x;
  V p = broadcast<V>(62.0F / 2835);
  for (const float term : {-17.0F / 315, 2.0F / 15, -1.0F / 3, 1.0F})
    p = fused(p, square, broadcast<V>(term));
  return square < 0.0625F ? p * x : sigmoid_lanes(x + x) * 2.0F - 1.0F;
}
Vector<double> tanh_lanes(const Vector<double>& x) {
  Vector<double> y{};
  for (int lane = 0; lane < static_cast<int>(kLanes<double>); ++lane)
    y[lane] = std::tanh(x[lane]);
  return y;
}

struct Identity {
  template <class V>
  V value(const V& z) const {
    return z;
  }
  template <class V>
  V slope(const V&) const {
    return V{} + 1;
  }
};
struct Tanh {
  template <class V>
  V value(const V& z) const {
    return tanh_lanes(z);
  }
  template <class V>
  V slope(const V& z) const {
    const V y = tanh_lanes(z);
    return 1 - y * y;
  }
};
struct Sigmoid {
  template <class V>
  V value(const V& z) const {
    return sigmoid_lanes(z);
  }
  template <class V>
  V slope(const V& z) const {
    return sigmoid_lanes(z) * sigmoid_lanes(-z);  // 1 - y would cancel near 1
  }
};
struct ReluSquared {
  template <class V>
  V value(const V& z) const {
    const V positive = z < 0 ? V{} : z;  // NaN stays
    return positive * positive;
  }
  template <class V>
  V slope(const V& z) const {
    return z < 0 ? V{} : z + z;
  }
};

template <class F>
void dispatch(Activation f, const F& call) {
  switch (f) {
    case Activation::identity:
      return call(Identity{});
    case Activation::tanh:
      return call(Tanh{});
    case Activation::sigmoid:
      return call(Sigmoid{});
    case Activation::relu_squared:
      return call(ReluSquared{});
  }
}

/// f(i, z, lanes) for vectors z = x + bias of every row, by all threads.
template <class T, class F>
void each_sum(const ConstView& x, const ConstView& bias, const F& f) {
  using C = compute_t<T>;
  const T* in = x.as<T>();
  const T* b = bias ? bias.as<T>() : nullptr;
  const std::int64_t d = b != nullptr ? x.cols() : x.numel();
  if (b == nullptr)
    return parallel_ranges(d, 1, 64, [&](std::int64_t begin, std::int64_t end) {
      each_vector<C>(begin, end,
                     [&](std::int64_t i, std::int64_t lanes) { f(i, load_lanes<C>(in + i, lanes), lanes); });
    });
  parallel_rows(x.rows(), d, [&](std::int64_t row) {
    each_vector<C>(0, d, [&](std::int64_t j, std::int64_t lanes) {
      f(row * d + j, load_lanes<C>(in + row * d + j, lanes) + load_lanes<C>(b + j, lanes), lanes);
    });
  });
}

void expect_bias(std::string_view op, const ConstView& bias, const ConstView& x) {
  if (!bias)
    return;
  expect_numel(op, "bias", bias, x.cols());
  expect_dtype(op, "bias", bias, x.dtype);
}

}  // namespace

void activate(Cpu, ConstView x, ConstView bias, Activation f, View y) {
  expect_like("activate", "y", y, x);
  expect_bias("activate", bias, x);
  dispatch_floating(x.dtype, "activate", [&](auto element) {
    using T = decltype(element);
    T* out = y.as<T>();
    dispatch(f, [&](auto function) {
      each_sum<T>(x, bias, [=](std::int64_t i, const auto& z, std::int64_t lanes) {
        store_lanes(out + i, function.value(z), lanes);
      });
    });
  });
}

void activate_backward(Cpu, ConstView dy, ConstView x, ConstView bias, Activation f, Sink dx) {
  expect_like("activate_backward", "dy", dy, x);
  expect_like("activate_backward", "dx", dx.view, x);
  expect_bias("activate_backward", bias, x);
  dispatch_floating(x.dtype, "activate_backward", [&](auto element) {
    using T = decltype(element);
    using C = compute_t<T>;
    const T* g = dy.as<T>();
    T* out = dx.view.as<T>();
    dispatch(f, [&](auto function) {
      each_sum<T>(x, bias, [=, add = dx.add](std::int64_t i, const auto& z, std::int64_t lanes) {
        put_lanes(out + i, load_lanes<C>(g + i, lanes) * function.slope(z), lanes, add);
      });
    });
  });
}

}  // namespace osteon::kernels
