#include "backends/kernels/gemm.hpp"

#include <array>
#include <compare>
#include <map>
#include <string>

#include "backends/cuda/runtime.hpp"
#include "backends/cuda/token_parts.hpp"
#include "backends/gpu_workspace.hpp"
#include "backends/products.hpp"
#include "backends/scratch.hpp"
#include "backends/trace.hpp"
#ifdef OSTEON_CUDA_EMULATED
#include "backends/cuda/emulation/cublas_lt.hpp"
#else
#include <cublasLt.h>
#endif

// Products by cuBLAS: its interface "Lt", in which we choose what decides the algorithm (docs/decisions/cublas.md).

namespace osteon::kernels {
namespace {

using Index = std::int64_t;

// The widest loads there are; more than this is never promised of an operand.
constexpr std::uintptr_t kMostAlignment = 16;
// Batches whose length differs from step to step ask for new shapes without end.
constexpr std::size_t kMostPlans = 1024;

/// Products of one shape, whose matrices are so many elements apart.
struct Batch {
  Index count = 1, stride_a = 0, stride_b = 0, stride_c = 0;
  auto operator<=>(const Batch&) const = default;  // NOLINT: as below
};

/// What an algorithm is chosen by, and so what decides the bits of a product: all but the batch.
struct Problem {
  Index m, n, k, workspace;
  bool transpose_a, transpose_b, tf32;
  DType operands, result;
  std::uint32_t align_a, align_b, align_c;  ///< promised, in bytes
  Batch batch;
  auto operator<=>(const Problem&) const = default;  // NOLINT: clang-tidy 14 sees a null pointer in it
};

/// Throws DeviceError saying which call failed, and what was to be multiplied.
void check_call(const char* call, cublasStatus_t status, const Problem& p) {
  if (status != CUBLAS_STATUS_SUCCESS) [[unlikely]]
    fail<cuda::DeviceError>(call, ": ", cublasLtGetStatusName(status), " (", static_cast<int>(status),
                            "): ", cublasLtGetStatusString(status), ": gemm ", Shape{p.m, p.n}, " over k = ", p.k, ", ",
                            p.operands, " operands", p.transpose_a ? ", a transposed" : "",
                            p.transpose_b ? ", b transposed" : "", ", ", p.result, " result");
}

/// The alignment of a matrix's rows: for those that begin at a multiple of 16 bytes, that of any slice of its rows too.
std::uint32_t alignment_of(const void* data, Index columns, DType dtype) {
  const auto bits =
      reinterpret_cast<std::uintptr_t>(data) | static_cast<std::uintptr_t>(columns * size_of(dtype)) | kMostAlignment;
  return static_cast<std::uint32_t>(bits & -bits);
}

Problem problem_of(const Product& p, const Batch& batch) {
  return {p.m,
          p.n,
          p.k,
          product_workspace(),
          p.transpose_a,
          p.transpose_b,
          p.operands == DType::f32 && tf32_gemm(),
          p.operands,
          p.result,
          alignment_of(p.a, p.transpose_a ? p.m : p.k, p.operands),
          alignment_of(p.b, p.transpose_b ? p.k : p.n, p.operands),
          alignment_of(p.c, p.n, p.result),
          batch};
}

cudaDataType_t type_of(DType dtype) {
  return dtype == DType::f64 ? CUDA_R_64F : dtype == DType::f32 ? CUDA_R_32F : CUDA_R_16BF;
}

/// A problem in cuBLAS's terms, and the algorithm that its heuristics choose. cuBLAS counts along columns, so it sees
/// the transposes of our matrices, and computes c^T = op(b)^T op(a)^T: our b is its first factor, our a its second.
struct Plan {
  cublasLtMatmulDescOpaque_t operation;
  cublasLtMatrixLayoutOpaque_t first, second, result;
  cublasLtMatmulHeuristicResult_t chosen;
  bool batched = true;  ///< false: the algorithm takes no batch, or more workspace for it than there is

  Plan(cublasLtHandle_t handle, const Problem& p) {
    const auto compute = p.operands == DType::f64 ? CUBLAS_COMPUTE_64F
                         : p.tf32                 ? CUBLAS_COMPUTE_32F_FAST_TF32
                                                  : CUBLAS_COMPUTE_32F;
    check_call("cublasLtMatmulDescInit", cublasLtMatmulDescInit(&operation, compute, type_of(accumulator(p.operands))),
               p);
    const auto transpose = [&](cublasLtMatmulDescAttributes_t which, bool on) {
      const cublasOperation_t op = on ? CUBLAS_OP_T : CUBLAS_OP_N;
      check_call("cublasLtMatmulDescSetAttribute", cublasLtMatmulDescSetAttribute(&operation, which, &op, sizeof op),
                 p);
    };
    transpose(CUBLASLT_MATMUL_DESC_TRANSA, p.transpose_b);
    transpose(CUBLASLT_MATMUL_DESC_TRANSB, p.transpose_a);
    lay_out(first, p, p.operands, p.k, p.n, p.transpose_b);
    lay_out(second, p, p.operands, p.m, p.k, p.transpose_a);
    lay_out(result, p, p.result, p.m, p.n, false);
    choose(handle, p);
    if (p.batch.count > 1)
      make_batched(handle, p);
  }

 private:
  /// A matrix that has `rows` and `columns` once it is transposed, or not.
  static void lay_out(cublasLtMatrixLayoutOpaque_t& layout, const Problem& p, DType dtype, Index rows, Index columns,
                      bool transposed) {
    if (transposed)
      std::swap(rows, columns);
    check_call("cublasLtMatrixLayoutInit",
               cublasLtMatrixLayoutInit(&layout, type_of(dtype), static_cast<std::uint64_t>(columns),
                                        static_cast<std::uint64_t>(rows), columns),
               p);
  }

  void choose(cublasLtHandle_t handle, const Problem& p) {
    cublasLtMatmulPreferenceOpaque_t preference;
    check_call("cublasLtMatmulPreferenceInit", cublasLtMatmulPreferenceInit(&preference), p);
    const auto prefer = [&](cublasLtMatmulPreferenceAttributes_t which, auto value) {
      check_call("cublasLtMatmulPreferenceSetAttribute",
                 cublasLtMatmulPreferenceSetAttribute(&preference, which, &value, sizeof value), p);
    };
    prefer(CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES, static_cast<std::uint64_t>(p.workspace));
    // A sum that is split along k stays in f32 (f64) until it is complete.
    prefer(CUBLASLT_MATMUL_PREF_REDUCTION_SCHEME_MASK, std::uint32_t{CUBLASLT_REDUCTION_SCHEME_COMPUTE_TYPE});
    prefer(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES, p.align_b);
    prefer(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES, p.align_a);
    prefer(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES, p.align_c);
    prefer(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES, p.align_c);
    int found = 0;
    cublasStatus_t status = cublasLtMatmulAlgoGetHeuristic(handle, &operation, &first, &second, &result, &result,
                                                           &preference, 1, &chosen, &found);
    if (status == CUBLAS_STATUS_SUCCESS)
      status = found == 0 ? CUBLAS_STATUS_NOT_SUPPORTED : chosen.state;
    check_call("cublasLtMatmulAlgoGetHeuristic", status, p);
  }

  /// The algorithm that was chosen for one product, for all of the batch: a sum has its bits however many there are.
  void make_batched(cublasLtHandle_t handle, const Problem& p) {
    std::array<cublasLtMatrixLayoutOpaque_t, 3> each = {first, second, result};
    const std::array<std::int64_t, 3> strides = {p.batch.stride_b, p.batch.stride_a, p.batch.stride_c};
    for (std::size_t i = 0; i < each.size(); ++i) {
      const auto set = [&](cublasLtMatrixLayoutAttribute_t which, auto value) {
        check_call("cublasLtMatrixLayoutSetAttribute",
                   cublasLtMatrixLayoutSetAttribute(&each[i], which, &value, sizeof value), p);
      };
      set(CUBLASLT_MATRIX_LAYOUT_BATCH_COUNT, static_cast<std::int32_t>(p.batch.count));
      set(CUBLASLT_MATRIX_LAYOUT_STRIDED_BATCH_OFFSET, strides[i]);
    }
    cublasLtMatmulHeuristicResult_t checked{};
    const cublasStatus_t status =
        cublasLtMatmulAlgoCheck(handle, &operation, &each[0], &each[1], &each[2], &each[2], &chosen.algo, &checked);
    batched = status != CUBLAS_STATUS_NOT_SUPPORTED && status != CUBLAS_STATUS_INVALID_VALUE &&
              checked.workspaceSize <= static_cast<std::size_t>(p.workspace);
    if (!batched)
      return;
    check_call("cublasLtMatmulAlgoCheck", status, p);
    first = each[0];
    second = each[1];
    result = each[2];
    chosen.workspaceSize = checked.workspaceSize;
  }
};

/// cuBLAS for the calling thread: its handle, and the plans made so far.
class Library {
 public:
  static Library& of_this_thread() {
    thread_local Library one;
    return one;
  }
  Library() = default;
  Library(const Library&) = delete;
  Library& operator=(const Library&) = delete;
  ~Library() {
    if (handle_ != nullptr)
      cublasLtDestroy(handle_);  // the thread ends: nobody is left to be told of a failure
  }

  cublasLtHandle_t handle(const Problem& p) {
    if (handle_ == nullptr)
      check_call("cublasLtCreate", cublasLtCreate(&handle_), p);
    return handle_;
  }
  Plan& plan(const Problem& p) {
    if (plans_.size() == kMostPlans && !plans_.contains(p))
      plans_.clear();
    return plans_.try_emplace(p, handle(p), p).first->second;
  }

 private:
  cublasLtHandle_t handle_ = nullptr;
  std::map<Problem, Plan> plans_;
};

void run(Cuda device, const Product& p, std::byte* workspace, const Batch& batch = {}) {
  const Problem problem = problem_of(p, batch);
  Library& library = Library::of_this_thread();
  Plan& plan = library.plan(problem);
  if (!plan.batched) {
    for (Index i = 0; i < batch.count; ++i) {
      Product one = p;
      one.a = static_cast<const std::byte*>(p.a) + i * batch.stride_a * size_of(p.operands);
      one.b = static_cast<const std::byte*>(p.b) + i * batch.stride_b * size_of(p.operands);
      one.c = static_cast<std::byte*>(p.c) + i * batch.stride_c * size_of(p.result);
      run(device, one, workspace);
    }
    return;
  }
  // Numbers of the accumulator's type, in the host's memory.
  const std::array<double, 2> wide = {p.alpha, p.add ? 1.0 : 0.0};
  const std::array<float, 2> narrow = {static_cast<float>(wide[0]), static_cast<float>(wide[1])};
  const bool f64 = p.operands == DType::f64;
  const void* const alpha = f64 ? static_cast<const void*>(&wide[0]) : &narrow[0];
  const void* const beta = f64 ? static_cast<const void*>(&wide[1]) : &narrow[1];
  check_call("cublasLtMatmul",
             cublasLtMatmul(library.handle(problem), &plan.operation, alpha, p.b, &plan.first, p.a, &plan.second, beta,
                            p.c, &plan.result, p.c, &plan.result, &plan.chosen.algo, workspace,
                            plan.chosen.workspaceSize, device.stream),
             problem);
}

/// `whole`, whose tokens are summed as `plan` says: its parts in `memory`, the scratch block, then onto the result.
void sum_by_parts(Cuda device, const Product& whole, const TokenParts& plan, std::byte* memory, Sink out) {
  const Index size = size_of(whole.operands), elements = whole.m * whole.n;
  Product part = whole;
  part.add = false;
  part.result = accumulator(whole.operands);
  // A part of its own needs no adding, if its product has the bits of any other: those that the alignment decides.
  const bool alone = plan.sequences * plan.blocks == 1 && !out.add && part.result == whole.result &&
                     alignment_of(whole.c, whole.n, whole.result) == alignment_of(nullptr, whole.n, whole.result);
  if (alone)
    return run(device, part, memory);
  std::byte* const parts = memory + plan.parts_at;
  for (Index first = 0; first < plan.sequences; first += plan.group) {
    const Index count = std::min(plan.group, plan.sequences - first);
    for (Index block = 0; block < plan.blocks; ++block) {
      const Index token = first * plan.sequence + block * kBlockTokens;
      part.k = std::min(kBlockTokens, plan.sequence - block * kBlockTokens);
      part.a = static_cast<const std::byte*>(whole.a) + token * whole.m * size;
      part.b = static_cast<const std::byte*>(whole.b) + token * whole.n * size;
      part.c = parts + block * elements * size_of(part.result);
      run(device, part, memory, {count, plan.sequence * whole.m, plan.sequence * whole.n, plan.blocks * elements});
    }
    cuda::add_token_parts(device, {parts, part.result, {count * plan.blocks, elements}, true},
                          {out.view, out.add || first > 0});
  }
}

auto zeros_on(Cuda device) {
  return [device](void* c, Index bytes) { cuda::fill_bytes(device, c, 0, bytes); };
}

std::string version() {
  const std::size_t number = cublasLtGetVersion();
  return join("cuBLAS ", number / 10000, ".", number / 100 % 100, ".", number % 100);
}

}  // namespace

void gemm(Cuda device, ConstView a, ConstView b, View c, GemmOptions options) {
  const Product product = checked_product(Device::cuda, a, b, c, options);
  if (!has_terms(product, zeros_on(device)))
    return;
  const ProductScope scope(Device::cuda, "gemm", product.m, product.n, product.k, {a, b, c});
  // All that was offered: an algorithm that needs less must not make a step's peak differ from its plan.
  run(device, product, scratch(product_workspace(), Device::cuda));
}

void gemm_tokens(Cuda device, ConstView g, ConstView x, Sink out, double alpha) {
  const auto [whole, seq_len] = checked_token_sum(Device::cuda, g, x, out, alpha);
  if (!has_terms(whole, zeros_on(device)))
    return;
  const ProductScope scope(Device::cuda, "gemm_tokens", whole.m, whole.n, whole.k, {g, x, out.view});
  const TokenParts plan(whole.m, whole.n, whole.k, seq_len, kBlockTokens, whole.operands);
  std::byte* const memory = scratch(plan.bytes, Device::cuda);
  if (plan.group == 0)
    for_blocks(whole, seq_len, [&](const Product& part) { run(device, part, memory); });
  else
    sum_by_parts(device, whole, plan, memory, out);
}

GemmBackend gemm_backend(Cuda) {
  static const std::string library = version();
  return {library.c_str(), tf32_gemm() ? "TF32" : "f32", true};
}

}  // namespace osteon::kernels
