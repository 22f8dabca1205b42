#include "nn/llama.hpp"

#include <algorithm>
#include <cmath>
#include <doctest/doctest.h>

#include "test/nn/io_messages.hpp"
#include "test/nn/tiny_llama.hpp"

using namespace osteon;

namespace {

using Ids = std::vector<std::int32_t>;

struct Step {
  double loss = 0;
  std::vector<std::vector<double>> gradients;
};

/// Loss and gradients of rows with labels = ids.
Step step_of(const nn::TokenInput& input, const Ids& targets, double count) {
  nn::Llama model(test::tiny_llama_config(), DType::f64);
  model.initialize(3);
  model.set_requires_grad(true);
  const Tensor loss = model.loss(input, from_ids(targets, input.ids.shape()), count);
  loss.backward();
  model.finish_gradients();
  Step step{loss.item(), {}};
  for (const auto& [name, parameter] : model.parameters())
    step.gradients.push_back(parameter.grad().to_doubles());
  return step;
}

void check_equal(const Step& a, const Step& b, double tolerance) {
  CHECK(a.loss == doctest::Approx(b.loss).epsilon(tolerance));
  REQUIRE(a.gradients.size() == b.gradients.size());
  for (std::size_t i = 0; i < a.gradients.size(); ++i) {
    double worst = 0;
    for (std::size_t j = 0; j < a.gradients[i].size(); ++j)
      worst = std::max(worst, std::abs(a.gradients[i][j] - b.gradients[i][j]));
    CHECK(worst <= tolerance);
  }
}

// Two documents: 5 6 7 8 and 9 10 11.
const Ids kTargets = {6, 7, 8, -100, 10, 11, -100};

}  // namespace

TEST_CASE("packed documents train as padded rows do, padded right or left") {
  nn::TokenInput packed = {.ids = from_ids(Ids{5, 6, 7, 8, 9, 10, 11}, {1, 7}),
                           .positions = from_ids(Ids{0, 1, 2, 3, 0, 1, 2}, {1, 7}),
                           .key_range = from_ids(Ids{0, 1, 0, 2, 0, 3, 0, 4, 4, 5, 4, 6, 4, 7}, {1, 7, 2})};
  const Step together = step_of(packed, kTargets, 5);
  const Ids right = {5, 6, 7, 8, 9, 10, 11, 0}, right_mask = {1, 1, 1, 1, 1, 1, 1, 0};
  const Ids right_targets = {6, 7, 8, -100, 10, 11, -100, -100};
  check_equal(together, step_of(nn::token_input(right, right_mask, 2, 4), right_targets, 5), 1e-12);
  // On the left rotary positions begin later, and only their differences count; the angles are f32.
  const Ids left = {5, 6, 7, 8, 0, 9, 10, 11}, left_mask = {1, 1, 1, 1, 0, 1, 1, 1};
  const Ids left_targets = {6, 7, 8, -100, -100, 10, 11, -100};
  check_equal(together, step_of(nn::token_input(left, left_mask, 2, 4), left_targets, 5), 1e-7);
}

TEST_CASE("what is padded does not reach what is not") {
  const Ids mask = {1, 1, 1, 0};
  const Ids one = {5, 6, 7, 0}, other = {5, 6, 7, 23}, targets = {6, 7, -100, -100};
  const Step a = step_of(nn::token_input(one, mask, 1, 4), targets, 2);
  CHECK(a.loss == step_of(nn::token_input(other, mask, 1, 4), targets, 2).loss);
}

TEST_CASE("attention masks with holes, or of another size, are refused by row") {
  const auto error = [](const Ids& mask) {
    return test::message_of([&] { nn::token_input(Ids{1, 2, 3, 4, 5, 6}, mask, 2, 3); });
  };
  CHECK(error({1, 1, 1, 1, 0, 1}) == "attention_mask: row 1: expected zeros, one run of ones, zeros");
  CHECK(test::contains(error({2, 1, 1, 1, 1, 1}), "row 0"));
  CHECK(error({1, 1, 1}) == "attention_mask: expected 6 elements, got 3");
  CHECK(error({0, 1, 1, 1, 0, 0}) == "no error");
}

TEST_CASE("labels move up by one, and not across rows") {
  CHECK(nn::shifted_labels(Ids{1, 2, 3, 4, 5, 6}, 3) == Ids{2, 3, -100, 5, 6, -100});
  CHECK(nn::shifted_labels(Ids{7}, 1) == Ids{-100});
}
