#include <algorithm>
#include <cmath>
#include <cstring>
#include <doctest/doctest.h>
#include <memory>
#include <omp.h>
#include <string>
#include <vector>

#include "backends/cpu/gemm_engines.hpp"
#include "backends/kernels/gemm.hpp"
#include "backends/memory.hpp"
#include "backends/scratch.hpp"
#include "test/backends/array.hpp"
#include "test/backends/gemm_settings.hpp"

using namespace osteon;
using kernels::GemmOptions;
using kernels::Product;
using test::Array;
using test::GemmSettings;

namespace {

struct Sizes {
  std::int64_t m, n, k;
};

bool skipped() {
  if (kernels::amx_runs())
    return false;
  MESSAGE("skipped: no AMX on this machine, or DNNL_MAX_CPU_ISA rules it out");
  return true;
}

Product product_of(Sizes s, GemmOptions o, const Array& a, const Array& b, Array& c) {
  return {s.m,   s.n,       s.k,       o.transpose_a, o.transpose_b, o.alpha,
          o.add, a.dtype(), c.dtype(), a.view().data, b.view().data, c.view().data};
}

Array random(std::int64_t rows, std::int64_t cols, bool transposed, std::uint64_t seed) {
  return Array::random(DType::bf16, transposed ? Shape{cols, rows} : Shape{rows, cols}, seed);
}

/// The order of the terms that gemm_engines.hpp promises, in plain loops.
Array expected(Sizes s, GemmOptions o, const Array& a, const Array& b, Array c) {
  std::vector<float> left, right;
  for (std::int64_t i = 0; i < a.numel(); ++i)
    left.push_back(static_cast<float>(a.at(i)));
  for (std::int64_t i = 0; i < b.numel(); ++i)
    right.push_back(static_cast<float>(b.at(i)));
  const auto alpha = static_cast<float>(o.alpha);
  for (std::int64_t i = 0; i < s.m; ++i)
    for (std::int64_t j = 0; j < s.n; ++j) {
      float sum = 0;
      for (std::int64_t first = 0; first < s.k; first += 32) {
        float terms[2] = {};
        for (std::int64_t k = first; k < std::min(first + 32, s.k); ++k)
          terms[k % 2] =
              std::fma(left[static_cast<std::size_t>(o.transpose_a ? k * s.m + i : i * s.k + k)],
                       right[static_cast<std::size_t>(o.transpose_b ? j * s.k + k : k * s.n + j)], terms[k % 2]);
        sum += terms[0] + terms[1];
      }
      const auto old = static_cast<float>(c.at(i * s.n + j));
      const float result = o.add ? std::fma(sum, alpha, old) : sum * alpha;
      c.set(i * s.n + j, result);
    }
  return c;
}

}  // namespace

TEST_CASE("AMX sums in the promised order, for every layout, dtype of the result, alpha and accumulation") {
  if (skipped())
    return;
  const Sizes sizes[] = {{1, 1, 1},     {1, 7, 5},      {5, 1, 33},     {16, 16, 32},   {17, 33, 31},
                         {32, 32, 64},  {33, 100, 77},  {300, 40, 100}, {49, 300, 257}, {270, 65, 290},
                         {3, 40, 4100}, {40, 35, 4133}, {33, 170, 700}, {40, 70, 1024}};
  for (const Sizes& s : sizes)
    for (const DType result : {DType::f32, DType::bf16})
      for (int bits = 0; bits < 8; ++bits)
        for (const double alpha : {1.0, -0.75}) {
          const GemmOptions options{(bits & 1) != 0, (bits & 2) != 0, alpha, (bits & 4) != 0};
          CAPTURE(s.m);
          CAPTURE(s.n);
          CAPTURE(s.k);
          CAPTURE(bits);
          CAPTURE(alpha);
          CAPTURE(name_of(result));
          const Array a = random(s.m, s.k, options.transpose_a, 1), b = random(s.k, s.n, options.transpose_b, 2);
          Array c = Array::random(result, {s.m, s.n}, 3);
          const Array want = expected(s, options, a, b, c);
          REQUIRE(kernels::gemm_amx(product_of(s, options, a, b, c)));
          CHECK(c == want);
        }
}

TEST_CASE("AMX is bit-equal for any number of threads and any split of the rows") {
  if (skipped())
    return;
  const GemmSettings restore;
  for (const Sizes& s : {Sizes{37, 65, 300}, Sizes{1000, 40, 100}, Sizes{40, 1000, 100}, Sizes{300, 260, 130},
                         Sizes{290, 300, 2100}, Sizes{1100, 70, 2100}})
    for (const DType result : {DType::f32, DType::bf16})
      for (int bits = 0; bits < 4; ++bits) {
        const GemmOptions options{(bits & 1) != 0, (bits & 2) != 0, 0.5, true};
        CAPTURE(s.m);
        CAPTURE(s.n);
        CAPTURE(s.k);
        CAPTURE(bits);
        const Array a = random(s.m, s.k, options.transpose_a, 1), b = random(s.k, s.n, options.transpose_b, 2);
        const Array before = Array::random(result, {s.m, s.n}, 3);
        Array first = before;
        omp_set_num_threads(1);
        REQUIRE(kernels::gemm_amx(product_of(s, options, a, b, first)));
        for (const int threads : {2, 3, 8}) {
          omp_set_num_threads(threads);
          Array again = before;
          REQUIRE(kernels::gemm_amx(product_of(s, options, a, b, again)));
          CHECK(again == first);
        }
        if (options.transpose_a)
          continue;
        omp_set_num_threads(2);
        Array parts = before;
        for (std::int64_t begin = 0, count = 1; begin < s.m; begin += count, count = 2 * count + 1) {
          const std::int64_t end = std::min(begin + count, s.m);
          kernels::gemm(Cpu{}, a.view().slice_rows(begin, end), b.view(), parts.view().slice_rows(begin, end), options);
        }
        CHECK(parts == first);
      }
}

TEST_CASE("a result too large for the caches has the bits of its parts") {
  if (skipped())
    return;
  for (const DType result : {DType::f32, DType::bf16})
    for (const bool transpose_b : {false, true}) {
      const std::int64_t part = 40, m = 5 * part, k = 40, n = (9 << 20) / (m * size_of(result)) / 32 * 32;
      CAPTURE(name_of(result));
      CAPTURE(transpose_b);
      const GemmOptions options{.transpose_b = transpose_b, .alpha = 0.5};
      const Array a = random(m, k, false, 1), b = random(k, n, transpose_b, 2);
      Array memory(result, {m * n + 64}), parts(result, {m, n});
      Product product = product_of({m, n, k}, options, a, b, parts);
      const auto bytes = static_cast<std::size_t>(m * n * size_of(result));
      std::size_t space = bytes + 64;
      product.c = memory.view().data;
      REQUIRE(std::align(64, bytes, product.c, space) != nullptr);  // as tensors are
      REQUIRE(kernels::gemm_amx(product));
      for (std::int64_t row = 0; row < m; row += part)
        kernels::gemm(Cpu{}, a.view().slice_rows(row, row + part), b.view(), parts.view().slice_rows(row, row + part),
                      options);
      CHECK(std::memcmp(product.c, parts.view().data, bytes) == 0);
    }
}

TEST_CASE("AMX reads nothing that is not a factor's, and no result that is not added to") {
  if (skipped())
    return;
  const double nan = std::numeric_limits<double>::quiet_NaN();
  for (const bool transposed : {false, true}) {
    // A row, or a column, of NaN is in no other element of the result; the last factor's NaN in none of the others.
    const Sizes s{35, 37, 45};
    Array a = random(s.m, s.k, transposed, 1), b = random(s.k, s.n, transposed, 2);
    for (std::int64_t k = 0; k < s.k; ++k) {
      a.set(transposed ? k * s.m + 34 : 34 * s.k + k, nan);
      b.set(transposed ? 36 * s.k + k : k * s.n + 36, nan);
    }
    Array c(DType::bf16, {s.m, s.n});
    for (std::int64_t i = 0; i < c.numel(); ++i)
      c.set(i, nan);
    REQUIRE(kernels::gemm_amx(product_of(s, {transposed, transposed}, a, b, c)));
    for (std::int64_t i = 0; i < c.numel(); ++i)
      CHECK(std::isnan(c.at(i)) == (i / s.n == 34 || i % s.n == 36));
  }
}

TEST_CASE("AMX on meta asks for the working memory that a product takes") {
  if (skipped())
    return;
  const auto bytes = [](Device device) { return memory_report(device).live[Category::workspace]; };
  for (const Sizes& s : {Sizes{7, 100, 40}, Sizes{300, 260, 130}, Sizes{290, 300, 2100}}) {
    const Array a = random(s.m, s.k, false, 1), b = random(s.k, s.n, true, 2);
    Array c(DType::f32, {s.m, s.n});
    Product product = product_of(s, {.transpose_b = true}, a, b, c);
    std::int64_t used[2] = {};
    for (const Device device : {Device::cpu, Device::meta}) {
      release_scratch(device);
      const std::int64_t before = bytes(device);
      product.device = device;
      REQUIRE(kernels::gemm_amx(product));
      used[device == Device::cpu ? 0 : 1] = bytes(device) - before;
    }
    CHECK(used[0] == used[1]);
    CHECK(used[0] > 0);
  }
}

TEST_CASE("AMX multiplies bf16 where the front lets it, and says so") {
  if (skipped())
    return;
  const GemmSettings restore;
  const auto used = [] {
    const std::vector<std::string> names = kernels::gemm_implementations();
    return std::count(names.begin(), names.end(), "osteon:amx") == 1;
  };
  const auto named = [] { return std::string(kernels::gemm_backend().instruction_set).find("AMX for bf16") + 1 != 0; };
  const Array a = random(4, 64, false, 1), b = random(64, 5, false, 2), wide = Array::random(DType::f32, {4, 4}, 1);
  Array c(DType::f32, {4, 5}), square(DType::f32, {4, 4});
  CHECK_FALSE(kernels::gemm_amx(product_of({4, 4, 4}, {}, wide, wide, square)));  // f32
  kernels::gemm(Cpu{}, a.view(), b.view(), c.view());
  CHECK(used());
  CHECK(named());
  CHECK(kernels::gemm_backend().deterministic);
  kernels::set_amx_gemm(false);
  CHECK_FALSE(kernels::amx_runs());
  CHECK_FALSE(kernels::gemm_amx(product_of({4, 5, 64}, {}, a, b, c)));
  CHECK_FALSE(named());
  kernels::set_amx_gemm(true);
  kernels::set_deterministic_gemm(false);
  CHECK_FALSE(named());
}
