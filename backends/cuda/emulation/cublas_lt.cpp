#include "backends/cuda/emulation/cublas_lt.hpp"

#include <algorithm>
#include <cstring>
#include <limits>
#include <map>
#include <mutex>
#include <set>
#include <vector>

#include "backends/cuda/emulation/cublas_layouts.hpp"
#include "backends/cuda/emulation/engine.hpp"
#include "backends/dtype.hpp"

using namespace osteon;
using namespace osteon::cuda::emulation;

struct cublasLtContext {};

namespace {

constexpr std::uint64_t kReady = 0x0570e0b1a5;
constexpr std::uint32_t kDefaultAlignment = 256;

struct Handles {
  std::mutex mutex;
  std::set<cublasLtHandle_t> live;
};
Handles& handles() {
  static auto* const one = new Handles;  // leaked on purpose: threads may end at the very end
  return *one;
}
bool known(cublasLtHandle_t handle) {
  const std::lock_guard lock(handles().mutex);
  return handles().live.contains(handle);
}

/// The call's own status unless it is one that was to fail.
cublasStatus_t outcome(bool good, cublasStatus_t status = CUBLAS_STATUS_INVALID_VALUE) {
  if (library_call_fails())
    return CUBLAS_STATUS_INTERNAL_ERROR;
  return good ? CUBLAS_STATUS_SUCCESS : status;
}

/// Copies an attribute if it has the size that cuBLAS keeps.
template <class T>
bool set(T& to, const void* value, std::size_t bytes) {
  if (bytes != sizeof to)
    return false;
  std::memcpy(&to, value, bytes);
  return true;
}

template <class... Opaque>
bool ready(const Opaque*... opaque) {
  return ((opaque != nullptr && opaque->ready == kReady) && ...);
}

/// A product's operands as the numbers that are multiplied.
struct Multiplication {
  cublasLtMatmulDescOpaque_t op;
  cublasLtMatrixLayoutOpaque_t a, b, c;
  Sizes sizes;
  std::int64_t parts;

  /// TF32 has 10 bits of mantissa; to nearest, ties to even.
  float factor(float value) const {
    if (op.compute != CUBLAS_COMPUTE_32F_FAST_TF32)
      return value;
    const auto bits = std::bit_cast<std::uint32_t>(value);
    return std::bit_cast<float>((bits + 0xfffU + ((bits >> 13) & 1U)) & ~0x1fffU);
  }
  double factor(double value) const { return value; }
  float factor(bf16 value) const { return static_cast<float>(value); }

  /// d = alpha op(a) op(b) + beta c, with sums split into `parts` that are added at the end. The product is rounded to
  /// the result's dtype before c is added, as cuBLAS's kernels for Hopper do.
  template <class T, class R, class C>
  void run(C scale, const T* pa, const T* pb, C keep, const R* pc, R* pd) const {
    const auto [m, n, k, batch, fit] = sizes;
    const bool ta = op.transpose_a == CUBLAS_OP_T, tb = op.transpose_b == CUBLAS_OP_T;
    const std::int64_t a_row = ta ? a.leading : 1, a_term = ta ? 1 : a.leading;
    const std::int64_t b_term = tb ? b.leading : 1, b_column = tb ? 1 : b.leading;
    const auto rows = static_cast<std::size_t>(m);
    std::vector<C> left(rows * static_cast<std::size_t>(k)), sums(rows), partial(rows);
    for (std::int64_t each = 0; each < batch * n; ++each) {
      const std::int64_t number = each / n, j = each % n;
      for (std::int64_t t = 0; j == 0 && t < k; ++t)  // rounded once, in the order of the sums below
        for (std::int64_t i = 0; i < m; ++i)
          left[static_cast<std::size_t>(t * m + i)] = factor(pa[number * a.stride + i * a_row + t * a_term]);
      const T* const right = pb + number * b.stride + j * b_column;
      std::fill(sums.begin(), sums.end(), C(0));
      for (std::int64_t part = 0; part < parts; ++part) {
        std::fill(partial.begin(), partial.end(), C(0));
        for (std::int64_t t = k * part / parts; t < k * (part + 1) / parts; ++t)
          add_multiple(factor(right[t * b_term]), left.data() + t * m, m, partial.data());
        add_multiple(C(1), partial.data(), m, sums.data());
      }
      for (std::int64_t i = 0; i < m; ++i) {
        const std::int64_t at = number * c.stride + j * c.leading + i;
        const R product = static_cast<R>(scale * sums[static_cast<std::size_t>(i)]);
        pd[at] = keep == C(0) ? product : static_cast<R>(static_cast<C>(product) + keep * static_cast<C>(pc[at]));
      }
    }
  }

  template <class C>
  static void add_multiple(C by, const C* x, std::int64_t count, C* y) {
    for (std::int64_t i = 0; i < count; ++i)
      y[i] += by * x[i];
  }
};

}  // namespace

const char* cublasLtGetStatusName(cublasStatus_t status) {
  static const std::map<cublasStatus_t, const char*> names = {
      {CUBLAS_STATUS_SUCCESS, "CUBLAS_STATUS_SUCCESS"},
      {CUBLAS_STATUS_NOT_INITIALIZED, "CUBLAS_STATUS_NOT_INITIALIZED"},
      {CUBLAS_STATUS_INVALID_VALUE, "CUBLAS_STATUS_INVALID_VALUE"},
      {CUBLAS_STATUS_INTERNAL_ERROR, "CUBLAS_STATUS_INTERNAL_ERROR"},
      {CUBLAS_STATUS_NOT_SUPPORTED, "CUBLAS_STATUS_NOT_SUPPORTED"}};
  return names.at(status);
}
const char* cublasLtGetStatusString(cublasStatus_t) { return "as the emulation was told"; }
std::size_t cublasLtGetVersion() { return 130100; }

cublasStatus_t cublasLtCreate(cublasLtHandle_t* handle) {
  const cublasStatus_t status = outcome(true);
  if (status == CUBLAS_STATUS_SUCCESS) {
    const std::lock_guard lock(handles().mutex);
    handles().live.insert(*handle = new cublasLtContext);
  }
  return status;
}
cublasStatus_t cublasLtDestroy(cublasLtHandle_t handle) {
  const std::lock_guard lock(handles().mutex);
  const bool good = handles().live.erase(handle) > 0;
  if (good)
    delete handle;
  return outcome(good, CUBLAS_STATUS_NOT_INITIALIZED);
}

cublasStatus_t cublasLtMatmulDescInit(cublasLtMatmulDesc_t operation, cublasComputeType_t compute,
                                      cudaDataType_t scale) {
  *operation = {kReady, compute, scale, CUBLAS_OP_N, CUBLAS_OP_N};
  return outcome(true);
}
cublasStatus_t cublasLtMatmulDescSetAttribute(cublasLtMatmulDesc_t operation, cublasLtMatmulDescAttributes_t attribute,
                                              const void* value, std::size_t bytes) {
  cublasOperation_t& to = attribute == CUBLASLT_MATMUL_DESC_TRANSA ? operation->transpose_a : operation->transpose_b;
  return outcome(ready(operation) && set(to, value, bytes));
}
cublasStatus_t cublasLtMatrixLayoutInit(cublasLtMatrixLayout_t layout, cudaDataType_t type, std::uint64_t rows,
                                        std::uint64_t columns, std::int64_t leading) {
  *layout = {kReady, type, static_cast<std::int64_t>(rows), static_cast<std::int64_t>(columns), leading, 1, 0};
  return outcome(true);
}
cublasStatus_t cublasLtMatrixLayoutSetAttribute(cublasLtMatrixLayout_t layout,
                                                cublasLtMatrixLayoutAttribute_t attribute, const void* value,
                                                std::size_t bytes) {
  return outcome(ready(layout) &&
                 (attribute == CUBLASLT_MATRIX_LAYOUT_BATCH_COUNT ? set(layout->batch, value, bytes)
                                                                  : set(layout->stride, value, bytes)));
}
cublasStatus_t cublasLtMatmulPreferenceInit(cublasLtMatmulPreference_t preference) {
  *preference = {kReady, 0, CUBLASLT_REDUCTION_SCHEME_MASK, {}};
  std::fill(std::begin(preference->alignment), std::end(preference->alignment), kDefaultAlignment);
  return outcome(true);
}
cublasStatus_t cublasLtMatmulPreferenceSetAttribute(cublasLtMatmulPreference_t preference,
                                                    cublasLtMatmulPreferenceAttributes_t attribute, const void* value,
                                                    std::size_t bytes) {
  const auto store = [&] {
    switch (attribute) {
      case CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES:
        return set(preference->most_workspace, value, bytes);
      case CUBLASLT_MATMUL_PREF_REDUCTION_SCHEME_MASK:
        return set(preference->reductions, value, bytes);
      default:
        return set(preference->alignment[attribute - CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES], value, bytes);
    }
  };
  return outcome(ready(preference) && store());
}

cublasStatus_t cublasLtMatmulAlgoGetHeuristic(cublasLtHandle_t handle, cublasLtMatmulDesc_t operation,
                                              cublasLtMatrixLayout_t a, cublasLtMatrixLayout_t b,
                                              cublasLtMatrixLayout_t c, cublasLtMatrixLayout_t d,
                                              cublasLtMatmulPreference_t preference, int wanted,
                                              cublasLtMatmulHeuristicResult_t* results, int* found) {
  *found = 0;
  if (library_call_fails())
    return CUBLAS_STATUS_INTERNAL_ERROR;
  if (!known(handle))
    return CUBLAS_STATUS_NOT_INITIALIZED;
  if (wanted < 1 || !ready(operation, preference) || !ready(a, b, c, d))
    return CUBLAS_STATUS_INVALID_VALUE;
  const Sizes s = sizes_of(*operation, *a, *b, *c);
  if (!s.fit || !laid_out(*a, false) || !laid_out(*b, false) || !laid_out(*c, true) || *c != *d)
    return CUBLAS_STATUS_INVALID_VALUE;
  if (!supported(*operation, a->type, b->type, c->type))
    return CUBLAS_STATUS_NOT_SUPPORTED;
  if (std::max({s.m, s.n, s.k}) > std::numeric_limits<int>::max())
    return CUBLAS_STATUS_SUCCESS;  // nothing is found
  cublasLtMatmulAlgo_t algo{kReady, s.m, s.n, s.k, 1, 0, {}};
  std::copy_n(preference->alignment, 4, algo.alignment);
  // Most sums of any depth are split (a GPU's are by its warps), if parts in the compute type are allowed and fit into
  // the workspace.
  const auto [align_a, align_b, align_c, align_d] = algo.alignment;
  const std::int64_t parts = 1 + (s.m + s.n + s.k + (align_a + align_b + align_c + align_d) / 2 + s.batch - 1) % 5;
  const auto bytes = static_cast<std::uint64_t>(parts * s.m * s.n * s.batch * size_of(operation->scale));
  const bool allowed = (preference->reductions & CUBLASLT_REDUCTION_SCHEME_COMPUTE_TYPE) != 0;
  if (s.k >= 8 && parts > 1 && allowed && bytes <= preference->most_workspace) {
    algo.parts = parts;
    algo.workspace = bytes / static_cast<std::uint64_t>(s.batch);
  }
  results[0] = {algo, workspace_of(algo, s), CUBLAS_STATUS_SUCCESS};
  *found = 1;
  return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasLtMatmulAlgoCheck(cublasLtHandle_t handle, cublasLtMatmulDesc_t operation,
                                       cublasLtMatrixLayout_t a, cublasLtMatrixLayout_t b, cublasLtMatrixLayout_t c,
                                       cublasLtMatrixLayout_t d, const cublasLtMatmulAlgo_t* algorithm,
                                       cublasLtMatmulHeuristicResult_t* result) {
  if (library_call_fails())
    return CUBLAS_STATUS_INTERNAL_ERROR;
  if (!known(handle))
    return CUBLAS_STATUS_NOT_INITIALIZED;
  if (!ready(operation, algorithm) || !ready(a, b, c, d))
    return CUBLAS_STATUS_INVALID_VALUE;
  const Sizes s = sizes_of(*operation, *a, *b, *c);
  if (!s.fit || !made_for(*algorithm, s) || !laid_out(*a, false) || !laid_out(*b, false) || !laid_out(*c, true) ||
      *c != *d)
    return CUBLAS_STATUS_INVALID_VALUE;
  result->workspaceSize = workspace_of(*algorithm, s);
  result->state = CUBLAS_STATUS_SUCCESS;
  return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasLtMatmul(cublasLtHandle_t handle, cublasLtMatmulDesc_t operation, const void* alpha, const void* a,
                              cublasLtMatrixLayout_t a_layout, const void* b, cublasLtMatrixLayout_t b_layout,
                              const void* beta, const void* c, cublasLtMatrixLayout_t c_layout, void* d,
                              cublasLtMatrixLayout_t d_layout, const cublasLtMatmulAlgo_t* algorithm, void* workspace,
                              std::size_t workspace_bytes, cudaStream_t stream) {
  if (library_call_fails())
    return CUBLAS_STATUS_INTERNAL_ERROR;
  if (!known(handle))
    return CUBLAS_STATUS_NOT_INITIALIZED;
  if (!ready(operation) || !ready(a_layout, b_layout, c_layout, d_layout) || !ready(algorithm))
    return CUBLAS_STATUS_INVALID_VALUE;
  const Sizes s = sizes_of(*operation, *a_layout, *b_layout, *c_layout);
  if (!s.fit || !made_for(*algorithm, s) || !laid_out(*d_layout, true) || workspace_bytes < workspace_of(*algorithm, s))
    return CUBLAS_STATUS_INVALID_VALUE;
  const Range range_a = range_of(a, *a_layout), range_b = range_of(b, *b_layout);
  const Range range_c = range_of(c, *c_layout), range_d = range_of(d, *d_layout);
  check_matrices("A", range_a, *a_layout, algorithm->alignment[0]);
  check_matrices("B", range_b, *b_layout, algorithm->alignment[1]);
  check_matrices("C", range_c, *c_layout, algorithm->alignment[2]);
  check_matrices("D", range_d, *d_layout, algorithm->alignment[3]);
  if (overlap(range_d, range_a) || overlap(range_d, range_b))
    throw KernelError("cublasLtMatmul: D overlaps A or B");
  if (workspace_bytes > 0) {
    auto* const first = static_cast<std::byte*>(workspace);
    const Range range{first, first + workspace_bytes};
    check_range("workspace", range, kDefaultAlignment);
    if (overlap(range, range_a) || overlap(range, range_b) || overlap(range, range_d))
      throw KernelError("cublasLtMatmul: the workspace overlaps a matrix");
  }
  const Multiplication product{*operation, *a_layout, *b_layout, *d_layout, s, algorithm->parts};
  const auto run = [=]<class T, class R>(T, R) {
    using C = compute_t<T>;
    return submit(stream, [=, scale = *static_cast<const C*>(alpha), keep = *static_cast<const C*>(beta)] {
      finish_copies();
      if (workspace_bytes > 0)
        std::memset(workspace, 0xff, workspace_bytes);  // nothing in it survives a product
      product.run(scale, static_cast<const T*>(a), static_cast<const T*>(b), keep, static_cast<const R*>(c),
                  static_cast<R*>(d));
    });
  };
  const bool queued = a_layout->type == CUDA_R_64F   ? run(double{}, double{})
                      : a_layout->type == CUDA_R_32F ? run(float{}, float{})
                      : d_layout->type == CUDA_R_32F ? run(bf16{}, float{})
                                                     : run(bf16{}, bf16{});
  return queued ? CUBLAS_STATUS_SUCCESS : CUBLAS_STATUS_INVALID_VALUE;
}

namespace osteon::cuda::emulation {

std::int64_t live_cublas_handles() {
  const std::lock_guard lock(handles().mutex);
  return static_cast<std::int64_t>(handles().live.size());
}

}  // namespace osteon::cuda::emulation
