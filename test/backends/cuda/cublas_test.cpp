#include <functional>
#include <thread>

#include "backends/cuda/emulation/cublas_lt.hpp"
#include "backends/gpu_workspace.hpp"
#include "backends/kernels/gemm.hpp"
#include "backends/kernels/transfer.hpp"
#include "backends/memory.hpp"
#include "test/backends/cuda/emulated.hpp"
#include "test/reference/gemm.hpp"

// How products use cuBLAS. That they are right: gemm_test.cpp.

using namespace osteon;
using namespace osteon::cuda;
using namespace osteon::test;

namespace {

/// f() in a thread of its own, which has no handle of cuBLAS yet; what a DeviceError says, if it throws one.
std::string in_new_thread(const std::function<void()>& f) {
  std::string said;
  std::thread([&] {
    try {
      f();
    } catch (const DeviceError& error) {
      said = error.what();
    }
    emulation::fail_no_call();
    release_idle_memory(Device::cuda);
  }).join();
  return said;
}

/// The elements from the `first` on, where they are.
ConstView part(const Array& array, std::int64_t first, const Shape& shape) {
  return {static_cast<const std::byte*>(array.view().data) + first * size_of(array.dtype()), array.dtype(), shape,
          true};
}
View part(Array& array, std::int64_t first, const Shape& shape) {
  return {static_cast<std::byte*>(array.view().data) + first * size_of(array.dtype()), array.dtype(), shape, true};
}
/// The same in an array of their own.
Array copy(const Array& array, std::int64_t first, const Shape& shape) {
  Array to(array.dtype(), shape);
  for (std::int64_t i = 0; i < to.numel(); ++i)
    to.set(i, array.at(first + i));
  return to;
}

struct Tf32 {
  Tf32() { kernels::set_tf32_gemm(true); }
  ~Tf32() { kernels::set_tf32_gemm(false); }
  Tf32(const Tf32&) = delete;
  Tf32& operator=(const Tf32&) = delete;
};

/// The largest error of a [32, 256] times b [256, 16].
double error_of_product(DType dtype) {
  const Array a = Array::random(dtype, {32, 256}, 1), b = Array::random(dtype, {256, 16}, 2);
  Array c(dtype, {32, 16});
  std::vector<double> expected = c.doubles();
  reference::gemm(a.doubles(), b.doubles(), expected, 32, 16, 256, false, false, 1.0, false);
  kernels::gemm(kDevice, a.view(), b.view(), c.view());
  return difference(c, expected).value;
}

}  // namespace

TEST_CASE("each call of a product that fails is named with what was asked for, and nothing leaks") {
  release_idle_memory(Device::cuda);
  const Array a = Array::random(DType::f32, {5, 130}, 1), b = Array::random(DType::f32, {7, 130}, 2);
  const Array none(DType::f32, {0, 7});
  Array c(DType::f32, {5, 7}), square(DType::f32, {130, 130});
  // Views are taken once: an array waits for the device when it was written before.
  const ConstView left = a.view(), right = b.view(), no_terms = none.view(), tokens = left.reshape({5, 1, 130});
  const View result = c.view();
  const Sink sink = square.sink(false);
  std::int64_t calls = 0;
  const auto multiply = [&] {
    const std::int64_t first = emulation::call_count();
    kernels::gemm(kDevice, left, right, result, {.transpose_b = true});
    kernels::gemm_tokens(kDevice, tokens, tokens, sink);
    kernels::gemm(kDevice, left.slice_rows(0, 0).reshape({5, 0}), no_terms, result);
    finish();
    calls = emulation::call_count() - first;
  };
  const emulation::Allocated before = emulation::allocated();
  const std::int64_t handles = emulation::live_cublas_handles();
  const std::int64_t live = memory_report(Device::cuda).live.total();
  REQUIRE(in_new_thread(multiply) == "");
  CHECK(emulation::live_cublas_handles() == handles);
  const std::int64_t all = calls;
  REQUIRE(all > 20);
  std::int64_t products = 0;
  for (std::int64_t n = 0; n < all; ++n) {
    CAPTURE(n);
    const std::string said = in_new_thread([&] {
      emulation::fail_call(n, cudaErrorLaunchFailure);
      multiply();
    });
    CHECK_SAYS(said, said.starts_with("cublasLt")
                         ? "CUBLAS_STATUS_INTERNAL_ERROR (14): as the emulation was told: gemm ["
                         : "cudaErrorLaunchFailure (719)");
    products += said.ends_with("gemm [5, 7] over k = 130, f32 operands, b transposed, f32 result") ? 1 : 0;
    CHECK(emulation::live_cublas_handles() == handles);
    CHECK(emulation::allocated().blocks == before.blocks);
    CHECK(memory_report(Device::cuda).live.total() == live);
  }
  CHECK(products > 10);
}

TEST_CASE("a product that cuBLAS does not take is an error that says so") {
  const View huge{nullptr, DType::bf16, {std::int64_t{1} << 31, 1}, true}, one{nullptr, DType::bf16, {1, 1}, true};
  CHECK_THROWS_WITH_AS(kernels::gemm(kDevice, huge, one, huge),
                       "cublasLtMatmulAlgoGetHeuristic: CUBLAS_STATUS_NOT_SUPPORTED (15): as the emulation was told: "
                       "gemm [2147483648, 1] over k = 1, bf16 operands, bf16 result",
                       DeviceError);
  const Array a(DType::f32, {1, 1});
  Array c(DType::f32, {1, 1});
  CUstream_st* gone = nullptr;
  {
    const Stream stream;
    gone = stream.device().stream;
  }
  CHECK_THROWS_AS(kernels::gemm(Cuda{gone}, a.view(), a.view(), c.view()), DeviceError);
}

TEST_CASE("the workspace of products is counted, and as large whatever their algorithms need") {
  release_idle_memory(Device::cuda);
  const std::int64_t before = memory_report(Device::cuda).live[Category::workspace];
  const Array a = Array::random(DType::f32, {5, 130}, 1), b = Array::random(DType::f32, {130, 7}, 2);
  Array c(DType::f32, {5, 7});
  kernels::gemm(kDevice, a.view(), b.view(), c.view());
  CHECK(memory_report(Device::cuda).live[Category::workspace] - before == kernels::product_workspace());
  kernels::gemm(kDevice, a.view().slice_rows(0, 1), b.view(), c.view().slice_rows(0, 1));  // another algorithm
  CHECK(memory_report(Device::cuda).live[Category::workspace] - before == kernels::product_workspace());
  release_idle_memory(Device::cuda);
  CHECK(memory_report(Device::cuda).live[Category::workspace] == before);
}

TEST_CASE("an algorithm is chosen once for a shape, until there are too many") {
  const Array a = Array::random(DType::f32, {2000}, 1);
  Array c(DType::f32, {1, 1});
  const View result = c.view();
  const auto calls = [&](std::int64_t k) {
    const std::int64_t before = emulation::call_count();
    const ConstView row = a.view().reshape({2000, 1}).slice_rows(0, k).reshape({1, k});
    kernels::gemm(kDevice, row, row, result, {.transpose_b = true});
    return emulation::call_count() - before;
  };
  calls(1);
  CHECK(calls(1) == 1);
  CHECK(calls(2) > 10);
  CHECK(calls(2) == 1);
  for (std::int64_t k = 3; k < 1100; ++k) {
    calls(k);
    CHECK(calls(k) == 1);
  }
  CHECK(calls(1) > 10);
}

TEST_CASE("products run on a stream, and on operands at any address") {
  const Stream stream;
  for (const DType dtype : {DType::f32, DType::bf16})
    for (int moved = 0; moved < 4; ++moved) {  // which of a, b and c begins one element later; 3: none
      CAPTURE(dtype);
      CAPTURE(moved);
      const std::int64_t at_a = moved == 0 ? 1 : 0, at_b = moved == 1 ? 1 : 0, at_c = moved == 2 ? 1 : 0;
      const Array a = Array::random(dtype, {4 * 16 + 1}, 1), b = Array::random(dtype, {16 * 8 + 1}, 2);
      Array c = Array::random(dtype, {4 * 8 + 1}, 3);
      const std::vector<double> left = a.doubles(), right = b.doubles();
      std::vector<double> expected = c.doubles();
      reference::gemm(std::span(left).subspan(static_cast<std::size_t>(at_a)),
                      std::span(right).subspan(static_cast<std::size_t>(at_b)),
                      std::span(expected).subspan(static_cast<std::size_t>(at_c)), 4, 8, 16, false, false, 1.0, true);
      kernels::gemm(stream.device(), part(a, at_a, {4, 16}), part(b, at_b, {16, 8}), part(c, at_c, {4, 8}),
                    {.add = true});
      synchronize(stream.device());
      CHECK(difference(c, expected).value <= 16 * epsilon(dtype));
    }
}

TEST_CASE("a product has the same bits for rows at other addresses") {
  for (const DType dtype : {DType::f32, DType::bf16})
    for (std::int64_t k = 64; k < 80; ++k)
      for (const std::int64_t n : {3, 4, 6, 8, 16}) {
        CAPTURE(dtype);
        CAPTURE(k);
        CAPTURE(n);
        const std::int64_t m = 8;
        const Array a = Array::random(dtype, {m + 1, k}, 1), b = Array::random(dtype, {n + 1, k}, 2);
        const Array a_rows = copy(a, k, {m, k}), b_rows = copy(b, k, {n, k});
        Array whole(dtype, {m + 1, n}), first(dtype, {m, n}), second(dtype, {m, n});
        kernels::gemm(kDevice, part(a, k, {m, k}), part(b, k, {n, k}), part(whole, n, {m, n}), {.transpose_b = true});
        kernels::gemm(kDevice, a_rows.view(), b_rows.view(), first.view(), {.transpose_b = true});
        CHECK(copy(whole, n, {m, n}) == first);
        // Sums over the rows.
        Array sum(dtype, {k, n}), again(dtype, {k, n});
        kernels::gemm(kDevice, part(a, k, {m, k}), first.view(), sum.view(), {.transpose_a = true});
        kernels::gemm(kDevice, a_rows.view(), first.view(), again.view(), {.transpose_a = true});
        CHECK(sum == again);
      }
}

TEST_CASE("a sum over tokens has the same bits for sequences at other addresses") {
  for (const DType dtype : {DType::f32, DType::bf16})
    for (std::int64_t width = 1; width < 10; ++width) {
      CAPTURE(dtype);
      CAPTURE(width);
      const std::int64_t seq_len = 101;
      const Array g = Array::random(dtype, {3, seq_len, width}, 1),
                  x = Array::random(dtype, {3, seq_len, 11 - width}, 2);
      Array whole(DType::f32, {width, 11 - width}), split = whole;
      kernels::gemm_tokens(kDevice, g.view(), x.view(), whole.sink(false));
      const auto sequence = [&](const Array& of, std::int64_t number) {
        const std::int64_t features = of.shape()[2];
        return copy(of, number * seq_len * features, {seq_len, features});
      };
      for (std::int64_t number = 0; number < 3; ++number) {
        const Array gs = sequence(g, number), xs = sequence(x, number);
        kernels::gemm_tokens(kDevice, gs.view(), xs.view(), split.sink(number > 0));
        finish();
      }
      CHECK(split == whole);
    }
}

TEST_CASE("a sum over tokens is one product and one kernel for many sequences") {
  const auto launches = [](std::int64_t sequences, std::int64_t seq_len, bool add) {
    const Array g = Array::random(DType::bf16, {sequences, seq_len, 8}, 1);
    const Array x = Array::random(DType::bf16, {sequences, seq_len, 16}, 2);
    Array sum(DType::f32, {8, 16});
    const ConstView left = g.view(), right = x.view();
    const Sink sink = sum.sink(add);
    kernels::gemm_tokens(kDevice, left, right, sink);  // chooses the algorithm
    const std::int64_t before = emulation::call_count();
    kernels::gemm_tokens(kDevice, left, right, sink);
    return emulation::call_count() - before;
  };
  const std::int64_t several = launches(2, 70, false);
  CHECK(several > launches(1, 70, false));  // nothing to add
  CHECK(launches(1, 70, true) == several);
  CHECK(launches(5, 70, true) == several);
  CHECK(launches(1, 2048, false) == several);      // two blocks of 1024
  CHECK(launches(2, 1025, false) == several + 1);  // blocks of 1024, and of one
}

TEST_CASE("large sums over tokens have the same bits for any split of a batch, a few parts at a time or none") {
  const std::int64_t seq_len = 3, d = 1024;
  // Of f32: five sequences at a time, then two; sums that are added by their products.
  for (const std::int64_t k : {800, 1500, 2100}) {
    CAPTURE(k);
    const Array g = Array::random(DType::f32, {6, seq_len, d}, 1), x = Array::random(DType::f32, {6, seq_len, k}, 2);
    Array whole = Array::random(DType::f32, {d, k}, 3), split = whole;
    kernels::gemm_tokens(kDevice, g.view(), x.view(), whole.sink(true), 0.3);
    for (std::int64_t number = 0; number < 6; ++number)
      kernels::gemm_tokens(kDevice, part(g, number * seq_len * d, {seq_len, d}),
                           part(x, number * seq_len * k, {seq_len, k}), split.sink(true), 0.3);
    CHECK(whole == split);
  }
}

TEST_CASE("where an algorithm has no workspace for a batch, it multiplies one by one, to the same bits") {
  const std::int64_t before = kernels::product_workspace(), seq_len = 101;
  const Array g = Array::random(DType::bf16, {4, seq_len, 8}, 1), x = Array::random(DType::bf16, {4, seq_len, 16}, 2);
  std::vector<std::int64_t> calls;
  // For one split sum; for four of them.
  for (const std::int64_t bytes : {3000, 12000}) {
    kernels::set_product_workspace(bytes);
    Array sum(DType::f32, {8, 16}), split = sum;
    const Sink sink = sum.sink(false);
    kernels::gemm_tokens(kDevice, g.view(), x.view(), sink);
    const std::int64_t first = emulation::call_count();
    kernels::gemm_tokens(kDevice, g.view(), x.view(), sink);
    calls.push_back(emulation::call_count() - first);
    for (std::int64_t number = 0; number < 4; ++number)
      kernels::gemm_tokens(kDevice, part(g, number * seq_len * 8, {seq_len, 8}),
                           part(x, number * seq_len * 16, {seq_len, 16}), split.sink(number > 0));
    CHECK(sum == split);
  }
  kernels::set_product_workspace(before);
  CHECK(calls[0] == calls[1] + 3);
}

TEST_CASE("TF32 is what f32 products may be asked for, and nothing else changes") {
  const double exact = 256 * epsilon(DType::f32), rounded = 256 * 0x1p-10;
  const double of_f64 = error_of_product(DType::f64), of_bf16 = error_of_product(DType::bf16);
  CHECK(error_of_product(DType::f32) <= exact);
  CHECK(std::string(kernels::gemm_backend(kDevice).instruction_set) == "f32");
  {
    const Tf32 on;
    CHECK(error_of_product(DType::f32) > exact);
    CHECK(error_of_product(DType::f32) <= rounded);
    CHECK(error_of_product(DType::f64) == of_f64);
    CHECK(error_of_product(DType::bf16) == of_bf16);
    CHECK(std::string(kernels::gemm_backend(kDevice).instruction_set) == "TF32");
  }
  CHECK(error_of_product(DType::f32) <= exact);
  CHECK(std::string(kernels::gemm_backend(kDevice).library) == "cuBLAS 13.1.0");
  CHECK(kernels::gemm_backend(kDevice).deterministic);
}

TEST_CASE("a product sees what was uploaded before it, though nobody waited") {
  const std::vector<float> host = {1, 2, 3, 4};
  Array a(DType::f32, {2, 2}), c(DType::f32, {2, 2});
  const View to = a.view(), result = c.view();
  kernels::upload(Cuda{}, {host.data(), DType::f32, {2, 2}, true}, to);
  kernels::gemm(Cuda{}, to, to, result);
  CHECK(c.doubles() == std::vector<double>{7, 10, 15, 22});
}
