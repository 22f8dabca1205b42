#include "backends/kernels/cross_entropy.hpp"

#include "test/backends/kernel_checks.hpp"
#include "test/reference/cross_entropy.hpp"

using namespace osteon;
using namespace osteon::test;

namespace {

Array some_logits(DType dtype, const Shape& shape) {
  Array a = Array::random(dtype, shape, 1);
  for (std::int64_t i = 0; i < a.numel(); ++i)
    a.set(i, 12 * a.at(i));
  return a;
}

std::vector<std::int64_t> some_targets(std::int64_t rows, std::int64_t vocab_size) {
  std::vector<std::int64_t> out;
  for (std::int64_t n = 0; n < rows; ++n)
    out.push_back(n % 4 == 2 ? -100 : n * 7919 % vocab_size);
  return out;
}

}  // namespace

TEST_CASE("cross_entropy and its gradient agree with plain loops, also in the logits' memory") {
  for (const Shape& shape : {Shape{1, 1}, Shape{5, 3}, Shape{0, 4}, Shape{7, 33}, Shape{9, 4099}, Shape{40, 512}})
    for (const DType dtype : {DType::f32, DType::f64})
      for (const DType to : kFloating) {
        CAPTURE(shape);
        CAPTURE(dtype);
        CAPTURE(to);
        const Array logits = some_logits(dtype, shape);
        const auto target = some_targets(shape[0], shape[1]);
        const Array targets = integers({shape[0]}, target);
        const auto want = reference::cross_entropy(logits.doubles(), target, static_cast<std::size_t>(shape[1]), 0.25);
        Array losses(DType::f64, {shape[0]}), dlogits(to, shape), alone(DType::f64, {shape[0]});
        kernels::cross_entropy(kDevice, logits.view(), targets.view(), 0.25, losses.view(), dlogits.view());
        const double slack = dtype == DType::f64 ? 16 : 0x1p33;  // f64 losses of f32 logits
        check_close(losses, want.losses, slack);
        check_close(dlogits, want.dlogits, to == DType::f64 ? slack : 16);
        kernels::cross_entropy(kDevice, logits.view(), targets.view(), 0.25, alone.view(), {});
        CHECK(alone == losses);
        Array eighth(DType::f64, {1}), same(to, shape);
        eighth.set(0, 0.125);
        kernels::cross_entropy(kDevice, logits.view(), targets.view(), {2.0, eighth.view()}, alone.view(), same.view());
        CHECK(same == dlogits);
        if (size_of(to) <= size_of(dtype) && logits.numel() > 0) {
          Array memory = logits;
          const View shared{memory.view().data, to, shape, true};
          kernels::cross_entropy(kDevice, memory.view(), targets.view(), 0.25, losses.view(), shared);
          Array in_place(to, shape);
          std::memcpy(in_place.view().data, shared.data, static_cast<std::size_t>(shape.numel() * size_of(to)));
          CHECK(in_place == dlogits);
          CHECK(losses == alone);
        }
      }
}

TEST_CASE("cross_entropy is stable for large logits and lets NaN through") {
  Array logits(DType::f32, {3, 3}), losses(DType::f64, {3}), dlogits(DType::f32, {3, 3});
  const double values[] = {1e30, -1e30, 0, 5000, 5001, 4000, 1, std::nan(""), 2};
  for (std::int64_t i = 0; i < 9; ++i)
    logits.set(i, values[i]);
  kernels::cross_entropy(kDevice, logits.view(), integers({3}, {0, 0, 2}).view(), 1, losses.view(), dlogits.view());
  CHECK(losses.at(0) == 0);
  CHECK(losses.at(1) == doctest::Approx(1 + std::log1p(std::exp(-1.0))));
  CHECK(std::isnan(losses.at(2)));
  CHECK(dlogits.at(1) == 0);
  CHECK(std::isnan(dlogits.at(6)));
}

TEST_CASE("the gradient of a row sums to zero even where the target is nearly certain") {
  Array logits(DType::f32, {1, 2}), losses(DType::f64, {1}), dlogits(DType::f32, {1, 2});
  logits.set(0, 17);
  kernels::cross_entropy(kDevice, logits.view(), integers({1}, {0}).view(), 1, losses.view(), dlogits.view());
  CHECK(losses.at(0) == doctest::Approx(std::log1p(std::exp(-17.0))).epsilon(1e-6));
  CHECK(dlogits.at(0) == doctest::Approx(-dlogits.at(1)).epsilon(1e-6));
}

TEST_CASE("cross_entropy gives the same bits for any number of threads and any split of the rows") {
  for (const DType dtype : {DType::f32, DType::f64})
    for (const DType to : {dtype, DType::bf16}) {
      const std::int64_t rows = 30, d = 5001;
      const Array logits = some_logits(dtype, {rows, d}), targets = integers({rows, 1}, some_targets(rows, d));
      const auto run = [&](std::int64_t step) {
        std::vector<Array> out = {Array(DType::f64, {rows, 1}), Array(to, {rows, d})};
        for (std::int64_t n = 0; n < rows; n += step) {
          const auto part = [&](auto& a) { return a.view().slice_rows(n, n + step); };
          kernels::cross_entropy(kDevice, part(logits), part(targets), 0.1, part(out[0]), part(out[1]));
        }
        return out;
      };
      CHECK(run(rows) == run(10));
      check_thread_counts([&] { return run(rows); });
    }
}

TEST_CASE("cross_entropy names targets outside the vocabulary and refuses what does not fit") {
  Array logits(DType::f32, {2, 4}), half(DType::bf16, {2, 4}), losses(DType::f64, {2}), narrow(DType::f32, {2}),
      small(DType::f32, {2, 3});
  const Array good = integers({2}, {0, 1}), high = integers({2}, {0, 4}), low = integers({2}, {-1, 0});
  const auto run = [&](const Array& l, const Array& t, Array& loss, View d) {
    finished([&] { kernels::cross_entropy(kDevice, l.view(), t.view(), 1, loss.view(), d); });
  };
  CHECK_THROWS_WITH_AS(run(logits, high, losses, {}),
                       "cross_entropy: targets: expected ids in [0, 4) or -100, got 4 at 1", IndexError);
  CHECK_THROWS_WITH_AS(run(logits, low, losses, {}),
                       "cross_entropy: targets: expected ids in [0, 4) or -100, got -1 at 0", IndexError);
  CHECK_THROWS_WITH_AS(run(half, good, losses, {}), "cross_entropy: logits: expected f32, got bf16", ShapeError);
  CHECK_THROWS_AS(run(logits, good, narrow, {}), ShapeError);
  CHECK_THROWS_AS(run(logits, narrow, losses, {}), ShapeError);
  CHECK_THROWS_AS(run(logits, integers({1}, {0}), losses, {}), ShapeError);
  CHECK_THROWS_AS(run(logits, good, losses, small.view()), ShapeError);
  CHECK_THROWS_WITH_AS(run(logits, good, losses, {logits.view().data, DType::f64, {2, 4}, true}),
                       "cross_entropy: dlogits: f64 cannot share the memory of f32 logits", ShapeError);
}
