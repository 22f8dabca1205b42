#include <functional>

#include "backends/cuda/emulation/cublas_lt.hpp"
#include "test/backends/cuda/emulated.hpp"

using namespace osteon;
using namespace osteon::cuda;
using namespace osteon::test;

namespace {

/// A product of cuBLAS that is as it should be: d [3, 2] = a [3, 81] b [81, 2], all f32 and stored column by column.
struct Call {
  std::int64_t m = 3, n = 2, k = 81;
  Array a = Array::random(DType::f32, {81, 3}, 1), b = Array::random(DType::f32, {2, 81}, 2), d{DType::f32, {2, 3}};
  Buffer workspace{Memory::device, 1 << 10};
  float alpha = 1, beta = 0;
  cublasLtHandle_t handle = nullptr;
  cublasLtMatmulDescOpaque_t operation{};
  cublasLtMatrixLayoutOpaque_t a_layout{}, b_layout{}, d_layout{};
  cublasLtMatmulPreferenceOpaque_t preference{};
  cublasLtMatmulHeuristicResult_t chosen{};

  Call() {
    REQUIRE(cublasLtCreate(&handle) == CUBLAS_STATUS_SUCCESS);
    REQUIRE(cublasLtMatmulDescInit(&operation, CUBLAS_COMPUTE_32F, CUDA_R_32F) == CUBLAS_STATUS_SUCCESS);
    lay_out(a_layout, CUDA_R_32F, m, k, m);
    lay_out(b_layout, CUDA_R_32F, k, n, k);
    lay_out(d_layout, CUDA_R_32F, m, n, m);
    REQUIRE(cublasLtMatmulPreferenceInit(&preference) == CUBLAS_STATUS_SUCCESS);
    prefer(CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES, std::uint64_t{1} << 10);
  }
  ~Call() { cublasLtDestroy(handle); }
  Call(const Call&) = delete;
  Call& operator=(const Call&) = delete;

  static void lay_out(cublasLtMatrixLayoutOpaque_t& layout, cudaDataType_t type, std::int64_t rows,
                      std::int64_t columns, std::int64_t leading) {
    REQUIRE(cublasLtMatrixLayoutInit(&layout, type, static_cast<std::uint64_t>(rows),
                                     static_cast<std::uint64_t>(columns), leading) == CUBLAS_STATUS_SUCCESS);
  }
  void prefer(cublasLtMatmulPreferenceAttributes_t which, auto value) {
    REQUIRE(cublasLtMatmulPreferenceSetAttribute(&preference, which, &value, sizeof value) == CUBLAS_STATUS_SUCCESS);
  }
  cublasStatus_t choose() {
    int found = 0;
    const cublasStatus_t status = cublasLtMatmulAlgoGetHeuristic(handle, &operation, &a_layout, &b_layout, &d_layout,
                                                                 &d_layout, &preference, 1, &chosen, &found);
    return status == CUBLAS_STATUS_SUCCESS && found == 0 ? CUBLAS_STATUS_NOT_SUPPORTED : status;
  }
  cublasStatus_t multiply() {
    return cublasLtMatmul(handle, &operation, &alpha, a.view().data, &a_layout, b.view().data, &b_layout, &beta,
                          d.view().data, &d_layout, d.view().data, &d_layout, &chosen.algo, workspace.data(),
                          chosen.workspaceSize, nullptr);
  }
};

/// What is wrong with a call once `spoil` has changed it: said when the algorithm is chosen.
cublasStatus_t chosen_with(const std::function<void(Call&)>& spoil) {
  Call call;
  spoil(call);
  return call.choose();
}
/// The same, said when it multiplies.
std::string multiplied_with(const std::function<void(Call&)>& spoil) {
  Call call;
  REQUIRE(call.choose() == CUBLAS_STATUS_SUCCESS);
  spoil(call);
  try {
    return cublasLtGetStatusName(call.multiply());
  } catch (const emulation::KernelError& error) {
    return error.what();
  }
}

}  // namespace

TEST_CASE("emulated cuBLAS: a good call is computed, column by column") {
  Call call;
  REQUIRE(call.choose() == CUBLAS_STATUS_SUCCESS);
  CHECK(call.chosen.workspaceSize > 0);
  call.d.set(0, std::numeric_limits<double>::quiet_NaN());  // not read while beta is 0
  REQUIRE(call.multiply() == CUBLAS_STATUS_SUCCESS);
  double sum = 0;
  for (std::int64_t i = 0; i < 81; ++i)
    sum += call.a.at(i * 3 + 2) * call.b.at(81 + i);
  CHECK(call.d.at(5) == doctest::Approx(sum).epsilon(1e-5));
  call.beta = 2;
  REQUIRE(call.multiply() == CUBLAS_STATUS_SUCCESS);
  CHECK(call.d.at(5) == doctest::Approx(3 * sum).epsilon(1e-5));
}

TEST_CASE("emulated cuBLAS: what cannot be chosen for is refused") {
  CHECK(chosen_with([](Call&) {}) == CUBLAS_STATUS_SUCCESS);
  CHECK(chosen_with([](Call& c) { c.operation.ready = 0; }) == CUBLAS_STATUS_INVALID_VALUE);
  CHECK(chosen_with([](Call& c) { c.a_layout.ready = 0; }) == CUBLAS_STATUS_INVALID_VALUE);
  CHECK(chosen_with([](Call& c) { c.preference.ready = 0; }) == CUBLAS_STATUS_INVALID_VALUE);
  CHECK(chosen_with([](Call& c) { Call::lay_out(c.a_layout, CUDA_R_32F, c.m, c.k, c.m - 1); }) ==
        CUBLAS_STATUS_INVALID_VALUE);
  CHECK(chosen_with([](Call& c) { Call::lay_out(c.b_layout, CUDA_R_32F, c.k + 1, c.n, c.k + 1); }) ==
        CUBLAS_STATUS_INVALID_VALUE);
  CHECK(chosen_with([](Call& c) { Call::lay_out(c.d_layout, CUDA_R_32F, c.n, c.m, c.n); }) ==
        CUBLAS_STATUS_INVALID_VALUE);
  CHECK(chosen_with([](Call& c) { c.operation.transpose_a = CUBLAS_OP_T; }) == CUBLAS_STATUS_INVALID_VALUE);
  const auto empty = [](Call& c) {
    Call::lay_out(c.a_layout, CUDA_R_32F, c.m, 0, c.m);
    Call::lay_out(c.b_layout, CUDA_R_32F, 0, c.n, 1);
  };
  CHECK(chosen_with(empty) == CUBLAS_STATUS_INVALID_VALUE);
  const std::int64_t wide = std::int64_t{1} << 31;
  const auto huge = [&](Call& c) {
    Call::lay_out(c.a_layout, CUDA_R_32F, wide, c.k, wide);
    Call::lay_out(c.d_layout, CUDA_R_32F, wide, c.n, wide);
  };
  CHECK(chosen_with(huge) == CUBLAS_STATUS_NOT_SUPPORTED);
  CHECK(chosen_with([](Call& c) {
          cublasLtHandle_t other = nullptr;
          cublasLtCreate(&other);
          cublasLtDestroy(c.handle);
          CHECK(c.choose() == CUBLAS_STATUS_NOT_INITIALIZED);
          c.handle = other;
        }) == CUBLAS_STATUS_SUCCESS);
}

TEST_CASE("emulated cuBLAS: dtypes go together as in the real one") {
  const auto types = [](cublasComputeType_t compute, cudaDataType_t scale, cudaDataType_t ab, cudaDataType_t c) {
    return chosen_with([&](Call& call) {
      cublasLtMatmulDescInit(&call.operation, compute, scale);
      call.a_layout.type = call.b_layout.type = ab;
      call.d_layout.type = c;
    });
  };
  constexpr cublasComputeType_t kF32 = CUBLAS_COMPUTE_32F, kTf32 = CUBLAS_COMPUTE_32F_FAST_TF32;
  constexpr cublasComputeType_t kF64 = CUBLAS_COMPUTE_64F;
  CHECK(types(kF32, CUDA_R_32F, CUDA_R_16BF, CUDA_R_16BF) == CUBLAS_STATUS_SUCCESS);
  CHECK(types(kF32, CUDA_R_32F, CUDA_R_16BF, CUDA_R_32F) == CUBLAS_STATUS_SUCCESS);
  CHECK(types(kTf32, CUDA_R_32F, CUDA_R_32F, CUDA_R_32F) == CUBLAS_STATUS_SUCCESS);
  CHECK(types(kF64, CUDA_R_64F, CUDA_R_64F, CUDA_R_64F) == CUBLAS_STATUS_SUCCESS);
  CHECK(types(kF32, CUDA_R_32F, CUDA_R_32F, CUDA_R_16BF) == CUBLAS_STATUS_NOT_SUPPORTED);
  CHECK(types(kF32, CUDA_R_32F, CUDA_R_64F, CUDA_R_64F) == CUBLAS_STATUS_NOT_SUPPORTED);
  CHECK(types(kF32, CUDA_R_64F, CUDA_R_32F, CUDA_R_32F) == CUBLAS_STATUS_NOT_SUPPORTED);
  CHECK(types(kTf32, CUDA_R_32F, CUDA_R_16BF, CUDA_R_32F) == CUBLAS_STATUS_NOT_SUPPORTED);
  CHECK(types(kF64, CUDA_R_64F, CUDA_R_32F, CUDA_R_32F) == CUBLAS_STATUS_NOT_SUPPORTED);
  CHECK(types(kF64, CUDA_R_32F, CUDA_R_64F, CUDA_R_64F) == CUBLAS_STATUS_NOT_SUPPORTED);
}

TEST_CASE("emulated cuBLAS: attributes have their own sizes") {
  Call call;
  const std::int64_t wrong = 16;
  const std::uint8_t narrow = 1;
  CHECK(cublasLtMatmulPreferenceSetAttribute(&call.preference, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES, &wrong,
                                             sizeof wrong) == CUBLAS_STATUS_INVALID_VALUE);
  CHECK(cublasLtMatmulPreferenceSetAttribute(&call.preference, CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES, &narrow,
                                             sizeof narrow) == CUBLAS_STATUS_INVALID_VALUE);
  CHECK(cublasLtMatmulDescSetAttribute(&call.operation, CUBLASLT_MATMUL_DESC_TRANSA, &narrow, sizeof narrow) ==
        CUBLAS_STATUS_INVALID_VALUE);
  CHECK(cublasLtDestroy(nullptr) == CUBLAS_STATUS_NOT_INITIALIZED);
}

TEST_CASE("emulated cuBLAS: sums are split only where parts may be kept, in their own type") {
  const auto workspace = [](const std::function<void(Call&)>& change) {
    Call call;
    change(call);
    REQUIRE(call.choose() == CUBLAS_STATUS_SUCCESS);
    return call.chosen.workspaceSize;
  };
  CHECK(workspace([](Call&) {}) > 0);
  CHECK(workspace([](Call& c) { c.prefer(CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES, std::uint64_t{8}); }) == 0);
  CHECK(workspace([](Call& c) { c.prefer(CUBLASLT_MATMUL_PREF_REDUCTION_SCHEME_MASK, std::uint32_t{0}); }) == 0);
}

namespace {

/// Makes a layout one of a batch.
void set_batch(cublasLtMatrixLayoutOpaque_t& layout, std::int32_t count, std::int64_t stride) {
  REQUIRE(cublasLtMatrixLayoutSetAttribute(&layout, CUBLASLT_MATRIX_LAYOUT_BATCH_COUNT, &count, sizeof count) ==
          CUBLAS_STATUS_SUCCESS);
  REQUIRE(cublasLtMatrixLayoutSetAttribute(&layout, CUBLASLT_MATRIX_LAYOUT_STRIDED_BATCH_OFFSET, &stride,
                                           sizeof stride) == CUBLAS_STATUS_SUCCESS);
}
/// Promises no more alignment than an element has, which any stride keeps.
void promise_little(Call& c) {
  for (int which = CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES; which <= CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES;
       ++which)
    c.prefer(static_cast<cublasLtMatmulPreferenceAttributes_t>(which), std::uint32_t{4});
}
/// Two products of a's and b's halves along k.
void halve(Call& c) {
  promise_little(c);
  c.k = 40;
  Call::lay_out(c.a_layout, CUDA_R_32F, c.m, c.k, c.m);
  Call::lay_out(c.b_layout, CUDA_R_32F, c.k, c.n, 81);
  set_batch(c.a_layout, 2, 40 * c.m);
  set_batch(c.b_layout, 2, 40);
  set_batch(c.d_layout, 2, c.m * c.n);
  c.d = Array(DType::f32, {2 * c.n, c.m});
}

}  // namespace

TEST_CASE("emulated cuBLAS: a batch is a product for each stride") {
  Call call;
  halve(call);
  REQUIRE(call.choose() == CUBLAS_STATUS_SUCCESS);
  REQUIRE(call.multiply() == CUBLAS_STATUS_SUCCESS);
  for (std::int64_t number = 0; number < 2; ++number) {
    double sum = 0;
    for (std::int64_t i = number * 40; i < (number + 1) * 40; ++i)
      sum += call.a.at(i * 3 + 2) * call.b.at(81 + i);
    CHECK(call.d.at(number * 6 + 5) == doctest::Approx(sum).epsilon(1e-5));
  }
}

TEST_CASE("emulated cuBLAS: batches that are not as they should be are refused") {
  const auto chosen = [](const std::function<void(Call&)>& spoil) {
    return chosen_with([&](Call& c) {
      halve(c);
      spoil(c);
    });
  };
  CHECK(chosen([](Call&) {}) == CUBLAS_STATUS_SUCCESS);
  CHECK(chosen([](Call& c) { set_batch(c.a_layout, 3, 1); }) == CUBLAS_STATUS_INVALID_VALUE);
  CHECK(chosen([](Call& c) { set_batch(c.b_layout, 1, 0); }) == CUBLAS_STATUS_INVALID_VALUE);
  CHECK(chosen([](Call& c) { set_batch(c.d_layout, 2, c.m * c.n - 1); }) == CUBLAS_STATUS_INVALID_VALUE);
  CHECK(chosen([](Call& c) { set_batch(c.a_layout, 2, 0); }) == CUBLAS_STATUS_SUCCESS);  // one matrix for all
  const auto multiplied = [](const std::function<void(Call&)>& spoil) {
    return multiplied_with([&](Call& c) {
      halve(c);
      REQUIRE(c.choose() == CUBLAS_STATUS_SUCCESS);
      spoil(c);
    });
  };
  CHECK(multiplied([](Call&) {}) == "CUBLAS_STATUS_SUCCESS");
  CHECK(multiplied([](Call& c) { set_batch(c.b_layout, 3, 0); }) == "CUBLAS_STATUS_INVALID_VALUE");
  CHECK(multiplied([](Call& c) { set_batch(c.d_layout, 2, 1); }) == "CUBLAS_STATUS_INVALID_VALUE");
  CHECK_SAYS(multiplied([](Call& c) { set_batch(c.a_layout, 2, 41 * c.m + 1); }), "A: 976 bytes that are not inside");
  CHECK_SAYS(multiplied([](Call& c) { c.d = Array(DType::f32, {11}); }), "C: 48 bytes that are not inside");
  CHECK_SAYS(multiplied([](Call& c) { c.chosen.algo.alignment[0] = 256; }), "A: matrices 120 elements apart");
  // What an algorithm takes for one is not enough for two.
  Call call;
  promise_little(call);
  REQUIRE(call.choose() == CUBLAS_STATUS_SUCCESS);
  const std::uint64_t of_one = call.chosen.workspaceSize;
  set_batch(call.a_layout, 2, 0);
  set_batch(call.b_layout, 2, 0);
  set_batch(call.d_layout, 2, 6);
  call.d = Array(DType::f32, {12});
  CHECK(call.multiply() == CUBLAS_STATUS_INVALID_VALUE);
  const auto check = [&] {
    return cublasLtMatmulAlgoCheck(call.handle, &call.operation, &call.a_layout, &call.b_layout, &call.d_layout,
                                   &call.d_layout, &call.chosen.algo, &call.chosen);
  };
  REQUIRE(check() == CUBLAS_STATUS_SUCCESS);
  CHECK(call.chosen.workspaceSize == 2 * of_one);
  CHECK(call.multiply() == CUBLAS_STATUS_SUCCESS);
  Call::lay_out(call.b_layout, CUDA_R_32F, call.k, 1, call.k);
  CHECK(check() == CUBLAS_STATUS_INVALID_VALUE);
}

TEST_CASE("emulated cuBLAS: what a product must not touch is named") {
  CHECK(multiplied_with([](Call&) {}) == "CUBLAS_STATUS_SUCCESS");
  CHECK(multiplied_with([](Call& c) { c.chosen.algo.ready = 0; }) == "CUBLAS_STATUS_INVALID_VALUE");
  CHECK(multiplied_with([](Call& c) { c.chosen.workspaceSize -= 4; }) == "CUBLAS_STATUS_INVALID_VALUE");
  // An algorithm for another shape.
  CHECK(multiplied_with([](Call& c) {
          Call::lay_out(c.a_layout, CUDA_R_32F, 2, c.k, 2);
          Call::lay_out(c.d_layout, CUDA_R_32F, 2, c.n, 2);
        }) == "CUBLAS_STATUS_INVALID_VALUE");
  CHECK_SAYS(multiplied_with([](Call& c) { c.a = Array(DType::f32, {81 * 3 - 1}); }),
             "A: 972 bytes that are not inside one block");
  CHECK_SAYS(multiplied_with([](Call& c) { c.b = Array(DType::f32, {161}); }), "B: 648 bytes that are not inside");
  CHECK_SAYS(multiplied_with([](Call& c) { c.d = Array(DType::f32, {5}); }), "C: 24 bytes that are not inside");
  CHECK_SAYS(multiplied_with([](Call& c) { c.workspace = Buffer(Memory::device, 8); }), "workspace: ");
  CHECK_SAYS(multiplied_with([](Call& c) { Call::lay_out(c.a_layout, CUDA_R_32F, c.m, c.k, c.m + 1); }),
             "A: 1292 bytes");
  CHECK_SAYS(multiplied_with([](Call& c) { c.workspace = Buffer(); }), "workspace: ");
  CHECK_SAYS(multiplied_with([](Call& c) { c.chosen.algo.alignment[1] = 1U << 31; }),
             "B: not aligned to the 2147483648");
  const auto called = [](const void* a, void* d, void* workspace) {
    Call c;
    REQUIRE(c.choose() == CUBLAS_STATUS_SUCCESS);
    try {
      cublasLtMatmul(c.handle, &c.operation, &c.alpha, a == nullptr ? c.a.view().data : a, &c.a_layout, c.b.view().data,
                     &c.b_layout, &c.beta, d, &c.d_layout, d, &c.d_layout, &c.chosen.algo,
                     workspace == nullptr ? c.workspace.data() : workspace, c.chosen.workspaceSize, nullptr);
    } catch (const emulation::KernelError& error) {
      return std::string(error.what());
    }
    return std::string();
  };
  const Buffer shared(Memory::device, 4096);
  std::vector<float> host(243);
  CHECK_SAYS(called(shared.data(), shared.data() + 256, nullptr), "D overlaps A or B");
  CHECK_SAYS(called(nullptr, shared.data(), shared.data()), "the workspace overlaps a matrix");
  CHECK_SAYS(called(host.data(), shared.data(), nullptr), "A: 972 bytes that are not inside one block");
}
