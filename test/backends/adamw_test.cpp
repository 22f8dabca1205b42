#include "backends/kernels/adamw.hpp"

#include "test/backends/kernel_checks.hpp"
#include "test/reference/adamw.hpp"

using namespace osteon;
using namespace osteon::test;

namespace {

constexpr kernels::AdamwOptions kOptions{
    .lr = 1e-2, .beta1 = 0.9, .beta2 = 0.999, .eps = 1e-8, .weight_decay = 0.1, .step = 1};

struct State {
  Array parameter, master, m, v;
  State(DType dtype, std::int64_t n)
      : parameter(Array::random(dtype, {n}, 1)),
        master(converted(parameter, accumulator(dtype))),
        m(accumulator(dtype), {n}),
        v(accumulator(dtype), {n}) {}
  kernels::AdamwUpdate update(const Array& gradient, kernels::AdamwOptions options, bool with_master) {
    return {parameter.view(), with_master ? master.view() : View{}, gradient.view(), m.view(), v.view(), options};
  }
  void step(const Array& gradient, kernels::AdamwOptions options, bool with_master) {
    const kernels::AdamwUpdate update = this->update(gradient, options, with_master);
    kernels::adamw(kDevice, {&update, 1});
  }
};

}  // namespace

TEST_CASE("adamw follows the written-out algorithm over many steps") {
  for (const std::int64_t n : {0, 1, 7, 20003})
    for (const DType dtype : kFloating)
      for (const double gradient_scale : {1.0, 0.25})
        for (const bool with_master : {false, true}) {
          if (dtype == DType::bf16 && !with_master)
            continue;  // tested below: without a master each step is rounded
          CAPTURE(n);
          CAPTURE(dtype);
          State state(dtype, n);
          std::vector<reference::Adamw> want;
          for (const double p : state.parameter.doubles())
            want.push_back({p, 0, 0});
          for (std::int64_t step = 1; step <= 5; ++step) {
            const Array gradient = Array::random(accumulator(dtype), {n}, static_cast<std::uint64_t>(10 + step));
            kernels::AdamwOptions options = kOptions;
            options.step = step;
            options.gradient_scale = gradient_scale;
            state.step(gradient, options, with_master);
            for (std::int64_t i = 0; i < n; ++i) {
              auto& s = want[static_cast<std::size_t>(i)];
              s = reference::adamw(s, gradient_scale * gradient.at(i), options.lr, options.beta1, options.beta2,
                                   options.eps, options.weight_decay, static_cast<double>(step));
            }
          }
          std::vector<double> p, m, v;
          for (const auto& s : want) {
            p.push_back(s.parameter);
            m.push_back(s.m);
            v.push_back(s.v);
          }
          check_close(with_master ? state.master : state.parameter, p, 16);
          check_close(state.m, m, 8);
          check_close(state.v, v, 8);
          if (with_master)
            CHECK(state.parameter == converted(state.master, dtype));
        }
}

TEST_CASE("adamw rounds as torch.optim.AdamW does, operation by operation") {
  const std::int64_t n = 1003;
  State state(DType::f32, n), start = state;
  for (std::int64_t i = 0; i < n; ++i) {
    start.m.set(i, 0.1 * static_cast<double>(i % 17) - 0.8);
    start.v.set(i, 0.01 * static_cast<double>(i % 13));
  }
  state = start;
  const Array gradient = Array::random(DType::f32, {n}, 2);
  kernels::AdamwOptions options = kOptions;
  options.step = 3;
  state.step(gradient, options, false);
  const auto f = [](double value) { return static_cast<float>(value); };
  for (std::int64_t i = 0; i < n; ++i) {  // volatile: every operation rounds
    const float g = f(gradient.at(i));
    volatile float p = f(start.parameter.at(i)), m = f(start.m.at(i)), v = f(start.v.at(i)), t = 0;
    p = p * f(1 - options.lr * options.weight_decay);
    t = g - m;
#if defined(__FP_FAST_FMAF) || defined(OSTEON_TEST_CUDA)
    m = std::fma(f(1 - options.beta1), t, m);  // lerp
#else
    t = f(1 - options.beta1) * t;
    m = m + t;
#endif
    v = v * f(options.beta2);
    t = f(1 - options.beta2) * g;
    t = t * g;
    v = v + t;
    volatile float denominator = std::sqrt(v);
    denominator = denominator / f(std::sqrt(1 - std::pow(options.beta2, 3)));
    denominator = denominator + f(options.eps);
    t = f(-options.lr / (1 - std::pow(options.beta1, 3))) * m;
    t = t / denominator;
    p = p + t;
    REQUIRE(static_cast<float>(state.m.at(i)) == m);
    REQUIRE(static_cast<float>(state.v.at(i)) == v);
    REQUIRE(static_cast<float>(state.parameter.at(i)) == p);
  }
}

TEST_CASE("adamw without a master rounds a bf16 parameter at each step, with one it does not lose small steps") {
  const std::int64_t n = 100;
  State with(DType::bf16, n), without(DType::bf16, n);
  const Array before = with.parameter, gradient = Array::random(DType::f32, {n}, 2);
  kernels::AdamwOptions options = kOptions;
  options.lr = 1e-5;
  options.weight_decay = 0;
  for (options.step = 1; options.step <= 300; ++options.step) {
    with.step(gradient, options, true);
    without.step(gradient, options, false);
  }
  std::int64_t moved_with = 0, moved_without = 0;
  for (std::int64_t i = 0; i < n; ++i) {
    moved_with += with.parameter.at(i) != before.at(i) ? 1 : 0;
    moved_without += without.parameter.at(i) != before.at(i) ? 1 : 0;
  }
  CHECK(moved_with > 2 * moved_without);
}

TEST_CASE("adamw gives the same bits for any number of threads and lets NaN through") {
  for (const DType dtype : kFloating) {
    Array gradient = Array::random(accumulator(dtype), {30001}, 2);
    gradient.set(5, std::nan(""));
    check_thread_counts([&] {
      State state(dtype, 30001);
      state.step(gradient, kOptions, true);
      CHECK(std::isnan(state.parameter.at(5)));
      return std::vector<Array>{state.parameter, state.master, state.m, state.v};
    });
  }
}

TEST_CASE("adamw of many parameters in one pass gives the bits of one after another") {
  const std::int64_t sizes[] = {5, 20003, 0, 16384, 1};
  std::vector<State> alone, together;
  std::vector<Array> gradients;
  for (const std::int64_t n : sizes)
    for (const DType dtype : kFloating) {
      alone.emplace_back(dtype, n);
      together.emplace_back(dtype, n);
      gradients.push_back(Array::random(accumulator(dtype), {n}, static_cast<std::uint64_t>(n)));
    }
  std::vector<kernels::AdamwUpdate> updates;
  for (std::size_t i = 0; i < gradients.size(); ++i) {
    kernels::AdamwOptions options = kOptions;
    options.lr *= static_cast<double>(i + 1);
    alone[i].step(gradients[i], options, i % 2 == 0);
    updates.push_back(together[i].update(gradients[i], options, i % 2 == 0));
  }
  kernels::adamw(kDevice, updates);
  for (std::size_t i = 0; i < gradients.size(); ++i) {
    CHECK(together[i].parameter == alone[i].parameter);
    CHECK(together[i].master == alone[i].master);
    CHECK(together[i].m == alone[i].m);
    CHECK(together[i].v == alone[i].v);
  }
}

TEST_CASE("adamw refuses shapes, dtypes and steps that do not fit") {
  Array p(DType::bf16, {3}), f(DType::f32, {3}), small(DType::f32, {2});
  const auto run = [&](Array& master, Array& g, Array& m, Array& v, std::int64_t step) {
    kernels::AdamwOptions options = kOptions;
    options.step = step;
    const kernels::AdamwUpdate update{p.view(), master.view(), g.view(), m.view(), v.view(), options};
    kernels::adamw(kDevice, {&update, 1});
  };
  CHECK_THROWS_WITH_AS(run(f, p, f, f, 1), "adamw: gradient: expected f32, got bf16", ShapeError);
  CHECK_THROWS_AS(run(small, f, f, f, 1), ShapeError);
  CHECK_THROWS_AS(run(f, f, small, f, 1), ShapeError);
  CHECK_THROWS_AS(run(f, f, f, p, 1), ShapeError);
  CHECK_THROWS_WITH_AS(run(f, f, f, f, 0), "adamw: step: expected at least 1, got 0", ConfigError);
}
