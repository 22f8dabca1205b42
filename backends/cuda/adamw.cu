#include <algorithm>
#include <cmath>

#include "backends/cuda/simt.hpp"
#include "backends/kernels/adamw.hpp"

// Compiled without contraction of a * b + c: torch rounds after each operation. The one fused multiply-add is spelt
// out.

namespace osteon::kernels {
namespace {

using namespace cuda;

constexpr int kPiece = 16 * kMaxThreads;  // elements of a block
constexpr int kUpdates = 256;             // of one launch: their table is a parameter, and CUDA takes 32 KiB of those

template <class C>
struct Factors {
  C decay, mix, beta2, square_mix, correction, eps, step, scale;

  explicit Factors(const AdamwOptions& options) {
    const auto power = [&](double beta) { return std::pow(beta, static_cast<double>(options.step)); };
    decay = static_cast<C>(1 - options.lr * options.weight_decay);
    mix = static_cast<C>(1 - options.beta1);
    beta2 = static_cast<C>(options.beta2);
    square_mix = static_cast<C>(1 - options.beta2);
    correction = static_cast<C>(std::sqrt(1 - power(options.beta2)));
    eps = static_cast<C>(options.eps);
    step = static_cast<C>(-options.lr / (1 - power(options.beta1)));
    scale = static_cast<C>(options.gradient_scale);
  }
  Factors() = default;
};

template <class T>
struct Parameter {
  using C = compute_t<T>;
  Global<T> parameter;
  Global<C> master;  ///< null if there is none
  Global<const C> gradient;
  Global<C> m, v;
  Factors<C> factors;
  std::int64_t count;
  std::int64_t end_piece;  ///< of all up to this one
};

template <class T>
struct Table {
  Parameter<T> row[kUpdates];
};
static_assert(sizeof(Parameter<double>) <= 128 || sizeof(Global<float>) > sizeof(float*),
              "a launch takes at most 32 KiB of parameters");

template <class T>
__device__ void update(const Parameter<T>& p, std::int64_t i) {
  using C = compute_t<T>;
  const Factors<C>& f = p.factors;
  const C g = p.gradient[i] * f.scale;
  const C m = fma(f.mix, g - p.m[i], p.m[i]);  // as torch's lerp
  const C v = p.v[i] * f.beta2 + f.square_mix * g * g;
  p.m[i] = m;
  p.v[i] = v;
  const C before = p.master ? p.master[i] : load(p.parameter[i]);
  const C value = before * f.decay + f.step * m / (sqrt(v) / f.correction + f.eps);
  if (p.master)
    p.master[i] = value;
  p.parameter[i] = static_cast<T>(value);
}

/// A block has one piece of one parameter. Its five arrays are read by neighbouring threads side by side.
template <class T>
__global__ void adamw_kernel(const Table<T> __grid_constant__ table, int count) {
  int low = 0, high = count - 1;
  while (low < high) {
    const int middle = (low + high) / 2;
    if (table.row[middle].end_piece <= blockIdx.x)
      low = middle + 1;
    else
      high = middle;
  }
  const Parameter<T>& p = table.row[low];
  const std::int64_t piece = blockIdx.x - (low > 0 ? table.row[low - 1].end_piece : 0), begin = piece * kPiece;
  const std::int64_t end = std::min<std::int64_t>(begin + kPiece, p.count);
  for (std::int64_t i = begin + threadIdx.x; i < end; i += blockDim.x)
    update(p, i);
}

void check_update(const AdamwUpdate& update) {
  check(is_floating(update.parameter.dtype), "adamw: expected a floating dtype, got ", update.parameter.dtype);
  const DType state = accumulator(update.parameter.dtype);
  const auto expect_state = [&](const char* name, const ConstView& view) {
    expect_numel("adamw", name, view, update.parameter.numel());
    expect_dtype("adamw", name, view, state);
  };
  expect_state("gradient", update.gradient);
  expect_state("m", update.m);
  expect_state("v", update.v);
  if (update.master)
    expect_state("master", update.master);
  check<ConfigError>(update.options.step >= 1, "adamw: step: expected at least 1, got ", update.options.step);
}

/// The updates of one dtype, as few launches as their table allows.
template <class T>
void run(Cuda device, std::span<const AdamwUpdate> updates) {
  using C = compute_t<T>;
  Table<T> table;
  int count = 0;
  std::int64_t pieces = 0;
  const auto flush = [&] {
    if (count > 0)
      launch("adamw", adamw_kernel<T>, static_cast<unsigned>(pieces), kMaxThreads, 0, device, table, count);
    count = 0;
    pieces = 0;
  };
  for (const AdamwUpdate& u : updates) {
    const std::int64_t numel = u.parameter.numel();
    if (u.parameter.dtype != dtype_of<T>::value || numel == 0)
      continue;
    if (count == kUpdates)
      flush();
    pieces += (numel + kPiece - 1) / kPiece;
    table.row[count++] = {elements<T>(u.parameter),
                          elements<C>(u.master),
                          elements<C>(u.gradient),
                          elements<C>(u.m),
                          elements<C>(u.v),
                          Factors<C>(u.options),
                          numel,
                          pieces};
  }
  flush();
}

}  // namespace

void adamw(Cuda device, std::span<const AdamwUpdate> updates) {
  for (const AdamwUpdate& update : updates)
    check_update(update);
  run<float>(device, updates);
  run<bf16>(device, updates);
  run<double>(device, updates);
}

}  // namespace osteon::kernels
