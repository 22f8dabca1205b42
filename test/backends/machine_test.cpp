#include "backends/machine.hpp"

#include <doctest/doctest.h>

#include "backends/omp_threads.hpp"
#include "test/backends/test_device.hpp"

using namespace osteon;

#ifdef OSTEON_TEST_CUDA

TEST_CASE("a GPU's peaks are those of products and copies") {
  const MachinePeaks peaks = measure_machine(test::kDevice);
  CHECK(peaks.gpu == cuda::gpu_name());
  CHECK(peaks.gemm_f32 > 0);
  CHECK(peaks.gemm_bf16 > 0);
  CHECK(peaks.copy > 0);
  CHECK(peaks.products(DType::f32) == peaks.gemm_f32);
  CHECK(peaks.products(DType::bf16) == peaks.gemm_bf16);
  CHECK(peaks.products(DType::f64) == 0);
}

#else

TEST_CASE("the machine's peaks are in an order that can be") {
  const MachinePeaks peaks = measure_machine();
  CHECK(peaks.threads == threads());
  CHECK(peaks.fma_f32 > 1e6);
  CHECK(peaks.gemm_f32 > 1e6);
  CHECK(peaks.gemm_bf16 > 1e6);
  CHECK(peaks.read > 1e6);
  CHECK(peaks.copy > 1e6);
  CHECK((peaks.fma_bf16 > 0) == has_bf16_fma());
  CHECK(peaks.products(DType::f32) == peaks.fma_f32);
  CHECK(peaks.products(DType::bf16) == (has_bf16_fma() ? peaks.fma_bf16 : peaks.fma_f32));
  CHECK(peaks.products(DType::f64) == 0);
}

TEST_CASE("the probes return the work that they were asked for") {
  CHECK(run_fma(DType::f32, 3) == 3 * run_fma(DType::f32, 1));
  CHECK_THROWS_WITH_AS(run_fma(DType::f64, 1), doctest::Contains("run_fma: expected f32"), ShapeError);
  if (!has_bf16_fma())
    CHECK_THROWS_AS(run_fma(DType::bf16, 1), ShapeError);
  MemoryProbe memory;
  CHECK(memory.read() == 128 << 20);
  CHECK(memory.copy() == 128 << 20);
}

#endif
