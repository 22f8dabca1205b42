#include "bench/roof.hpp"

#include <doctest/doctest.h>

#include "backends/kernels/gemm.hpp"

namespace osteon::bench {
namespace {

/// A linear with LoRA: y, its dx, h, and dB.
StepProducts some_products(DType dtype) {
  StepProducts products;
  products.base[{64, 96, 128, 0, true, false, dtype, dtype}] = 3;
  products.base[{64, 128, 96, 0, false, true, dtype, dtype}] = 3;
  products.adapter[{64, 8, 128, 0, true, false, dtype, dtype}] = 3;
  products.adapter[{96, 8, 64, 32, false, false, dtype, DType::f32}] = 3;
  return products;
}

}  // namespace

TEST_CASE("a roof is the best of the engines, with the adapter at two rates") {
  for (const DType dtype : {DType::f32, DType::bf16}) {
    const StepProducts products = some_products(dtype);
    Roof roof(products);
    for (int i = 0; i < 3; ++i)
      roof.sample();
    const RoofTimes times = roof.times();
    CHECK(times.own > 0);
    CHECK(times.own <= times.front * (1 + 1e-12));  // the sums go in different orders
    const double base = flops_of(products.base), adapter = flops_of(products.adapter);
    CHECK(times.own == doctest::Approx(base / times.base_rate + adapter / times.adapter_rate));
    CHECK(times.wide == doctest::Approx((base + adapter) / times.base_rate));
    const std::vector<RoofRow> rows = roof.rows();
    REQUIRE(rows.size() == 4);
    for (const RoofRow& row : rows) {
      CHECK(row.best <= row.front);
      CHECK(row.count == 3);
      CHECK((row.adapter ? products.adapter : products.base).contains(row.product));
    }
    CHECK(rows.front().best >= rows.back().best);
  }
}

TEST_CASE("Bat's products with blocks go through its own kernels and block by block") {
  for (const DType dtype : {DType::f32, DType::bf16}) {
    StepProducts products;
    products.base[{16, 24, 32, 0, true, false, dtype, dtype}] = 1;
    products.adapter[{32, 8, 8, 0, false, false, dtype, dtype, 3}] = 2;
    products.adapter[{8, 8, 32, 32, false, false, dtype, DType::f32, 3}] = 1;
    CHECK(flops_of(products.adapter) == 3 * 3 * 2.0 * 32 * 8 * 8);
    Roof roof(products);
    roof.sample();
    CHECK(roof.rows().size() == 3);
    CHECK(roof.times().adapter_rate > 0);
  }
}

TEST_CASE("a roof without an adapter is the same at both rates, and leaves products bit-stable") {
  StepProducts products = some_products(DType::f32);
  products.adapter.clear();
  Roof roof(products);
  roof.sample();
  CHECK(roof.times().adapter_rate == 0);
  CHECK(roof.times().own == roof.times().wide);
  CHECK(kernels::gemm_backend().deterministic);
}

}  // namespace osteon::bench
