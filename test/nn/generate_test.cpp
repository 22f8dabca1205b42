#include "nn/generate.hpp"

#include <cmath>
#include <doctest/doctest.h>
#include <limits>

#include "test/nn/io_messages.hpp"
#include "test/nn/tiny_llama.hpp"
#include "test/nn/tiny_rwkv.hpp"

using namespace osteon;

namespace {

using Ids = std::vector<std::int32_t>;

/// Logits of the probabilities 0.2, 0.5, 0.3, whatever is added to all.
const std::vector<double> kLogits = {7 + std::log(0.2), 7 + std::log(0.5), 7 + std::log(0.3)};

std::int32_t chosen(double u, nn::GenerateOptions options) {
  if (options.temperature == 0.0)
    options.temperature = 1.0;
  return nn::choose_token(kLogits, options, u);
}

nn::Llama& model() {
  static nn::Llama made = nn::Llama(test::tiny_llama_config(), DType::f32);
  static const bool initialised = (made.initialize(3), true);
  (void)initialised;
  return made;
}

Ids generated(const nn::GenerateOptions& options, const Ids& prompt = {1, 7, 3, 7}) {
  return nn::generate(model(), prompt, options);
}

}  // namespace

TEST_CASE("choose_token: greedy takes the largest logit, the lower id of equals") {
  CHECK(nn::choose_token(kLogits, {}, 0.999) == 1);
  CHECK(nn::choose_token(std::vector<double>{1, 4, 4, 2}, {}, 0.5) == 1);
}

TEST_CASE("choose_token: samples by the probabilities, the likeliest first") {
  CHECK(chosen(0.0, {}) == 1);
  CHECK(chosen(0.499, {}) == 1);
  CHECK(chosen(0.501, {}) == 2);
  CHECK(chosen(0.799, {}) == 2);
  CHECK(chosen(0.801, {}) == 0);
  CHECK(chosen(0.9999999, {}) == 0);
}

TEST_CASE("choose_token: temperature, then top-k, then top-p, each of what is left") {
  // 1/T as exponent: 0.04, 0.25, 0.09 of 0.38.
  CHECK(chosen(0.24 / 0.38, {.temperature = 0.5}) == 1);
  CHECK(chosen(0.26 / 0.38, {.temperature = 0.5}) == 2);
  CHECK(chosen(0.35 / 0.38, {.temperature = 0.5}) == 0);
  CHECK(chosen(0.999, {.temperature = 1e-3}) == 1);
  CHECK(chosen(0.999, {.top_k = 1}) == 1);
  CHECK(chosen(0.62, {.top_k = 2}) == 1);  // 0.5 of 0.8
  CHECK(chosen(0.63, {.top_k = 2}) == 2);
  CHECK(chosen(0.999, {.top_k = 99}) == 0);
  CHECK(chosen(0.999, {.top_p = 1e-9}) == 1);  // at least one
  CHECK(chosen(0.999, {.top_p = 0.49}) == 1);
  CHECK(chosen(0.999, {.top_p = 0.51}) == 2);
  CHECK(chosen(0.999, {.top_p = 0.81}) == 0);
  CHECK(chosen(0.999, {.top_k = 2, .top_p = 0.6}) == 1);  // 0.5 is 0.625 of what top-k leaves
}

TEST_CASE("choose_token: logits that are not numbers are no choice") {
  for (const double bad : {std::nan(""), std::numeric_limits<double>::infinity()})
    for (const double temperature : {0.0, 1.0})
      CHECK_THROWS_WITH_AS(nn::choose_token(std::vector<double>{1, bad, 2}, {.temperature = temperature}, 0.5),
                           doctest::Contains("generate: logits: expected finite numbers, got "), NumericError);
}

TEST_CASE("generate: the cache gives what the whole text read again gives") {
  const Ids made = generated({.max_new_tokens = 24});
  REQUIRE(made.size() == 24);
  const NoGrad no_grad;
  Ids text = {1, 7, 3, 7};
  for (const std::int32_t id : made) {
    const auto length = static_cast<std::int64_t>(text.size());
    CHECK(nn::choose_token(model().last_logits(nn::token_input(text, 1, length)).to_doubles(), {}, 0) == id);
    text.push_back(id);
  }
}

TEST_CASE("generate: a recurrent model's state gives what the whole text read again gives") {
  const NoGrad no_grad;
  for (const int version : {6, 7}) {
    CAPTURE(version);
    const auto model = test::tiny_rwkv(version);
    Ids text;
    for (std::int32_t i = 0; i < 1030; ++i)  // more than the pieces in which a prompt is read
      text.push_back(i * 7919 % 256);
    const Ids made = nn::generate(*model, text, {.max_new_tokens = 6});
    REQUIRE(made.size() == 6);
    for (const std::int32_t id : made) {
      const Tensor ids = from_ids(text, {1, static_cast<std::int64_t>(text.size())});
      CHECK(nn::choose_token(model->last_logits(ids).to_doubles(), {}, 0) == id);
      text.push_back(id);
    }
  }
}

TEST_CASE("generate: a recurrent model's memory does not grow with the text") {
  for (const int version : {6, 7}) {
    CAPTURE(version);
    const auto model = test::tiny_rwkv(version);
    const auto peak = [&](std::size_t prompt, std::int64_t more) {
      reset_memory_peak(Device::cpu);
      nn::generate(*model, Ids(prompt, 5), {.max_new_tokens = more});
      return memory_report(Device::cpu).peak.total();
    };
    const std::int64_t two_pieces = peak(1025, 1);
    CHECK(peak(1025, 40) == two_pieces);
    CHECK(peak(2049, 1) == two_pieces);
  }
}

TEST_CASE("generate: a seed repeats, another differs; a stop id and the caller end it") {
  const nn::GenerateOptions one = {.max_new_tokens = 16, .temperature = 1.5, .seed = 1};
  nn::GenerateOptions two = one;
  two.seed = 2;
  CHECK(generated(one) == generated(one));
  CHECK(generated(one) != generated(two));
  const Ids free = generated({.max_new_tokens = 16});
  nn::GenerateOptions stopping = {.max_new_tokens = 16, .stop_ids = {free[3]}};
  const auto first = std::find(free.begin(), free.end(), free[3]);
  CHECK(generated(stopping) == Ids(free.begin(), first + 1));  // the stop id is part of it
  int seen = 0;
  CHECK(nn::generate(model(), Ids{1, 7, 3, 7}, {.max_new_tokens = 16}, [&](std::int32_t) { return ++seen < 2; }) ==
        Ids(free.begin(), free.begin() + 2));
  CHECK(generated({.max_new_tokens = 0}).empty());
}

TEST_CASE("generate: what it refuses") {
  const auto error = [](const nn::GenerateOptions& options, const Ids& prompt = {1}) {
    return test::message_of([&] { generated(options, prompt); });
  };
  CHECK(error({}, {}) == "generate: expected a prompt of at least one token");
  CHECK(error({.max_new_tokens = 64}) ==
        "generate: expected at most 64 positions, got 1 of the prompt and 64 new ones");
  CHECK(error({.max_new_tokens = 63}) == "no error");
  CHECK(error({.max_new_tokens = -1}) == "max_new_tokens: expected at least 0, got -1");
  CHECK(error({.max_new_tokens = 1, .temperature = -0.5}) == "temperature: expected a number of at least 0, got -0.5");
  CHECK(error({.max_new_tokens = 1, .top_k = -1}) == "top_k: expected at least 0, got -1");
  CHECK(error({.max_new_tokens = 1, .top_p = 0}) == "top_p: expected a number in (0, 1], got 0");
  CHECK(error({.max_new_tokens = 1, .top_p = 1.5}) == "top_p: expected a number in (0, 1], got 1.5");
  CHECK(test::contains(error({.max_new_tokens = 1}, {24}), "24"));  // an id outside the vocabulary
}
