#include "backends/kernels/rms_norm.hpp"

#include "test/backends/kernel_checks.hpp"
#include "test/reference/rms_norm.hpp"

using namespace osteon;
using namespace osteon::test;

TEST_CASE("rms_norm and its gradient agree with plain loops") {
  for (const Shape& shape : {Shape{1, 1}, Shape{3, 5}, Shape{0, 4}, Shape{2, 3, 33}, Shape{70, 512}})
    for (const DType dtype : kFloating)
      for (const DType weight_dtype : kFloating) {
        CAPTURE(shape);
        CAPTURE(dtype);
        CAPTURE(weight_dtype);
        const std::int64_t h = shape[-1], rows = shape.rows();
        const double eps = 1e-5;
        const Array x = Array::random(dtype, shape, 1), w = Array::random(weight_dtype, {h}, 2),
                    dy = Array::random(dtype, shape, 3);
        Array y(dtype, shape), rstd(accumulator(dtype), {rows});
        kernels::rms_norm(kDevice, x.view(), w.view(), eps, y.view(), rstd.view());
        // In bf16 the normalised row is rounded once before the weight.
        check_close(y, reference::rms_norm(x.doubles(), w.doubles(), eps), dtype == DType::bf16 ? 0x1p15 : 32);
        const auto want = reference::rms_norm_backward(dy.doubles(), x.doubles(), w.doubles(), eps);
        for (const bool add : {false, true}) {
          const Array old_dx = Array::random(dtype, shape, 4), old_dw = Array::random(accumulator(dtype), {h}, 5);
          Array dx = old_dx, dw = old_dw, alone = old_dx;
          kernels::rms_norm_backward(kDevice, dy.view(), x.view(), w.view(), rstd.view(), dx.sink(add), dw.sink(add));
          std::vector<double> want_dx = want.dx, want_dw = want.dweight;
          for (std::size_t i = 0; add && i < want_dx.size(); ++i)
            want_dx[i] += old_dx.at(static_cast<std::int64_t>(i));
          for (std::size_t j = 0; add && j < want_dw.size(); ++j)
            want_dw[j] += old_dw.at(static_cast<std::int64_t>(j));
          check_close(dx, want_dx, 32);
          check_close(dw, want_dw, 32);
          kernels::rms_norm_backward(kDevice, dy.view(), x.view(), w.view(), rstd.view(), alone.sink(add), {});
          CHECK(alone == dx);
        }
      }
}

TEST_CASE("rms_norm rounds the normalised row to bf16 before the weight, as transformers does") {
  const std::int64_t h = 64;
  const Array x = Array::random(DType::bf16, {4, h}, 1), w = Array::random(DType::bf16, {h}, 2);
  Array y(DType::bf16, {4, h}), rstd(DType::f32, {4});
  kernels::rms_norm(kDevice, x.view(), w.view(), 1e-6, y.view(), rstd.view());
  for (std::int64_t i = 0; i < y.numel(); ++i) {
    const auto normalised = bf16(static_cast<float>(x.at(i)) * static_cast<float>(rstd.at(i / h)));
    CHECK(y.at(i) == static_cast<double>(bf16(static_cast<float>(normalised) * static_cast<float>(w.at(i % h)))));
  }
}

TEST_CASE("rms_norm gives the same bits for any number of threads and any split of the rows") {
  const std::int64_t rows = 200, h = 300;
  for (const DType dtype : kFloating) {
    const Array x = Array::random(dtype, {rows, h}, 1), w = Array::random(dtype, {h}, 2),
                dy = Array::random(dtype, {rows, h}, 3);
    const auto run = [&](std::int64_t step) {
      std::vector<Array> out = {Array(dtype, {rows, h}), Array(accumulator(dtype), {rows, 1}), Array(dtype, {rows, h}),
                                Array::random(accumulator(dtype), {h}, 4)};
      for (std::int64_t n = 0; n < rows; n += step) {
        const auto part = [&](auto& a) { return a.view().slice_rows(n, n + step); };
        kernels::rms_norm(kDevice, part(x), w.view(), 1e-6, part(out[0]), part(out[1]));
        kernels::rms_norm_backward(kDevice, part(dy), part(x), w.view(), part(out[1]), {part(out[2]), false},
                                   out[3].sink(true));
      }
      return out;
    };
    CHECK(run(rows) == run(50));
    check_thread_counts([&] { return run(rows); });
  }
}

TEST_CASE("rms_norm lets NaN through, in its own row only") {
  Array x = Array::random(DType::f32, {2, 8}, 1), y = x, rstd(DType::f32, {2});
  x.set(3, std::nan(""));
  kernels::rms_norm(kDevice, x.view(), Array::random(DType::f32, {8}, 2).view(), 1e-6, y.view(), rstd.view());
  CHECK(std::isnan(y.at(0)));
  CHECK(std::isfinite(y.at(8)));
}

TEST_CASE("rms_norm refuses shapes and dtypes that do not fit") {
  Array x(DType::f32, {2, 4}), w(DType::f32, {4}), small(DType::f32, {3}), rstd(DType::f32, {2}), wide(DType::f64, {2}),
      half(DType::bf16, {2, 4});
  CHECK_THROWS_WITH_AS(kernels::rms_norm(kDevice, x.view(), small.view(), 1, x.view(), rstd.view()),
                       "rms_norm: weight: expected shape [4], got [3]", ShapeError);
  CHECK_THROWS_AS(kernels::rms_norm(kDevice, x.view(), w.view(), 1, half.view(), rstd.view()), ShapeError);
  CHECK_THROWS_AS(kernels::rms_norm(kDevice, x.view(), w.view(), 1, x.view(), wide.view()), ShapeError);
  CHECK_THROWS_AS(kernels::rms_norm_backward(kDevice, half.view(), x.view(), w.view(), rstd.view(), {}, {}),
                  ShapeError);
  CHECK_THROWS_AS(kernels::rms_norm_backward(kDevice, x.view(), x.view(), w.view(), rstd.view(), {}, small.sink(false)),
                  ShapeError);
}
