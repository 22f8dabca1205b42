#include "backends/products.hpp"

#include <atomic>

#include "backends/gpu_workspace.hpp"

namespace osteon::kernels {
namespace {

std::atomic<bool> tf32 = false;
std::atomic<std::int64_t> workspace_bytes = 32 << 20;

void check_dtypes(const char* name, const ConstView& a, const ConstView& b, const View& c) {
  check(a.dtype == DType::f32 || a.dtype == DType::bf16 || a.dtype == DType::f64, name,
        ": expected f32, bf16 or f64 operands, got ", a.dtype);
  check(b.dtype == a.dtype, name, ": expected operands of one dtype, got ", a.dtype, " and ", b.dtype);
  check(c.dtype == a.dtype || (a.dtype == DType::bf16 && c.dtype == DType::f32), name, ": expected ", a.dtype,
        a.dtype == DType::bf16 ? " or f32" : "", " for the result, got ", c.dtype);
}

std::int64_t tokens_of(const ConstView& view) { return view.shape.rank() >= 2 ? view.dim(-2) : 1; }

}  // namespace

Product checked_product(Device device, const ConstView& a, const ConstView& b, const View& c,
                        const GemmOptions& options) {
  check_dtypes("gemm", a, b, c);
  const std::int64_t m = options.transpose_a ? a.cols() : a.rows(), k = options.transpose_a ? a.rows() : a.cols();
  const std::int64_t n = options.transpose_b ? b.rows() : b.cols(), b_k = options.transpose_b ? b.cols() : b.rows();
  check(k == b_k, "gemm: expected as many columns of op(a) as rows of op(b), got a ", a.shape,
        options.transpose_a ? " transposed" : "", " and b ", b.shape, options.transpose_b ? " transposed" : "");
  check(c.rows() == m && c.cols() == n, "gemm: c: expected ", Shape{m, n}, ", got ", c.shape);
  return {m,
          n,
          k,
          options.transpose_a,
          options.transpose_b,
          options.alpha,
          options.add,
          a.dtype,
          c.dtype,
          a.data,
          b.data,
          c.data,
          device};
}

TokenSum checked_token_sum(Device device, const ConstView& g, const ConstView& x, const Sink& out, double alpha) {
  check_dtypes("gemm_tokens", g, x, out.view);
  const std::int64_t d = g.cols(), k = x.cols(), seq_len = tokens_of(g);
  check(tokens_of(x) == seq_len && x.rows() == g.rows(), "gemm_tokens: expected the same tokens, got ", g.shape,
        " and ", x.shape);
  check(out.view.rows() == d && out.view.cols() == k, "gemm_tokens: out: expected ", Shape{d, k}, ", got ",
        out.view.shape);
  const Product whole{d,      k,      g.rows(),      true,  false, alpha, out.add, g.dtype, out.view.dtype,
                      g.data, x.data, out.view.data, device};
  return {whole, seq_len};
}

void set_tf32_gemm(bool on) { tf32 = on; }
bool tf32_gemm() { return tf32; }

void set_product_workspace(std::int64_t bytes) {
  check<ConfigError>(bytes >= 0, "product workspace: expected 0 bytes or more, got ", bytes);
  workspace_bytes = bytes;
}
std::int64_t product_workspace() { return workspace_bytes; }

}  // namespace osteon::kernels
