#pragma once

#include <string>
#include <vector>

#include "backends/device.hpp"
#include "backends/view.hpp"

namespace osteon::kernels {

struct GemmOptions {
  bool transpose_a = false;
  bool transpose_b = false;
  double alpha = 1.0;
  bool add = false;  ///< c += alpha op(a) op(b) instead of c = ...
};

/// c [m, n] = alpha op(a) op(b), op(a) [m, k], op(b) [k, n]; all are seen as matrices (leading extents joined).
/// a and b f32, bf16 or f64 alike; c the same, or f32 where a and b are bf16. Accumulates in f32 (f64 for f64).
/// Each element's sum over k has one fixed order, whatever m and the number of threads, where gemm_backend() says
/// deterministic. k = 0 is a sum of nothing: c = 0, or unchanged with add. c must not overlap a or b.
/// On a GPU the order is the same on every run, but the whole shape decides it, m too, with the dtypes, and operands
/// that begin at no multiple of 16 bytes may have another one.
void gemm(Cpu, ConstView a, ConstView b, View c, GemmOptions options = {});
void gemm(Cuda device, ConstView a, ConstView b, View c, GemmOptions options = {});
void gemm(Meta, ConstView a, ConstView b, View c, GemmOptions options = {});

/// The sum over tokens that weight gradients are: out [d, k] (+)= alpha sum_t g[t]^T x[t], for g [..., seq_len, d] and
/// x [..., seq_len, k]; vectors are one token. Summed token by token, or sequence by sequence in fixed blocks of at
/// most 1024 tokens (which one, seq_len, d, k and the dtypes decide), in order, onto the sink: bit-equal for any number
/// of threads and any split of a batch along sequences. Dtypes as in gemm; the sink may be f32 (f64) whatever g and x
/// are. On a GPU always by such blocks.
void gemm_tokens(Cpu, ConstView g, ConstView x, Sink out, double alpha = 1.0);
void gemm_tokens(Cuda device, ConstView g, ConstView x, Sink out, double alpha = 1.0);
void gemm_tokens(Meta, ConstView g, ConstView x, Sink out, double alpha = 1.0);

/// What gemm runs on this machine, for the record of an experiment.
struct GemmBackend {
  const char* library;          ///< "oneDNN 2.6.3" or "Osteon tiles"; "cuBLAS 13.1.0" on a GPU
  const char* instruction_set;  ///< "AVX-512 BF16", ...; on a GPU how f32 is multiplied, "f32" or "TF32"
  bool deterministic;           ///< known to be bit-equal for any number of threads
};
GemmBackend gemm_backend(Cpu = {});
GemmBackend gemm_backend(Cuda);

/// The distinct implementations that this process has used so far: oneDNN's own names, and "osteon:tiles" for ours.
std::vector<std::string> gemm_implementations();

/// Use only products known to be bit-stable for any number of threads (falls back to own tiles): on at the start. Off,
/// a processor without AVX-512 runs oneDNN's kernels, and one with AMX uses it, if no product came before.
void set_deterministic_gemm(bool on);

/// Multiply bf16 by our own AMX tiles where the processor has them: on at the start, unless DNNL_MAX_CPU_ISA, which
/// keeps oneDNN from an instruction set, names one without AMX. Only with set_deterministic_gemm(true): off, oneDNN
/// multiplies.
void set_amx_gemm(bool on);

/// Let a GPU round the operands of f32 products to TF32 (10 bits of mantissa, several times as fast): off at the start.
/// The sums stay in f32. Nothing changes on the CPU.
void set_tf32_gemm(bool on);

}  // namespace osteon::kernels
