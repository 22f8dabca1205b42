#include "backends/kernels/dora.hpp"

#include <span>

#include "test/backends/kernel_checks.hpp"
#include "test/reference/gemm.hpp"

using namespace osteon;
using namespace osteon::test;

namespace {

constexpr DType kWide[] = {DType::f32, DType::f64};

/// c [m, n] = op(a) op(b) in double.
std::vector<double> product(std::span<const double> a, std::span<const double> b, std::int64_t m, std::int64_t n,
                            std::int64_t k, bool transpose_b) {
  std::vector<double> c(static_cast<std::size_t>(m * n));
  reference::gemm(a, b, c, m, n, k, false, transpose_b, 1.0, false);
  return c;
}

Array rounded(DType dtype, const Shape& shape, const std::vector<double>& values) {
  Array array(dtype, shape);
  for (std::int64_t i = 0; i < array.numel(); ++i)
    array.set(i, values[static_cast<std::size_t>(i)]);
  return array;
}

/// A weight [out, in] with factors B [out, rank] and A [rank, in], and what the kernel is given of them.
struct Adapted {
  std::int64_t out, in, rank;
  double scaling;
  std::vector<double> w, b, a;
  std::vector<double> base, wa, baa;

  Adapted(std::int64_t out_features, std::int64_t in_features, std::int64_t r, double s)
      : out(out_features), in(in_features), rank(r), scaling(s) {
    w = Array::random(DType::f64, {out, in}, 1).doubles();
    b = Array::random(DType::f64, {out, rank}, 2).doubles();
    a = Array::random(DType::f64, {rank, in}, 3).doubles();
  }

  /// Row norms of W + s B A, which is formed.
  std::vector<double> norms() const {
    std::vector<double> sum = w, norm;
    reference::gemm(b, a, sum, out, in, rank, false, false, scaling, true);
    for (std::int64_t j = 0; j < out; ++j) {
      double square = 0;
      for (std::int64_t i = 0; i < in; ++i)
        square += std::pow(sum[static_cast<std::size_t>(j * in + i)], 2);
      norm.push_back(std::sqrt(square));
    }
    return norm;
  }

  /// The same by the kernel.
  Array by_kernel(DType dtype) const {
    std::vector<double> squares;
    for (std::int64_t j = 0; j < out; ++j) {
      squares.push_back(0);
      for (std::int64_t i = 0; i < in; ++i)
        squares.back() += std::pow(w[static_cast<std::size_t>(j * in + i)], 2);
    }
    const std::vector<double> aa = product(a, a, rank, rank, in, true);
    const Array of_base = rounded(dtype, {out}, squares);
    const Array of_wa = rounded(dtype, {out, rank}, product(w, a, out, rank, in, true));
    const Array of_b = rounded(dtype, {out, rank}, b);
    const Array of_baa = rounded(dtype, {out, rank}, product(b, aa, out, rank, rank, false));
    Array norm(dtype, {out});
    kernels::dora_row_norm(kDevice, of_base.view(), of_wa.view(), of_b.view(), of_baa.view(), scaling, norm.view());
    return norm;
  }
};

}  // namespace

TEST_CASE("dora_row_norm is the norm of each row of W + s B A") {
  for (const DType dtype : kWide)
    for (const Adapted& adapted :
         {Adapted(1, 1, 1, 1.0), Adapted(5, 9, 3, 2.0), Adapted(33, 40, 8, 0.5), Adapted(7, 80, 70, 0.25),
          Adapted(300, 8, 2, -1.5), Adapted(0, 4, 2, 1.0), Adapted(4, 4, 0, 1.0)}) {
      CAPTURE(dtype);
      CAPTURE(adapted.out);
      CAPTURE(adapted.rank);
      const Difference worst = difference(adapted.by_kernel(dtype), adapted.norms());
      // The operands are rounded, and the terms of rank 70 are some tens.
      CHECK_MESSAGE(worst.value <= 100 * epsilon(dtype), worst.where);
    }
}

TEST_CASE("dora_row_norm of a row that B A takes away is 0, not the root of a negative number") {
  for (const DType dtype : kWide) {
    // W_j = 1, s B A = -1, and a last bit too much of it.
    Array base(dtype, {3}), wa(dtype, {3, 1}), b(dtype, {3, 1}), baa(dtype, {3, 1}), norm(dtype, {3});
    for (std::int64_t j = 0; j < 3; ++j) {
      base.set(j, j == 2 ? 1 - epsilon(dtype) : 1);
      wa.set(j, 1);
      b.set(j, j == 0 ? 0 : -1);
      baa.set(j, b.at(j));
    }
    kernels::dora_row_norm(kDevice, base.view(), wa.view(), b.view(), baa.view(), 1.0, norm.view());
    CHECK(norm.doubles() == std::vector<double>{1, 0, 0});
    wa.set(1, std::numeric_limits<double>::quiet_NaN());
    kernels::dora_row_norm(kDevice, base.view(), wa.view(), b.view(), baa.view(), 1.0, norm.view());
    CHECK(std::isnan(norm.at(1)));
  }
}

TEST_CASE("dora_ratio divides, and is 0 where the norm is") {
  for (const DType dtype : kWide)
    for (const std::int64_t count : {0, 1, 7, 300}) {
      CAPTURE(count);
      const Array magnitude = Array::random(dtype, {count}, 1);
      Array norm = Array::random(dtype, {count}, 2), ratio = Array::random(dtype, {count}, 3);
      std::vector<double> expected;
      for (std::int64_t j = 0; j < count; ++j) {
        if (j % 5 == 3)
          norm.set(j, 0);
        expected.push_back(j % 5 == 3 ? 0.0 : magnitude.at(j) / norm.at(j));
      }
      kernels::dora_ratio(kDevice, magnitude.view(), norm.view(), ratio.view());
      for (std::int64_t j = 0; j < count; ++j) {
        const double exact = expected[static_cast<std::size_t>(j)];
        CHECK(std::abs(ratio.at(j) - exact) <= epsilon(dtype) / 2 * std::abs(exact));
      }
    }
}

TEST_CASE("dora_magnitude_gradient sums dy u / norm over the rows, onto the sink") {
  for (const DType dtype : kFloating)
    for (const auto& [rows, out] :
         {std::pair<std::int64_t, std::int64_t>{1, 1}, {3, 65}, {130, 33}, {70, 130}, {0, 4}, {4, 0}})
      for (const bool add : {false, true}) {
        CAPTURE(dtype);
        CAPTURE(rows);
        CAPTURE(out);
        CAPTURE(add);
        const DType wide = accumulator(dtype);
        const Array dy = Array::random(dtype, {rows, out}, 1), u = Array::random(dtype, {rows, out}, 2);
        Array norm = Array::random(wide, {out}, 3);
        for (std::int64_t j = 0; j < out; ++j)
          norm.set(j, j % 7 == 6 ? 0.0 : 1.5 + norm.at(j));
        const Array before = Array::random(wide, {out}, 4);
        std::vector<double> expected;
        for (std::int64_t j = 0; j < out; ++j) {
          double sum = 0;
          for (std::int64_t n = 0; n < rows; ++n)
            sum += dy.at(n * out + j) * u.at(n * out + j);
          expected.push_back((add ? before.at(j) : 0.0) + (norm.at(j) == 0 ? 0.0 : sum / norm.at(j)));
        }
        const auto run = [&] {
          Array dm = before;
          kernels::dora_magnitude_gradient(kDevice, dy.view(), u.view(), norm.view(), dm.sink(add));
          return std::vector<Array>{dm};
        };
        const Difference worst = difference(run()[0], expected);
        CHECK_MESSAGE(worst.value <= 4 * static_cast<double>(rows + 1) * epsilon(wide), worst.where);
        check_thread_counts(run);
        // Row by row: where the rows are split changes no bit.
        Array split = before;
        const std::int64_t half = rows / 2;
        kernels::dora_magnitude_gradient(kDevice, dy.view().slice_rows(0, half), u.view().slice_rows(0, half),
                                         norm.view(), split.sink(add));
        kernels::dora_magnitude_gradient(kDevice, dy.view().slice_rows(half, rows), u.view().slice_rows(half, rows),
                                         norm.view(), split.sink(true));
        CHECK(split == run()[0]);
      }
}
