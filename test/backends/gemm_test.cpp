#include "backends/kernels/gemm.hpp"

#include <doctest/doctest.h>
#include <omp.h>
#include <span>

#include "backends/cpu/gemm_engines.hpp"
#include "backends/flops.hpp"
#include "test/backends/array.hpp"
#include "test/backends/gemm_settings.hpp"
#include "test/reference/gemm.hpp"

using namespace osteon;
using test::Array;
using test::GemmSettings;
using test::kDevice;
using test::kOnCpu;

namespace {

struct Dtypes {
  DType operands, result;
};
constexpr Dtypes kDtypes[] = {
    {DType::f32, DType::f32}, {DType::bf16, DType::bf16}, {DType::bf16, DType::f32}, {DType::f64, DType::f64}};

struct Sizes {
  std::int64_t m, n, k;
};

/// Rounding of a sum of k products of numbers below 1, accumulated and then stored: the sum grows with sqrt(k), and one
/// chain of k additions adds as many errors of that size.
double tolerance(Dtypes dtypes, std::int64_t k, double alpha) {
  const double terms = static_cast<double>(k);
  const double sum = (4 * std::sqrt(terms + 1) + 0.5 * terms) * test::epsilon(accumulator(dtypes.operands));
  const double store = 8 * std::sqrt(static_cast<double>(k) + 1) * test::epsilon(dtypes.result) / 2;
  return (std::abs(alpha) + 1) * (sum + store);
}

Array random(DType dtype, std::int64_t rows, std::int64_t cols, bool transposed, std::uint64_t seed) {
  return Array::random(dtype, transposed ? Shape{cols, rows} : Shape{rows, cols}, seed);
}

/// What multiplies: the front's choice, its choice on a machine without AMX, or our tiles, which it may never choose on
/// this machine: chains over the tokens, or blocks for the caches where there is enough to do.
enum class Route { front, without_amx, tiles, blocks };
constexpr Route kAllRoutes[] = {Route::front, Route::without_amx, Route::tiles, Route::blocks};
constexpr std::span kRoutes(kAllRoutes, kOnCpu ? 4 : 1);

/// Whether the front takes this route to a product.
bool by_front(Route route, bool empty) {
  kernels::set_amx_gemm(route != Route::without_amx);
  return route == Route::front || route == Route::without_amx || empty;
}

void multiply(Route route, const ConstView& a, const ConstView& b, const View& c, kernels::GemmOptions options) {
  if (by_front(route, c.numel() == 0 || a.numel() == 0))
    return kernels::gemm(kDevice, a, b, c, options);
  kernels::gemm_fused({c.rows(), c.cols(), options.transpose_a ? a.rows() : a.cols(), options.transpose_a,
                       options.transpose_b, options.alpha, options.add, a.dtype, c.dtype, a.data, b.data, c.data});
}

void sum_tokens(Route route, const ConstView& g, const ConstView& x, Sink out, double alpha) {
  if (by_front(route, g.numel() == 0 || x.numel() == 0))
    return kernels::gemm_tokens(kDevice, g, x, out, alpha);
  const kernels::Product whole{g.cols(), x.cols(), g.rows(),       true,   false,  1.0,
                               out.add,  g.dtype,  out.view.dtype, g.data, x.data, out.view.data};
  if (route == Route::blocks && out.view.dtype == accumulator(g.dtype) && kernels::gemm_blocked(whole, alpha))
    return;
  const std::int64_t seq_len = g.dim(-2);
  kernels::gemm_tokens_fma({g.rows(), seq_len, g.cols(), x.cols(), alpha, out.add, g.dtype, x.dtype, out.view.dtype,
                            g.data, x.data, out.view.data});
}

void compare_with_reference(Route route, Sizes s, Dtypes dtypes, kernels::GemmOptions options) {
  CAPTURE(s.m);
  CAPTURE(s.n);
  CAPTURE(s.k);
  CAPTURE(dtypes.operands);
  CAPTURE(dtypes.result);
  CAPTURE(options.transpose_a);
  CAPTURE(options.transpose_b);
  CAPTURE(options.alpha);
  CAPTURE(options.add);
  const Array a = random(dtypes.operands, s.m, s.k, options.transpose_a, 1);
  const Array b = random(dtypes.operands, s.k, s.n, options.transpose_b, 2);
  Array c = Array::random(dtypes.result, {s.m, s.n}, 3);
  std::vector<double> expected = c.doubles();
  reference::gemm(a.doubles(), b.doubles(), expected, s.m, s.n, s.k, options.transpose_a, options.transpose_b,
                  options.alpha, options.add);
  multiply(route, a.view(), b.view(), c.view(), options);
  const test::Difference worst = test::difference(c, expected);
  CHECK_MESSAGE(worst.value <= tolerance(dtypes, s.k, options.alpha), worst.where);
}

}  // namespace

TEST_CASE("gemm agrees with plain loops for every dtype, transpose, alpha and accumulation") {
  const GemmSettings restore;
  const Sizes sizes[] = {{1, 1, 1},     {1, 7, 5},       {5, 1, 7},     {7, 5, 1},    {3, 17, 33},   {0, 4, 4},
                         {4, 0, 4},     {4, 4, 0},       {16, 16, 16},  {31, 63, 65}, {1, 130, 257}, {129, 4, 128},
                         {64, 128, 96}, {130, 257, 259}, {4, 128, 300}, {200, 1, 64}, {33, 300, 8},  {70, 150, 1000}};
  for (const Route route : kRoutes) {
    for (const Sizes& s : sizes)
      for (const Dtypes& dtypes : kDtypes)
        for (int bits = 0; bits<8; bits += s.m * s.n * s.k> 500'000 ? 7 : 1)  // large: plain, and all at once
          for (const double alpha : {1.0, -0.75})
            compare_with_reference(route, s, dtypes, {(bits & 1) != 0, (bits & 2) != 0, alpha, (bits & 4) != 0});
  }
}

TEST_CASE("a result that is not added to is not read") {
  for (const Dtypes& dtypes : kDtypes)
    for (const std::int64_t k : {0, 5, 300}) {
      const Array a = Array::random(dtypes.operands, {6, k}, 1), g = Array::random(dtypes.operands, {k, 6}, 1);
      const Array b = Array::random(dtypes.operands, {k, 9}, 2);
      Array c(dtypes.result, {6, 9});
      for (std::int64_t i = 0; i < c.numel(); ++i)
        c.set(i, std::numeric_limits<double>::quiet_NaN());
      Array sum = c;
      kernels::gemm(kDevice, a.view(), b.view(), c.view());
      kernels::gemm_tokens(kDevice, g.view(), b.view(), sum.sink(false));
      for (std::int64_t i = 0; i < c.numel(); ++i)
        CHECK(std::isfinite(c.at(i) + sum.at(i)));
    }
}

TEST_CASE("gemm joins the leading extents of its operands") {
  const Array a = Array::random(DType::f32, {2, 3, 4}, 1), b = Array::random(DType::f32, {4, 5}, 2);
  Array joined(DType::f32, {2, 3, 5}), plain(DType::f32, {6, 5});
  kernels::gemm(kDevice, a.view(), b.view(), joined.view());
  kernels::gemm(kDevice, a.view().matrix(), b.view(), plain.view());
  CHECK(joined.doubles() == plain.doubles());
}

TEST_CASE("gemm is bit-equal for any number of threads, and a row does not depend on how many there are") {
  const GemmSettings restore;
  const Sizes sizes[] = {{96, 128, 128},  {100, 4, 128},   {100, 128, 4}, {37, 65, 300},
                         {260, 257, 129}, {70, 150, 1000}, {24, 40, 4096}};
  for (const Route route : kRoutes) {
    for (const Sizes& s : sizes)
      for (const Dtypes& dtypes : kDtypes)
        for (const bool transpose_b : {false, true}) {
          CAPTURE(s.m);
          CAPTURE(s.n);
          CAPTURE(s.k);
          CAPTURE(dtypes.operands);
          const Array a = random(dtypes.operands, s.m, s.k, false, 1),
                      b = random(dtypes.operands, s.k, s.n, transpose_b, 2);
          omp_set_num_threads(1);
          Array first = Array::random(dtypes.result, {s.m, s.n}, 3);
          multiply(route, a.view(), b.view(), first.view(), {.transpose_b = transpose_b, .add = true});
          for (const int threads : {2, 3, 4}) {
            omp_set_num_threads(threads);
            Array again = Array::random(dtypes.result, {s.m, s.n}, 3);
            multiply(route, a.view(), b.view(), again.view(), {.transpose_b = transpose_b, .add = true});
            CHECK(again == first);
          }
          if (!kOnCpu)  // m, too, decides the order of a GPU's sums
            continue;
          Array part = Array::random(dtypes.result, {s.m, s.n}, 3);
          const std::int64_t half = s.m / 2 + 1;
          multiply(route, a.view().slice_rows(0, half), b.view(), part.view().slice_rows(0, half),
                   {.transpose_b = transpose_b, .add = true});
          multiply(route, a.view().slice_rows(half, s.m), b.view(), part.view().slice_rows(half, s.m),
                   {.transpose_b = transpose_b, .add = true});
          CHECK(part == first);
          Array few = Array::random(dtypes.result, {s.m, s.n}, 3);  // one to five rows, and the rest
          std::int64_t begin = 0;
          for (const std::int64_t count :
               {std::int64_t{1}, std::int64_t{2}, std::int64_t{3}, std::int64_t{4}, std::int64_t{5}, s.m - 15}) {
            multiply(route, a.view().slice_rows(begin, begin + count), b.view(),
                     few.view().slice_rows(begin, begin + count), {.transpose_b = transpose_b, .add = true});
            begin += count;
          }
          CHECK(few == first);
        }
  }
}

TEST_CASE("gemm of a transposed operand with many rows is bit-equal for any number of threads") {
  const GemmSettings restore;
  for (const Dtypes& dtypes : kDtypes)
    for (const std::int64_t tokens : {2048, 4096}) {
      CAPTURE(dtypes.operands);
      CAPTURE(dtypes.result);
      CAPTURE(tokens);
      const Array a = random(dtypes.operands, 48, tokens, true, 1), b = random(dtypes.operands, tokens, 33, false, 2);
      omp_set_num_threads(1);
      Array first(dtypes.result, {48, 33});
      kernels::gemm(kDevice, a.view(), b.view(), first.view(), {.transpose_a = true});
      for (const int threads : {2, 3, 4}) {
        omp_set_num_threads(threads);
        Array again(dtypes.result, {48, 33});
        kernels::gemm(kDevice, a.view(), b.view(), again.view(), {.transpose_a = true});
        CHECK(again == first);
      }
    }
}

TEST_CASE("gemm refuses shapes and dtypes that do not fit") {
  const Array a(DType::f32, {2, 3}), b(DType::f32, {3, 4}), half(DType::bf16, {3, 4}), ids(DType::i32, {2, 3});
  Array c(DType::f32, {2, 4}), small(DType::f32, {2, 3}), wide(DType::f64, {2, 4}), narrow(DType::bf16, {2, 4});
  CHECK_THROWS_WITH_AS(kernels::gemm(kDevice, a.view(), b.view(), c.view(), {.transpose_b = true}),
                       doctest::Contains("gemm: expected as many columns"), ShapeError);
  CHECK_THROWS_WITH_AS(kernels::gemm(kDevice, a.view(), b.view(), small.view()), "gemm: c: expected [2, 4], got [2, 3]",
                       ShapeError);
  CHECK_THROWS_WITH_AS(kernels::gemm(kDevice, a.view(), half.view(), c.view()),
                       "gemm: expected operands of one dtype, got f32 and bf16", ShapeError);
  CHECK_THROWS_WITH_AS(kernels::gemm(kDevice, a.view(), b.view(), wide.view()),
                       "gemm: expected f32 for the result, got f64", ShapeError);
  CHECK_THROWS_WITH_AS(kernels::gemm(kDevice, a.view(), b.view(), narrow.view()),
                       "gemm: expected f32 for the result, got bf16", ShapeError);
  CHECK_THROWS_WITH_AS(kernels::gemm(kDevice, ids.view(), ids.view(), c.view()),
                       "gemm: expected f32, bf16 or f64 operands, got i32", ShapeError);
}

TEST_CASE("gemm agrees with plain loops where a kernel need not be bit-stable") {
  const GemmSettings restore;
  kernels::set_deterministic_gemm(false);
  for (const Sizes& s : {Sizes{33, 65, 129}, Sizes{96, 128, 128}, Sizes{20, 30, 2048}})
    for (const Dtypes& dtypes : kDtypes)
      for (const bool transpose_a : {false, true})
        compare_with_reference(Route::front, s, dtypes, {.transpose_a = transpose_a, .alpha = 0.5, .add = true});
}

TEST_CASE("products count their FLOPs on their own device") {
  const auto count = [] { return flop_count(kOnCpu ? Device::cpu : Device::cuda); };
  const Array a(DType::f32, {5, 7}), b(DType::f32, {7, 3}), none(DType::f32, {0, 3}), g(DType::bf16, {2, 80, 5});
  const Array x(DType::bf16, {2, 80, 3});
  Array c(DType::f32, {5, 3}), square(DType::f32, {3, 3});
  reset_flop_count(Device::cpu);
  reset_flop_count(Device::cuda);
  kernels::gemm(kDevice, a.view(), b.view(), c.view());
  CHECK(count().total(Pass::forward) == 2 * 5 * 7 * 3);
  kernels::gemm(kDevice, none.view(), none.view(), square.view(), {.transpose_a = true});
  kernels::gemm_tokens(kDevice, g.view(), x.view(), c.sink(true));
  CHECK(count().total(Pass::forward) == 2 * 5 * 7 * 3 + 2 * 160 * 5 * 3);
  CHECK(flop_count(kOnCpu ? Device::cuda : Device::cpu) == FlopCount{});
}

TEST_CASE("gemm_backend names what runs on the CPU") {
  const GemmSettings restore;
  const std::string library = kernels::gemm_backend().library;
  CHECK((library.starts_with("oneDNN ") || library == "Osteon tiles"));
  CHECK(std::string(kernels::gemm_backend().instruction_set) != "");
  kernels::set_deterministic_gemm(true);
  CHECK(kernels::gemm_backend().deterministic);
  const Array a(DType::f64, {4, 4});
  Array c(DType::f64, {4, 4});
  kernels::gemm(Cpu{}, a.view(), a.view(), c.view());  // f64 is ours in every build
  const std::vector<std::string> used = kernels::gemm_implementations();
  CHECK(std::count(used.begin(), used.end(), "osteon:tiles") == 1);
  CHECK(std::none_of(used.begin(), used.end(), [](const std::string& name) { return name.starts_with("ref"); }));
}

namespace {

struct Tokens {
  std::int64_t batch, seq_len, d, k;
};
// Short and long sequences (more than a block of 1024 tokens), thin and wide factors, ragged edges: both paths.
constexpr Tokens kTokens[] = {{1, 1, 1, 1},     {3, 5, 7, 9},     {4, 32, 4, 128}, {4, 32, 128, 4},
                              {2, 33, 17, 65},  {3, 150, 37, 5},  {3, 150, 5, 37}, {2, 200, 64, 70},
                              {2, 1030, 12, 9}, {2, 1100, 9, 80}, {1, 2048, 8, 8}, {3, 64, 40, 130},
                              {0, 8, 4, 4},     {2, 0, 4, 4},     {2, 3, 0, 4},    {2, 3, 4, 0}};

}  // namespace

TEST_CASE("gemm_tokens agrees with plain loops") {
  const GemmSettings restore;
  for (const Route route : kRoutes) {
    for (const Tokens& s : kTokens)
      for (const Dtypes& dtypes : kDtypes)
        for (const double alpha : {1.0, -0.75})
          for (const bool add : {false, true}) {
            CAPTURE(s.seq_len);
            CAPTURE(s.d);
            CAPTURE(s.k);
            CAPTURE(name_of(dtypes.operands));
            CAPTURE(name_of(dtypes.result));
            const Array g = Array::random(dtypes.operands, {s.batch, s.seq_len, s.d}, 1);
            const Array x = Array::random(dtypes.operands, {s.batch, s.seq_len, s.k}, 2);
            Array out = Array::random(dtypes.result, {s.d, s.k}, 3);
            std::vector<double> expected = out.doubles();
            const std::int64_t tokens = s.batch * s.seq_len;
            reference::gemm(g.doubles(), x.doubles(), expected, s.d, s.k, tokens, true, false, alpha, add);
            sum_tokens(route, g.view(), x.view(), out.sink(add), alpha);
            const test::Difference worst = test::difference(out, expected);
            // A bf16 sink is rounded after every block of every sequence.
            const double roundings = dtypes.result == DType::bf16 ? 20 : 1;
            CHECK_MESSAGE(worst.value <= roundings * tolerance(dtypes, tokens, alpha), worst.where);
          }
  }
}

TEST_CASE("gemm_tokens is bit-equal for any number of threads and any split of a batch along sequences") {
  const GemmSettings restore;
  for (const Route route : kRoutes) {
    for (const Tokens& s : kTokens)
      for (const Dtypes& dtypes : kDtypes) {
        CAPTURE(s.seq_len);
        CAPTURE(s.d);
        CAPTURE(s.k);
        CAPTURE(name_of(dtypes.operands));
        CAPTURE(name_of(dtypes.result));
        const Array g = Array::random(dtypes.operands, {s.batch, s.seq_len, s.d}, 1);
        const Array x = Array::random(dtypes.operands, {s.batch, s.seq_len, s.k}, 2);
        const Array before = Array::random(dtypes.result, {s.d, s.k}, 3);
        Array first = before;
        omp_set_num_threads(1);
        sum_tokens(route, g.view(), x.view(), first.sink(true), 0.3);
        for (const int threads : {2, 3, 4}) {
          omp_set_num_threads(threads);
          Array again = before;
          sum_tokens(route, g.view(), x.view(), again.sink(true), 0.3);
          CHECK(again == first);
        }
        Array split = before;
        for (std::int64_t sequence = 0; sequence < s.batch; ++sequence) {
          const std::int64_t begin = sequence * s.seq_len, end = begin + s.seq_len;
          sum_tokens(route, g.view().slice_rows(begin, end), x.view().slice_rows(begin, end), split.sink(true), 0.3);
        }
        CHECK(split == first);
      }
  }
}

TEST_CASE("gemm_tokens refuses tokens, features and dtypes that do not fit") {
  const Array g(DType::f32, {2, 3, 4}), x(DType::f32, {2, 3, 5}), regrouped(DType::f32, {3, 2, 5});
  const Array flat(DType::f32, {24}), half(DType::bf16, {2, 3, 5});
  Array out(DType::f32, {4, 5}), wrong(DType::f32, {5, 4}), narrow(DType::bf16, {4, 5});
  CHECK_THROWS_WITH_AS(kernels::gemm_tokens(kDevice, g.view(), regrouped.view(), out.sink(false)),
                       "gemm_tokens: expected the same tokens, got [2, 3, 4] and [3, 2, 5]", ShapeError);
  CHECK_THROWS_WITH_AS(kernels::gemm_tokens(kDevice, flat.view(), x.view(), out.sink(false)),
                       "gemm_tokens: expected the same tokens, got [24] and [2, 3, 5]", ShapeError);
  CHECK_THROWS_WITH_AS(kernels::gemm_tokens(kDevice, g.view(), x.view(), wrong.sink(false)),
                       "gemm_tokens: out: expected [4, 5], got [5, 4]", ShapeError);
  CHECK_THROWS_WITH_AS(kernels::gemm_tokens(kDevice, g.view(), half.view(), out.sink(false)),
                       "gemm_tokens: expected operands of one dtype, got f32 and bf16", ShapeError);
  CHECK_THROWS_WITH_AS(kernels::gemm_tokens(kDevice, g.view(), x.view(), narrow.sink(false)),
                       "gemm_tokens: expected f32 for the result, got bf16", ShapeError);
}
