#include <algorithm>

#include "backends/cuda/reduction.hpp"
#include "backends/kernels/cross_entropy.hpp"

namespace osteon::kernels {
namespace {

using namespace cuda;

constexpr std::int32_t kIgnored = -100;

/// Sum of exp(x - highest) over what a thread has seen, in one pass: a new highest scales what is there.
template <class C>
struct RunningSum {
  C highest;
  double sum = 0;

  __device__ void add(C x) {
    if (x > highest) {
      sum *= static_cast<double>(exp(highest - x));
      highest = x;
    }
    sum += static_cast<double>(exp(x - highest));
  }
};

template <class C>
constexpr C kLowest = C(-3.4028234663852886e38);  // finite: the distance of -inf to it is -inf, not NaN

/// A block has a row at a time. The gradient of row n begins at dlogits[n * stride] and may lie in the memory of that
/// row's logits, in a dtype that is not wider.
template <int kCount, class C, class T>
__global__ void cross_entropy_kernel(std::int64_t rows, std::int64_t d, std::int64_t stride, Global<const C> logits,
                                     Global<const std::int32_t> targets, DeviceFactor factor, Global<double> losses,
                                     Global<T> dlogits, Global<unsigned long long> report) {
  for (std::int64_t row = blockIdx.x; row < rows; row += gridDim.x) {
    const std::int32_t target = targets[row];
    const Global<const C> x = logits + row * d;
    const Global<T> dx = dlogits ? dlogits + row * stride : dlogits;
    if (target < 0 || target >= d) {
      if (target != kIgnored)
        report_index(report, row, target);
      else if (threadIdx.x == 0)
        losses[row] = 0;
      for (std::int64_t j = threadIdx.x; dx && j < d; j += blockDim.x)
        dx[j] = static_cast<T>(C(0));
      continue;
    }
    RunningSum<C> mine{kLowest<C>};
    for (std::int64_t j = std::int64_t{threadIdx.x} * kCount; j < d; j += std::int64_t{blockDim.x} * kCount) {
      const auto pack = load_pack<kCount>(x, j);
      for (int k = 0; k < kCount; ++k)
        mine.add(pack[k]);
    }
    const C highest = block_reduce(mine.highest, Maximum{});
    const double total = block_sum(mine.sum * static_cast<double>(exp(mine.highest - highest)));
    const double at_target = static_cast<double>(x[target]) - static_cast<double>(highest);
    if (threadIdx.x == 0)
      losses[row] = log(total) - at_target;
    if (!dx)
      continue;
    const C each = static_cast<C>(factor() / total),
            target_gradient = static_cast<C>(factor() * (exp(at_target) / total - 1));
    const std::int64_t round = std::int64_t{blockDim.x} * kCount;
    for (std::int64_t begin = 0; begin < d; begin += round) {  // mutant: an empty round more
      const std::int64_t j = begin + std::int64_t{threadIdx.x} * kCount;
      Pack<T, kCount> gradients{};
      if (j < d) {
        const auto pack = load_pack<kCount>(x, j);
        for (int k = 0; k < kCount; ++k)
          gradients[k] = static_cast<T>(j + k == target ? target_gradient : each * exp(pack[k] - highest));
      }
      __syncthreads();  // elements up to here are read; what is written now lies on none that come later
      if (j < d)
        store_pack(dx, j, gradients);
    }
  }
}

/// Rows [begin, end) from where their logits were to where they belong; no row lies where another one of these goes.
template <class T>
__global__ void move_rows_kernel(std::int64_t begin, std::int64_t end, std::int64_t d, std::int64_t stride,
                                 Global<T> dlogits) {
  for (std::int64_t row = begin + blockIdx.x; row < end; row += gridDim.x)
    for (std::int64_t j = threadIdx.x; j < d; j += blockDim.x)
      dlogits[row * d + j] = dlogits[row * stride + j];
}

}  // namespace

void cross_entropy(Cuda device, ConstView logits, ConstView targets, Factor factor, View losses, View dlogits) {
  const std::int64_t rows = logits.rows(), d = logits.cols();
  expect_dtype("cross_entropy", "logits", logits, accumulator(logits.dtype));
  expect_numel("cross_entropy", "targets", targets, rows);
  expect_dtype("cross_entropy", "targets", targets, DType::i32);
  expect_numel("cross_entropy", "losses", losses, rows);
  expect_dtype("cross_entropy", "losses", losses, DType::f64);
  if (dlogits)
    expect_shape("cross_entropy", "dlogits", dlogits, logits.shape);
  if (rows == 0)
    return;
  const IndexCheck within(device, [d](std::int64_t row, std::int64_t target) {
    fail<IndexError>("cross_entropy: targets: expected ids in [0, ", d, ") or ", kIgnored, ", got ", target, " at ",
                     row);
  });
  const auto run = [&]<class C, class T>(C, T) {
    const bool shared = dlogits && dlogits.data == logits.data && logits.numel() > 0;
    check(!shared || sizeof(T) <= sizeof(C), "cross_entropy: dlogits: ", dlogits.dtype, " cannot share the memory of ",
          logits.dtype, " logits");
    constexpr std::int64_t kRatio = sizeof(C) > sizeof(T) ? sizeof(C) / sizeof(T) : 1;
    const std::int64_t stride = shared ? d * kRatio : d;
    const View memory = shared ? View{dlogits.data, dlogits.dtype, {rows, stride}, true} : dlogits;
    const Global<T> out = elements<T>(memory);
    constexpr int kCount = kPackOf<C>;  // not of T: the same sum with and without gradients
    const auto in = elements<C>(logits);
    const bool packs = d % kCount == 0 && holds_packs<kCount>(in, d) && (!out || holds_packs<kCount>(out, stride));
    dispatch_pack<kCount>(packs, [&](auto pack) {
      launch("cross_entropy", cross_entropy_kernel<pack, C, T>, blocks_for(rows, 1), threads_for(d / pack), 0, device,
             rows, d, stride, in, elements<std::int32_t>(targets), DeviceFactor(factor), elements<double>(losses), out,
             report_of(within));
    });
    // Every launch moves the rows whose places those before have left.
    for (std::int64_t begin = 1; stride != d && begin < rows; begin *= kRatio) {
      const std::int64_t end = std::min(begin * kRatio, rows);
      launch("move_rows", move_rows_kernel<T>, blocks_for(end - begin, 1), threads_for(d), 0, device, begin, end, d,
             stride, out);
    }
  };
  dispatch_floating(dlogits ? dlogits.dtype : logits.dtype, "cross_entropy", [&](auto gradient) {
    if (logits.dtype == DType::f64)
      run(double{}, gradient);
    else
      run(float{}, gradient);
  });
}

}  // namespace osteon::kernels
