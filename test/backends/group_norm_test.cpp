#include "backends/kernels/group_norm.hpp"

#include "test/backends/kernel_checks.hpp"

using namespace osteon;
using namespace osteon::test;

namespace {

struct Rows {
  Shape shape;
  std::int64_t groups;
};
const Rows kRows[] = {{{1, 2}, 1},   {{0, 6}, 2},   {{3, 10}, 2}, {{2, 3, 33}, 3},
                      {{21, 64}, 4}, {{5, 128}, 2}, {{7, 512}, 1}};

std::vector<double> onto(const Array& old, bool add, std::vector<double> values) {
  for (std::size_t i = 0; add && i < values.size(); ++i)
    values[i] += old.at(static_cast<std::int64_t>(i));
  return values;
}

/// The sum over [begin, begin + n) of f(i).
template <class F>
double sum_of(std::int64_t begin, std::int64_t n, const F& f) {
  double sum = 0;
  for (std::int64_t i = begin; i < begin + n; ++i)
    sum += f(i);
  return sum;
}

}  // namespace

TEST_CASE("group_norm and its gradient agree with plain loops") {
  for (const Rows& rows : kRows)
    for (const DType dtype : kFloating) {
      CAPTURE(rows.shape);
      CAPTURE(dtype);
      const std::int64_t d = rows.shape[-1], n = d / rows.groups;
      const double eps = 1e-3;
      const Array x = Array::random(dtype, rows.shape, 1), w = Array::random(dtype, {d}, 2),
                  b = Array::random(dtype, {d}, 3), dy = Array::random(dtype, rows.shape, 4);
      std::vector<double> want, want_dx, want_dw(static_cast<std::size_t>(d));
      for (std::int64_t begin = 0; begin < x.numel(); begin += n) {
        const double count = static_cast<double>(n), mean = sum_of(begin, n, [&](auto i) { return x.at(i); }) / count;
        const double variance = sum_of(begin, n, [&](auto i) { return std::pow(x.at(i) - mean, 2); }) / count;
        const double rstd = 1 / std::sqrt(variance + eps);
        const auto z = [&](std::int64_t i) { return (x.at(i) - mean) * rstd; };
        const auto q = [&](std::int64_t i) { return dy.at(i) * w.at(i % d); };
        const double mean_q = sum_of(begin, n, q) / count,
                     mean_qz = sum_of(begin, n, [&](auto i) { return q(i) * z(i); }) / count;
        for (std::int64_t i = begin; i < begin + n; ++i) {
          want.push_back(w.at(i % d) * z(i) + b.at(i % d));
          want_dx.push_back(rstd * (q(i) - mean_q - z(i) * mean_qz));
          want_dw[static_cast<std::size_t>(i % d)] += dy.at(i) * z(i);
        }
      }
      Array y(dtype, rows.shape), statistics(accumulator(dtype), {rows.shape.rows(), rows.groups, 2});
      kernels::group_norm(kDevice, x.view(), w.view(), b.view(), eps, y.view(), statistics.view());
      check_close(y, want, 64);
      const Array old = Array::random(dtype, rows.shape, 5), old_w = Array::random(accumulator(dtype), {d}, 6);
      for (const bool add : {false, true}) {
        Array dx = old, dw = old_w, alone = old;
        kernels::group_norm_backward(kDevice, dy.view(), x.view(), w.view(), statistics.view(), dx.sink(add),
                                     dw.sink(add));
        check_close(dx, onto(old, add, want_dx), 256);
        check_close(dw, onto(old_w, add, want_dw), 64);
        kernels::group_norm_backward(kDevice, dy.view(), x.view(), w.view(), statistics.view(), alone.sink(add), {});
        CHECK(alone == dx);
      }
      Array in_place = dy, dx(dtype, rows.shape), dw(accumulator(dtype), {d}), dw_too = dw;
      kernels::group_norm_backward(kDevice, dy.view(), x.view(), w.view(), statistics.view(), dx.sink(false),
                                   dw.sink(false));
      kernels::group_norm_backward(kDevice, in_place.view(), x.view(), w.view(), statistics.view(),
                                   in_place.sink(false), dw_too.sink(false));
      CHECK(in_place == dx);
      CHECK(dw_too == dw);
    }
}

TEST_CASE("group_norm keeps its digits where the mean is large") {
  Array x(DType::f32, {1, 64}), w(DType::f32, {64}), b(DType::f32, {64}), y(DType::f32, {1, 64}),
      statistics(DType::f32, {1, 1, 2});
  for (std::int64_t i = 0; i < 64; ++i)
    x.set(i, 4096 + (i % 2 == 0 ? 1 : -1)), w.set(i, 1);
  kernels::group_norm(kDevice, x.view(), w.view(), b.view(), 0, y.view(), statistics.view());
  for (std::int64_t i = 0; i < 64; ++i)
    CHECK(y.at(i) == doctest::Approx(i % 2 == 0 ? 1 : -1).epsilon(1e-6));
}

TEST_CASE("head_normalize and its gradient agree with plain loops") {
  for (const Rows& rows : kRows)
    for (const DType dtype : kFloating) {
      CAPTURE(rows.shape);
      CAPTURE(dtype);
      const std::int64_t n = rows.shape[-1] / rows.groups;
      const double eps = 0.4;  // more than the norm of some of the small heads
      const Array x = Array::random(dtype, rows.shape, 1), dy = Array::random(dtype, rows.shape, 2);
      std::vector<double> want, norms;
      for (std::int64_t begin = 0; begin < x.numel(); begin += n) {
        norms.push_back(std::max(std::sqrt(sum_of(begin, n, [&](auto i) { return std::pow(x.at(i), 2); })), eps));
        for (std::int64_t i = begin; i < begin + n; ++i)
          want.push_back(x.at(i) / norms.back());
      }
      Array y(dtype, rows.shape), norm(accumulator(dtype), {rows.shape.rows(), rows.groups});
      kernels::head_normalize(kDevice, x.view(), eps, y.view(), norm.view());
      check_close(y, want, 16);
      check_close(norm, norms, 16);
      std::vector<double> want_dx;  // of the rounded y
      for (std::int64_t begin = 0; begin < x.numel(); begin += n) {
        const double along = sum_of(begin, n, [&](auto i) { return y.at(i) * dy.at(i); });
        for (std::int64_t i = begin; i < begin + n; ++i)
          want_dx.push_back((dy.at(i) - y.at(i) * along) / norm.at(begin / n));
      }
      const Array old = Array::random(dtype, rows.shape, 3);
      for (const bool add : {false, true}) {
        Array dx = old, in_place = dy;
        kernels::head_normalize_backward(kDevice, dy.view(), y.view(), norm.view(), dx.sink(add));
        check_close(dx, onto(old, add, want_dx), 64);
        kernels::head_normalize_backward(kDevice, in_place.view(), y.view(), norm.view(), in_place.sink(false));
        CHECK((add || in_place == dx));
      }
    }
}

TEST_CASE("head_bonus and its gradients agree with plain loops") {
  for (const Rows& rows : kRows)
    for (const DType dtype : kFloating) {
      CAPTURE(rows.shape);
      CAPTURE(dtype);
      const std::int64_t d = rows.shape[-1], n = d / rows.groups;
      const Array r = Array::random(dtype, rows.shape, 1), k = Array::random(dtype, rows.shape, 2),
                  v = Array::random(dtype, rows.shape, 3), dy = Array::random(dtype, rows.shape, 4),
                  u = Array::random(dtype, {d}, 5), old = Array::random(dtype, rows.shape, 6);
      std::vector<double> want, want_r, want_k, want_v, want_terms;
      for (std::int64_t begin = 0; begin < r.numel(); begin += n) {
        const double weight = sum_of(begin, n, [&](auto i) { return r.at(i) * k.at(i) * u.at(i % d); });
        const double t = sum_of(begin, n, [&](auto i) { return dy.at(i) * v.at(i); });
        for (std::int64_t i = begin; i < begin + n; ++i) {
          want.push_back(weight * v.at(i));
          want_r.push_back(t * k.at(i) * u.at(i % d));
          want_k.push_back(t * r.at(i) * u.at(i % d));
          want_v.push_back(weight * dy.at(i));
          want_terms.push_back(t * r.at(i) * k.at(i));
        }
      }
      Array y(dtype, rows.shape);
      kernels::head_bonus(kDevice, r.view(), k.view(), v.view(), u.view(), rows.groups, y.view());
      check_close(y, want, 64);
      const auto backward = [&](const Array& grad, Sink dr, Sink dk, Sink dv, View terms) {
        kernels::head_bonus_backward(kDevice, grad.view(), r.view(), k.view(), v.view(), u.view(), rows.groups, dr, dk,
                                     dv, terms);
      };
      for (const bool add : {false, true}) {
        Array dr = old, dk = old, dv = old, terms(accumulator(dtype), rows.shape), alone = old, in_place = dy;
        backward(dy, dr.sink(add), dk.sink(add), dv.sink(add), terms.view());
        check_close(dr, onto(old, add, want_r), 64);
        check_close(dk, onto(old, add, want_k), 64);
        check_close(dv, onto(old, add, want_v), 64);
        check_close(terms, want_terms, 64);
        backward(dy, {}, alone.sink(add), {}, {});
        CHECK(alone == dk);
        backward(in_place, in_place.sink(false), {}, {}, {});
        CHECK((add || in_place == dr));
      }
    }
}

TEST_CASE("norms of heads give the same bits for any number of threads and any split of the rows") {
  const std::int64_t rows = 60, d = 96, heads = 3;
  for (const DType dtype : kFloating) {
    const Array x = Array::random(dtype, {rows, d}, 1), w = Array::random(dtype, {d}, 2);
    const auto run = [&](std::int64_t step) {
      std::vector<Array> out(9, x);
      out.emplace_back(accumulator(dtype), Shape{rows, heads, 2});
      out.emplace_back(accumulator(dtype), Shape{rows, heads});
      out.emplace_back(accumulator(dtype), Shape{d});
      for (std::int64_t n = 0; n < rows; n += step) {
        const auto part = [&](auto& a) { return a.view().slice_rows(n, n + step); };
        const auto to = [&](int i) { return Sink{part(out[static_cast<std::size_t>(i)]), true}; };
        const View statistics =
            out[9].view().reshape({rows, heads * 2}).slice_rows(n, n + step).reshape({step, heads, 2});
        kernels::group_norm(kDevice, part(x), w.view(), w.view(), 1e-5, part(out[0]), statistics);
        kernels::group_norm_backward(kDevice, part(x), part(x), w.view(), statistics, to(1), out[11].sink(true));
        kernels::head_normalize(kDevice, part(x), 1e-12, part(out[2]), part(out[10]));
        kernels::head_normalize_backward(kDevice, part(x), part(out[2]), part(out[10]), to(3));
        kernels::head_bonus(kDevice, part(x), part(x), part(x), w.view(), heads, part(out[4]));
        kernels::head_bonus_backward(kDevice, part(x), part(x), part(x), part(x), w.view(), heads, to(5), to(6), to(7),
                                     {});
      }
      return out;
    };
    CHECK(run(rows) == run(15));
    check_thread_counts([&] { return run(rows); });
  }
}

TEST_CASE("norms of heads refuse shapes and dtypes that do not fit") {
  Array x(DType::f32, {2, 4}), w(DType::f32, {4}), small(DType::f32, {3}), half(DType::bf16, {2, 4}),
      statistics(DType::f32, {2, 2, 2}), norm(DType::f32, {2, 2}), few(DType::f32, {1, 2});
  CHECK_THROWS_WITH_AS(kernels::group_norm(kDevice, x.view(), small.view(), w.view(), 1, x.view(), statistics.view()),
                       "group_norm: weight: expected 4 elements, got shape [3]", ShapeError);
  CHECK_THROWS_AS(kernels::group_norm(kDevice, x.view(), w.view(), w.view(), 1, half.view(), statistics.view()),
                  ShapeError);
  CHECK_THROWS_AS(kernels::group_norm_backward(kDevice, half.view(), x.view(), w.view(), statistics.view(), {}, {}),
                  ShapeError);
  CHECK_THROWS_AS(
      kernels::group_norm_backward(kDevice, x.view(), x.view(), w.view(), statistics.view(), {}, small.sink(false)),
      ShapeError);
  CHECK_THROWS_AS(kernels::head_normalize(kDevice, x.view(), 1, x.view(), few.view()), ShapeError);
  CHECK_THROWS_AS(kernels::head_normalize_backward(kDevice, half.view(), x.view(), norm.view(), x.sink(false)),
                  ShapeError);
  CHECK_THROWS_WITH_AS(kernels::head_bonus(kDevice, x.view(), x.view(), x.view(), small.view(), 2, x.view()),
                       "head_bonus: bonus: expected 4 elements, got shape [3]", ShapeError);
  CHECK_THROWS_AS(
      kernels::head_bonus_backward(kDevice, x.view(), x.view(), x.view(), half.view(), w.view(), 2, {}, {}, {}, {}),
      ShapeError);
}
