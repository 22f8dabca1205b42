#include "test/backends/wkv_checks.hpp"

using namespace osteon;
using namespace osteon::test;

TEST_CASE("wkv7 and its gradients agree with plain loops") {
  const WkvExtent extents[] = {{1, 1, 1, 1},   {2, 5, 3, 2},   {1, 16, 1, 4}, {3, 17, 1, 8},
                               {1, 35, 1, 20}, {1, 18, 2, 64}, {1, 17, 1, 70}};
  for (const WkvExtent& of : extents)
    for (const DType dtype : kFloating)
      check_wkv_against_loops<Wkv7Kernels>(of, dtype);
}

TEST_CASE("wkv7 gives the same bits for any number of threads and from a carried state") {
  for (const DType dtype : kFloating) {
    check_wkv_bits<Wkv7Kernels>({1, 21, 3, 12}, dtype);
    check_wkv_bits<Wkv7Kernels>({1, 5, 1, 72}, dtype);
  }
}

TEST_CASE("wkv7 gives finite numbers far from zero and lets NaN through") {
  check_wkv_far_decays<Wkv7Kernels>(-200, 200);
}

TEST_CASE("wkv7 of nothing leaves the state as it is") { check_wkv_empty<Wkv7Kernels>(); }

TEST_CASE("wkv7 refuses shapes and dtypes that do not fit") { check_wkv_refusals<Wkv7Kernels>(); }
