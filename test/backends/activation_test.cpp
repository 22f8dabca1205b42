#include "backends/kernels/activation.hpp"

#include "test/backends/kernel_checks.hpp"
#include "test/reference/activation.hpp"

using namespace osteon;
using namespace osteon::test;
using kernels::Activation;

namespace {

constexpr Activation kAll[] = {Activation::identity, Activation::tanh, Activation::sigmoid, Activation::relu_squared};

double slope_of(Activation f, double z) {
  switch (f) {
    case Activation::tanh:
      return 1 - std::pow(std::tanh(z), 2);
    case Activation::sigmoid:
      return 1 / ((1 + std::exp(-z)) * (1 + std::exp(z)));
    case Activation::relu_squared:
      return z > 0 ? 2 * z : 0;
    default:
      return 1;
  }
}

Array wide_random(DType dtype, const Shape& shape, std::uint64_t seed) {
  Array a = Array::random(dtype, shape, seed);
  for (std::int64_t i = 0; i < a.numel(); ++i)
    a.set(i, 8 * a.at(i));
  return a;
}

}  // namespace

TEST_CASE("activations and their gradients agree with plain loops") {
  for (const Shape& shape : {Shape{1}, Shape{3, 5}, Shape{0, 4}, Shape{2, 3, 33}, Shape{37, 128}})
    for (const DType dtype : kFloating)
      for (const Activation f : kAll)
        for (const bool biased : {false, true}) {
          CAPTURE(shape);
          CAPTURE(dtype);
          CAPTURE(static_cast<int>(f));
          CAPTURE(biased);
          const Array x = wide_random(dtype, shape, 1), dy = Array::random(dtype, shape, 2),
                      bias = Array::random(dtype, {shape[-1]}, 3), old = Array::random(dtype, shape, 4);
          const ConstView given = biased ? bias.view() : ConstView{};
          std::vector<double> want, want_dx;
          for (std::int64_t i = 0; i < x.numel(); ++i) {
            const double z = x.at(i) + (biased ? bias.at(i % shape[-1]) : 0);
            want.push_back(reference::activation(f, z));
            want_dx.push_back(dy.at(i) * slope_of(f, z));
          }
          Array y(dtype, shape), dx(dtype, shape), sum = old, in_place = dy;
          kernels::activate(kDevice, x.view(), given, f, y.view());
          check_close(y, want, 2);
          kernels::activate_backward(kDevice, dy.view(), x.view(), given, f, dx.sink(false));
          check_close(dx, want_dx, 8);  // tanh within 2e-7 and its square
          kernels::activate_backward(kDevice, dy.view(), x.view(), given, f, sum.sink(true));
          for (std::int64_t i = 0; i < x.numel(); ++i)
            want_dx[static_cast<std::size_t>(i)] += old.at(i);
          check_close(sum, want_dx, 8);
          kernels::activate_backward(kDevice, in_place.view(), x.view(), given, f, in_place.sink(false));
          CHECK(in_place == dx);
        }
}

TEST_CASE("activations are stable far from zero and let NaN through") {
  Array x(DType::f32, {3}), y = x, ones = x, dx = x;
  for (std::int64_t i = 0; i < 3; ++i)
    ones.set(i, 1);
  x.set(0, -500), x.set(1, 500), x.set(2, std::nan(""));
  const double ends[][2] = {{-500, 500}, {-1, 1}, {0, 1}, {0, 250000}},
               slopes[][2] = {{1, 1}, {0, 0}, {0, 0}, {0, 1000}};
  for (std::size_t f = 0; f < 4; ++f) {
    CAPTURE(f);
    kernels::activate(kDevice, x.view(), {}, kAll[f], y.view());
    kernels::activate_backward(kDevice, ones.view(), x.view(), {}, kAll[f], dx.sink(false));
    for (std::int64_t i = 0; i < 2; ++i) {
      CHECK(y.at(i) == ends[f][i]);
      CHECK(dx.at(i) == slopes[f][i]);
    }
    CHECK(std::isnan(y.at(2)));
    CHECK((f == 0 || std::isnan(dx.at(2))));
  }
}

TEST_CASE("activations give the same bits for any number of threads") {
  for (const DType dtype : kFloating) {
    const Array x = wide_random(dtype, {61, 103}, 1), bias = Array::random(dtype, {103}, 2);
    check_thread_counts([&] {
      std::vector<Array> out(2, x);
      kernels::activate(kDevice, x.view(), bias.view(), Activation::tanh, out[0].view());
      kernels::activate_backward(kDevice, x.view(), x.view(), bias.view(), Activation::sigmoid, out[1].sink(true));
      return out;
    });
  }
}

TEST_CASE("activations refuse shapes and dtypes that do not fit") {
  Array a(DType::f32, {2, 3}), b(DType::f32, {3, 2}), half(DType::bf16, {2, 3});
  const Array bias(DType::f32, {2}), half_bias(DType::bf16, {3});
  CHECK_THROWS_WITH_AS(kernels::activate(kDevice, a.view(), bias.view(), Activation::tanh, a.view()),
                       "activate: bias: expected 3 elements, got shape [2]", ShapeError);
  CHECK_THROWS_AS(kernels::activate(kDevice, a.view(), half_bias.view(), Activation::tanh, a.view()), ShapeError);
  CHECK_THROWS_AS(kernels::activate(kDevice, a.view(), {}, Activation::tanh, half.view()), ShapeError);
  CHECK_THROWS_AS(kernels::activate_backward(kDevice, b.view(), a.view(), {}, Activation::tanh, a.sink(false)),
                  ShapeError);
  CHECK_THROWS_AS(kernels::activate_backward(kDevice, a.view(), a.view(), {}, Activation::tanh, b.sink(false)),
                  ShapeError);
}
