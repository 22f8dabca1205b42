#include "nn/optim/schedule.hpp"

#include <cmath>
#include <doctest/doctest.h>

#include "nn/optim/adamw.hpp"
#include "test/nn/io_messages.hpp"

using namespace osteon;
using Kind = nn::Schedule::Kind;

TEST_CASE("schedules are transformers': warm-up from 0, then constant, linear or half a cosine to 0") {
  const auto rate = [](Kind kind, std::int64_t step, double min_ratio = 0) {
    return nn::Schedule{kind, 2.0, 4, 12, min_ratio}.at(step);
  };
  for (const Kind kind : {Kind::constant, Kind::linear, Kind::cosine}) {
    CHECK(rate(kind, 0) == 0);
    CHECK(rate(kind, 1) == 0.5);
    CHECK(rate(kind, 3) == 1.5);
    CHECK(rate(kind, 4) == 2);
  }
  CHECK(rate(Kind::constant, 11) == 2);
  CHECK(rate(Kind::linear, 5) == 1.75);
  CHECK(rate(Kind::linear, 8) == 1);
  CHECK(rate(Kind::linear, 11) == 0.25);
  CHECK(rate(Kind::linear, 99) == 0);
  CHECK(rate(Kind::cosine, 6) == doctest::Approx(1 + std::sqrt(0.5)));
  CHECK(rate(Kind::cosine, 8) == doctest::Approx(1));
  CHECK(rate(Kind::cosine, 10) == doctest::Approx(1 - std::sqrt(0.5)));
  CHECK(rate(Kind::cosine, 12) == doctest::Approx(0));
  CHECK(rate(Kind::cosine, 99) == doctest::Approx(0));
  CHECK(rate(Kind::linear, 8, 0.5) == 1.5);
  CHECK(rate(Kind::cosine, 12, 0.25) == doctest::Approx(0.5));
  CHECK(nn::Schedule{Kind::linear, 2.0, 0, 4}.at(0) == 2);  // without warm-up the first step is a whole one
  CHECK(nn::Schedule{Kind::cosine, 2.0, 4, 4}.at(4) == 2);  // nothing left to decay over
}

TEST_CASE("schedules by name") {
  CHECK(nn::parse_schedule("linear") == Kind::linear);
  CHECK(test::message_of([] { nn::parse_schedule("cosin"); }) ==
        "schedule: expected constant, linear or cosine, got \"cosin\"; did you mean 'cosine'?");
}

TEST_CASE("gradients are clipped by their global norm, as torch does") {
  const Tensor a = from_values(std::vector<double>{1, 2}, {2}, DType::f32);
  const Tensor b = from_values(std::vector<double>{0}, {1}, DType::f32), none = b.detach();
  for (const Tensor& parameter : {a, b, none})
    parameter.set_requires_grad(true);
  a.set_grad(from_values(std::vector<double>{2, 4}, {2}, DType::f32));
  b.set_grad(from_values(std::vector<double>{4}, {1}, DType::f32));
  CHECK(nn::global_gradient_norm({{"a", a}, {"b", b}}) == 6);
  CHECK(nn::clip_factor(6, 3) == 3 / (6 + 1e-6));
  CHECK(nn::clip_factor(2, 3) == 1);
  CHECK(nn::clip_factor(6, 0) == 1);
}

TEST_CASE("parameter groups: each has its rate and decay; without a gradient nothing moves") {
  const auto parameter = [](bool with_gradient) {
    const Tensor made = from_values(std::vector<double>{1, -2}, {2}, DType::f64);
    made.set_requires_grad(true);
    if (with_gradient)
      made.set_grad(from_values(std::vector<double>{0.5, -0.25}, {2}, DType::f64));
    return made;
  };
  const Tensor plain = parameter(true), fast = parameter(true), decayed = parameter(true), idle = parameter(false);
  nn::AdamW optimizer({{{{"plain", plain}, {"idle", idle}}, 1.0, 0.0},
                       {{{"fast", fast}}, 16.0, 0.0},
                       {{{"decayed", decayed}}, 1.0, 0.5}});
  optimizer.step(0.01);
  // The first step goes by the rate, whatever the gradient's size.
  CHECK(plain.to_doubles()[0] == doctest::Approx(1 - 0.01).epsilon(1e-6));
  CHECK(plain.to_doubles()[1] == doctest::Approx(-2 + 0.01).epsilon(1e-6));
  CHECK(fast.to_doubles()[0] == doctest::Approx(1 - 0.16).epsilon(1e-6));
  CHECK(decayed.to_doubles()[1] == doctest::Approx(-2 * (1 - 0.01 * 0.5) + 0.01).epsilon(1e-6));
  CHECK(idle.to_doubles() == std::vector<double>{1, -2});
}
