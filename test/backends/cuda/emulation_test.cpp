#include <cstring>

#include "test/backends/cuda/emulated.hpp"

using namespace osteon;
using namespace osteon::cuda;
using namespace osteon::test;

// Each kernel here does one thing wrong (or right); the emulation has to say what.

namespace {

constexpr int kThreads = 64;
constexpr std::int64_t kCount = kThreads;

template <class... Params, class... Args>
std::string error_of(void (*kernel)(Params...), dim3 grid, dim3 block, const Args&... args) {
  return kernel_error([&] { launch("faulty", kernel, grid, block, 0, Cuda{}, args...); });
}

int self() { return static_cast<int>(threadIdx.x); }

__global__ void reverse_kernel(Global<float> x) {
  OSTEON_SHARED(float, buffer, kThreads);
  buffer[self()] = x[self()];
  __syncthreads();
  x[self()] = buffer[kThreads - 1 - self()];
}

__global__ void half_barrier(Global<float>) {
  if (threadIdx.x < 32)
    __syncthreads();
}

__global__ void two_barriers(Global<float> x) {
  if (threadIdx.x < 32) {
    x[self()] = 1;
    __syncthreads();
  } else {
    __syncthreads();
  }
}

__global__ void barrier_against_shuffle(Global<float> x) {
  if (threadIdx.x == 0)
    __syncthreads();
  else
    x[self()] = __shfl_xor_sync(kFullWarp, 1.0F, 1);
}

__global__ void reads_behind(Global<const float> x, Global<float> y) { y[self()] = x[self() + 1]; }
__global__ void writes_behind(Global<const float> x, Global<float> y) { y[self() + 1] = x[self()]; }
__global__ void writes_in_front(Global<const float> x, Global<float> y) { y[self() - 1] = x[self()]; }
__global__ void reads_pack_behind(Global<const float> x, Global<float> y) {
  y[self()] = load_pack<4>(x, self() + kCount - 3)[0];
}
__global__ void loads_unaligned(Global<const float> x, Global<float> y) { store_pack(y, 0, load_pack<4>(x, 2)); }
__global__ void stores_unaligned(Global<const float> x, Global<float> y) { store_pack(y, 1, load_pack<4>(x, 0)); }
__global__ void writes_by_pointer(Global<float> y) { std::memset(&y[kCount - 1], 1, 2 * sizeof(float)); }

__global__ void shared_behind(Global<float>) {
  OSTEON_SHARED(float, buffer, 8);
  buffer[self()] = 1;
}

__global__ void mask_without_caller(Global<float> y) { y[self()] = __shfl_xor_sync(0xfffffffeU, 1.0F, 1); }
__global__ void masks_differ(Global<float> y) {
  y[self()] = __shfl_xor_sync(threadIdx.x % 2 == 0 ? kFullWarp : 0xfffffffeU, 1.0F, 1);
}
__global__ void mask_beyond_warp(Global<float> y) { y[self()] = __shfl_xor_sync(kFullWarp, 1.0F, 1); }
__global__ void lane_outside_mask(Global<float> y) {
  if (threadIdx.x % 32 < 16)
    y[self()] = __shfl_xor_sync(0xffffU, 1.0F, 16);
}
__global__ void lane_has_returned(Global<float> y) {
  if (threadIdx.x == 5)
    return;
  y[self()] = __shfl_xor_sync(kFullWarp, 1.0F, 1);
}
__global__ void operations_differ(Global<float> y) {
  if (threadIdx.x % 2 == 0)
    y[self()] = __shfl_xor_sync(kFullWarp, 1.0F, 1);
  else
    __syncwarp();
}

__global__ void warp_words(Global<int> y) {
  const int lane = self();
  y[lane] = __shfl_xor_sync(kFullWarp, lane, 3);
  y[32 + lane] = __shfl_down_sync(kFullWarp, lane, 30);
  y[64 + lane] = __shfl_up_sync(kFullWarp, lane, 1);
  y[96 + lane] = __shfl_sync(kFullWarp, lane, 7);
  y[128 + lane] = static_cast<int>(__ballot_sync(kFullWarp, lane % 8 == 0));
  if (lane < 8)  // a branch of the warp has its own mask
    y[160 + lane] = __shfl_xor_sync(0xffU, lane, 1);
  __syncwarp();
}

__global__ void last_one_wins(Global<int> y) { y[0] = self(); }
__global__ void counts(Global<int> y) { atomic_add(y, 0, 1); }

__global__ void identify(Global<int> y) {
  const auto block = std::int64_t{blockIdx.z} * gridDim.y + blockIdx.y;
  const auto thread = std::int64_t{threadIdx.z} * blockDim.y * blockDim.x + threadIdx.y * blockDim.x + threadIdx.x;
  y[(block * gridDim.x + blockIdx.x) * blockDim.x * blockDim.y * blockDim.z + thread] += 1;
}

struct OnStack {
  static inline int alive = 0;
  OnStack() { ++alive; }
  OnStack(const OnStack&) = delete;
  OnStack& operator=(const OnStack&) = delete;
  ~OnStack() { --alive; }
};
__global__ void fails_while_others_wait(Global<float> y) {
  const OnStack object;
  if (threadIdx.x == 40)
    y[kCount] = 1;
  __syncthreads();
}

__global__ void dynamic_reverse(Global<float> x) {
  auto&& buffer = dynamic_shared<float>();
  buffer[self()] = x[self()];
  __syncthreads();
  x[self()] = buffer[kThreads - 1 - self()];
}

}  // namespace

TEST_CASE("a kernel with barriers computes what it should") {
  DeviceArray<float> x(kCount);
  for (const auto kernel : {reverse_kernel, dynamic_reverse}) {
    for (int i = 0; i < kCount; ++i)
      x.elements[i] = static_cast<float>(i);
    launch("reverse", kernel, 1, kThreads, kThreads * sizeof(float), Cuda{}, x.elements);
    for (int i = 0; i < kCount; ++i)
      CHECK(x.elements[i] == static_cast<float>(kThreads - 1 - i));
  }
}

TEST_CASE("every thread of every block runs once") {
  DeviceArray<int> y(2 * 3 * 2 * 5 * 4 * 2);
  emulation::launch_mode.every_order = false;
  launch("identify", identify, dim3(2, 3, 2), dim3(5, 4, 2), 0, Cuda{}, y.elements);
  emulation::launch_mode.every_order = true;
  for (int i = 0; i < 480; ++i)
    REQUIRE(y.elements[i] == 1);
}

TEST_CASE("threads that wait for others that do not come are reported") {
  DeviceArray<float> x(kCount);
  const std::string half = error_of(half_barrier, 1, kThreads, x.elements);
  CHECK_SAYS(half, "kernel 'faulty', block (0, 0, 0): its threads wait for each other for ever");
  CHECK_SAYS(half, "thread (0, 0, 0) waits at __syncthreads, emulation_test.cpp:");
  CHECK_SAYS(half, "thread (32, 0, 0) has returned");
  CHECK_SAYS(error_of(two_barriers, 1, kThreads, x.elements), "__syncthreads at emulation_test.cpp:");
  CHECK_SAYS(error_of(barrier_against_shuffle, 1, 32, x.elements), "waits at __shfl_xor_sync with mask 0xffffffff");
}

TEST_CASE("accesses outside a buffer are reported, with the kernel, the argument and the element") {
  DeviceArray<float> x(kCount), y(kCount);
  const Global<const float> in = x.elements;
  const auto says = [](const std::string& text, const char* part) { CHECK_SAYS(text, part); };
  says(error_of(reads_behind, 1, kThreads, in, y.elements),
       "kernel 'faulty', block (0, 0, 0), thread (63, 0, 0): element 64 of argument 0, which has elements [0, 64)");
  says(error_of(writes_behind, 1, kThreads, in, y.elements), "element 64 of argument 1");
  says(error_of(writes_in_front, 1, kThreads, in, y.elements), "element -1 of argument 1");
  says(error_of(reads_pack_behind, 1, 1, in, y.elements), "element 64 of argument 0");
  says(error_of(reads_behind, 1, 1, in, y.elements + 64), "element 0 of argument 1, which has elements [-64, 0)");
  says(error_of(shared_behind, 1, 9, y.elements), "element 8 of buffer, which has 8");
}

TEST_CASE("writes that go round the checks damage a guard zone") {
  DeviceArray<float> y(kCount);
  CHECK_SAYS(error_of(writes_by_pointer, 1, 1, y.elements), "something wrote behind a block of 256 bytes");
}

TEST_CASE("vectors that are not aligned are reported") {
  DeviceArray<float> x(kCount), y(kCount);
  const Global<const float> in = x.elements;
  CHECK_SAYS(error_of(loads_unaligned, 1, 1, in, y.elements),
             "element 2 of argument 0 is not aligned to a vector of 16 bytes");
  CHECK_SAYS(error_of(stores_unaligned, 1, 1, in, y.elements),
             "element 1 of argument 1 is not aligned to a vector of 16 bytes");
}

TEST_CASE("memory that is not the device's is refused") {
  std::vector<float> host(4);
  CHECK_SAYS(kernel_error([&] {
               elements<float>(View{host.data(), DType::f32, {4}, true});
             }),
             "[4] f32 in memory that is not the device's");
  const float* freed = nullptr;
  {
    const DeviceArray<float> gone(4);
    freed = gone.elements.address();
  }
  CHECK_SAYS(kernel_error([&] { elements<float>(ConstView{freed, DType::f32, {4}, true}); }), "not the device's");
}

TEST_CASE("warp operations exchange what they should") {
  DeviceArray<int> y(168);
  launch("warp_words", warp_words, 1, 32, 0, Cuda{}, y.elements);
  for (int lane = 0; lane < 32; ++lane) {
    CHECK(y.elements[lane] == (lane ^ 3));
    CHECK(y.elements[32 + lane] == (lane < 2 ? lane + 30 : lane));
    CHECK(y.elements[64 + lane] == (lane > 0 ? lane - 1 : 0));
    CHECK(y.elements[96 + lane] == 7);
    CHECK(y.elements[128 + lane] == 0x01010101);
    if (lane < 8)
      CHECK(y.elements[160 + lane] == (lane ^ 1));
  }
}

TEST_CASE("wrong masks are reported") {
  DeviceArray<float> y(kCount);
  CHECK_SAYS(error_of(mask_without_caller, 1, 32, y.elements), "leaves out the lane that calls, 0");
  CHECK_SAYS(error_of(masks_differ, 1, 32, y.elements), "with mask 0xfffffffe");
  CHECK_SAYS(error_of(mask_beyond_warp, 1, 40, y.elements), "names lanes that the warp of 8 threads does not have");
  CHECK_SAYS(error_of(lane_outside_mask, 1, 32, y.elements), "reads lane 16, which mask 0xffff leaves out");
  CHECK_SAYS(error_of(lane_has_returned, 1, 32, y.elements), "thread (5, 0, 0) has returned");
  CHECK_SAYS(error_of(operations_differ, 1, 32, y.elements), "waits at __s");
}

TEST_CASE("results that depend on the order of threads are reported, unless the kernel says that they do") {
  DeviceArray<int> y(1);
  CHECK_SAYS(error_of(last_one_wins, 1, kThreads, y.elements),
             "other results if its threads run in reverse order than in random order");
  launch({"last_one_wins", false}, last_one_wins, 1, kThreads, 0, Cuda{}, y.elements);
  y.elements[0] = 0;
  launch("counts", counts, 3, kThreads, 0, Cuda{}, y.elements);
  CHECK(y.elements[0] == 3 * kThreads);
}

TEST_CASE("a failure ends the threads that wait, and the next launch works") {
  DeviceArray<float> y(kCount);
  CHECK_SAYS(error_of(fails_while_others_wait, 1, kThreads, y.elements), "element 64 of argument 0");
  CHECK(OnStack::alive == 0);
  launch("reverse", reverse_kernel, 1, kThreads, 0, Cuda{}, y.elements);
}
