#include "backends/kernels/l2_wrap.hpp"

#include "test/backends/kernel_checks.hpp"

using namespace osteon;
using namespace osteon::test;

TEST_CASE("l2_wrap_backward is the largest logit of each row times the factor, at its place") {
  for (const Shape& shape : {Shape{1}, Shape{0, 3}, Shape{3, 7}, Shape{2, 3, 5}, Shape{7, 300}, Shape{2, 1000}})
    for (const DType dtype : kFloating) {
      CAPTURE(shape);
      CAPTURE(dtype);
      const std::int64_t columns = shape[-1];
      const Array logits = Array::random(dtype, shape, 1), old = Array::random(dtype, shape, 2);
      const double factor = 0.37;
      std::vector<double> want(static_cast<std::size_t>(logits.numel()));
      for (std::int64_t row = 0; row < shape.rows(); ++row) {
        std::int64_t best = row * columns;
        for (std::int64_t i = best; i < (row + 1) * columns; ++i)
          if (logits.at(i) > logits.at(best))
            best = i;
        want[static_cast<std::size_t>(best)] = logits.at(best) * factor;
      }
      Array dlogits = old, sum = old;
      kernels::l2_wrap_backward(kDevice, logits.view(), factor, dlogits.sink(false));
      check_close(dlogits, want, 2);
      kernels::l2_wrap_backward(kDevice, logits.view(), factor, sum.sink(true));
      for (std::int64_t i = 0; i < logits.numel(); ++i)
        want[static_cast<std::size_t>(i)] += old.at(i);
      check_close(sum, want, 2);
    }
}

TEST_CASE("l2_wrap_backward pulls the first of equal logits") {
  Array logits(DType::f32, {2, 40}), dlogits(DType::f32, {2, 40});
  for (const std::int64_t i : {3, 35, 39})
    logits.set(i, 2);
  kernels::l2_wrap_backward(kDevice, logits.view(), 0.5, dlogits.sink(false));
  for (std::int64_t i = 0; i < 80; ++i)
    CHECK(dlogits.at(i) == (i == 3 ? 1 : 0));
}

TEST_CASE("l2_wrap_backward gives the same bits for any number of threads") {
  const Array logits = Array::random(DType::bf16, {90, 70}, 1);
  check_thread_counts([&] {
    std::vector<Array> out(1, logits);
    kernels::l2_wrap_backward(kDevice, logits.view(), 0.3, out[0].sink(true));
    return out;
  });
}

TEST_CASE("l2_wrap_backward refuses shapes and dtypes that do not fit") {
  Array logits(DType::f32, {2, 3}), other(DType::f32, {3, 2}), half(DType::bf16, {2, 3}), none(DType::f32, {2, 0});
  CHECK_THROWS_WITH_AS(kernels::l2_wrap_backward(kDevice, logits.view(), 1, other.sink(false)),
                       "l2_wrap_backward: dlogits: expected shape [2, 3], got [3, 2]", ShapeError);
  CHECK_THROWS_AS(kernels::l2_wrap_backward(kDevice, logits.view(), 1, half.sink(false)), ShapeError);
  CHECK_THROWS_WITH_AS(kernels::l2_wrap_backward(kDevice, none.view(), 1, none.sink(false)),
                       "l2_wrap_backward: logits: expected at least one column, got shape [2, 0]", ShapeError);
}
