#include "backends/cuda/runtime.hpp"

#include <array>
#include <cstring>
#include <functional>
#include <vector>

#include "backends/kernels/transfer.hpp"
#include "backends/memory.hpp"
#include "backends/open_device.hpp"
#include "backends/storage.hpp"
#include "test/backends/cuda/emulated.hpp"

using namespace osteon;
using namespace osteon::cuda;
using namespace osteon::test;

namespace {

__global__ void increment(Global<int> x) { x[0] += 1; }

/// Everything that the runtime layer can do, once.
void use_everything() {
  open();
  Buffer pinned(Memory::pinned, 64), device(Memory::device, 64), managed(Memory::managed, 64), back(Memory::pinned, 64);
  const Stream stream;
  const Event begin, end;
  const std::string name = gpu_name();
  const std::int64_t free = free_memory();
  REQUIRE(!name.empty());
  REQUIRE(free > 0);
  begin.record(stream.device());
  std::memset(pinned.data(), 5, 64);
  copy(stream.device(), pinned.data(), device.data(), 64);
  copy(stream.device(), device.data(), back.data(), 64);
  fill_bytes(stream.device(), managed.data(), 9, 64);
  end.record(stream.device());
  end.hold(Cuda{});
  end.synchronize();
  REQUIRE(std::memcmp(pinned.data(), back.data(), 64) == 0);
  REQUIRE(managed.data()[63] == std::byte{9});
  const double milliseconds = end.milliseconds_since(begin);
  REQUIRE(milliseconds >= 0);
  const Storage storage(1000, Device::cuda, Category::weights);
  launch("increment", increment, 1, 1, 0, stream.device(), Global<int>(reinterpret_cast<int*>(device.data()), 16));
  launch("increment", increment, 1, 1, kSharedBytes + 1, stream.device(),
         Global<int>(reinterpret_cast<int*>(device.data()), 16));
  synchronize(stream.device());
}

}  // namespace

TEST_CASE("each call that fails is named with its code, and nothing leaks") {
  std::int64_t named = 0;
  const std::int64_t calls = check_each_failing_call(use_everything, 25, [&](const std::string& message) {
    named += message.starts_with("cuda") || message.starts_with("kernel 'increment': ") ? 1 : 0;
  });
  CHECK(named == calls);
}

TEST_CASE("a GPU that is missing or does not fit is named when it is opened") {
  CHECK_THROWS_WITH_AS(open(3), "device cuda:3: expected one of the 1 GPUs of this machine, numbered from 0",
                       DeviceError);
  CHECK_THROWS_AS(open(-1), DeviceError);
  emulation::set_device_count(0);
  CHECK_THROWS_WITH_AS(open(),
                       "device cuda: expected an NVIDIA GPU and its driver, but cudaGetDeviceCount: cudaErrorNoDevice "
                       "(100): as the emulation was told",
                       NoGpuError);
  emulation::set_device_count(1);
  emulation::set_compute_capability(7);
  CHECK_THROWS_WITH_AS(open(), "device cuda:0: expected compute capability 8.0 or later, got 7.0", NoGpuError);
  emulation::set_compute_capability(9);
  open();
  CHECK(gpu_name() == "emulated GPU");
  CHECK(free_memory() > 0);
}

TEST_CASE("processes of a machine take its GPUs in turns unless one is named") {
  const auto opened = [](const std::string& name, std::int64_t turn) {
    CHECK(open_device(name, turn) == Device::cuda);
    int gpu = -1;
    cudaGetDevice(&gpu);
    return gpu;
  };
  emulation::set_device_count(3);
  CHECK(opened("cuda", 0) == 0);
  CHECK(opened("cuda", 2) == 2);
  CHECK(opened("cuda", 4) == 1);  // more processes than GPUs share them
  CHECK(opened("auto", 5) == 2);
  CHECK(opened("cuda:1", 2) == 1);
  CHECK_THROWS_WITH_AS(open_device("cuda:3", 1),
                       "device cuda:3: expected one of the 3 GPUs of this machine, numbered from 0", DeviceError);
  emulation::set_device_count(0);
  CHECK_THROWS_AS(open_device("cuda", 1), NoGpuError);
  emulation::set_device_count(1);
  CHECK(opened("cuda", 7) == 0);
}

TEST_CASE("a launch that the hardware would refuse is refused") {
  DeviceArray<int> x(1);
  const auto run = [&](dim3 grid, dim3 block) { launch("increment", increment, grid, block, 0, Cuda{}, x.elements); };
  CHECK_THROWS_WITH_AS(run(0, 1),
                       "kernel 'increment': launch: cudaErrorInvalidConfiguration (9): as the emulation was told",
                       DeviceError);
  CHECK_THROWS_AS(run(1, 1025), DeviceError);
  CHECK_THROWS_AS(run(1, dim3(33, 32)), DeviceError);
}

TEST_CASE("a buffer of no bytes asks for none") {
  for (const Memory memory : {Memory::device, Memory::pinned, Memory::managed})
    CHECK(Buffer(memory, 0).data() == nullptr);
}

TEST_CASE("a launch may ask for as much shared memory as every GPU has") {
  DeviceArray<int> x(1);
  const auto run = [&](std::int64_t bytes) { launch("increment", increment, 1, 1, bytes, Cuda{}, x.elements); };
  run(kSharedBytes);
  run(kMostSharedBytes);
  CHECK_THROWS_WITH_AS(run(kMostSharedBytes + 1),
                       "kernel 'increment': 101377 bytes of shared memory: cudaFuncSetAttribute: "
                       "cudaErrorInvalidValue (1): as the emulation was told",
                       DeviceError);
}

TEST_CASE("copies outside a buffer are refused") {
  const Buffer device(Memory::device, 64);
  std::array<std::byte, 128> host{};
  CHECK_THROWS_AS(copy(Cuda{}, host.data(), device.data(), 65), DeviceError);
  CHECK_THROWS_AS(copy(Cuda{}, device.data() + 1, host.data(), 64), DeviceError);
  CHECK_THROWS_AS(fill_bytes(Cuda{}, device.data() - 1, 0, 2), DeviceError);
  copy(Cuda{}, host.data(), device.data(), 64);
}

TEST_CASE("a copy with pinned memory needs a wait, on either side") {
  const Buffer pinned(Memory::pinned, 64), device(Memory::device, 64);
  const auto first_of = [](const Buffer& buffer) { return std::to_integer<int>(buffer.data()[0]); };
  const Event sent;
  std::memset(pinned.data(), 1, 64);
  copy(Cuda{}, pinned.data(), device.data(), 64);
  std::memset(pinned.data(), 2, 64);  // too early: the copy may not have begun
  synchronize(Cuda{});
  CHECK(first_of(device) == 2);
  copy(Cuda{}, pinned.data(), device.data(), 64);
  sent.record(Cuda{});
  sent.synchronize();
  std::memset(pinned.data(), 3, 64);
  CHECK(first_of(device) == 2);
  copy(Cuda{}, device.data(), pinned.data(), 64);
  CHECK(first_of(pinned) == 3);  // too early: it may not have arrived
  const Event later;
  sent.synchronize();  // a moment before that copy
  CHECK(first_of(pinned) == 3);
  later.record(Cuda{});
  later.synchronize();
  CHECK(first_of(pinned) == 2);
}

TEST_CASE("transfers whose calls fail say so, and those after them work") {
  const auto both_ways = [] {
    std::vector<float> host(20'000, 1.5F), back(host.size());  // two pieces
    const Shape shape{static_cast<std::int64_t>(host.size())};
    const Storage storage(shape.numel() * size_of(DType::f32), Device::cuda, Category::weights);
    const View there{storage.data(), DType::f32, shape, true};
    kernels::upload(Cuda{}, {host.data(), DType::f32, shape, true}, there);
    kernels::download(Cuda{}, there, {back.data(), DType::f32, shape, true});
    return back == host;
  };
  CHECK(both_ways());
  const std::int64_t first = emulation::call_count();
  CHECK(both_ways());
  const std::int64_t calls = emulation::call_count() - first;
  REQUIRE(calls > 12);
  for (std::int64_t n = 0; n < calls; ++n) {
    CAPTURE(n);
    emulation::fail_call(n, cudaErrorLaunchFailure);
    CHECK_THROWS_AS(both_ways(), DeviceError);
    clean_up();
    CHECK(both_ways());
  }
}

TEST_CASE("an index check throws at the next synchronize, for the lowest position, and once") {
  const auto report = [](const IndexCheck& check, std::uint64_t position, std::int32_t index) {
    Global<unsigned long long> word(check.report(), 1);
    atomic_min(word, 0, static_cast<unsigned long long>(position << 32 | static_cast<std::uint32_t>(index)));
  };
  const auto fail = [](std::int64_t position, std::int64_t index) {
    osteon::fail<IndexError>("ids: got ", index, " at ", position);
  };
  IndexCheck good(Cuda{}, fail), bad(Cuda{}, fail);
  report(bad, 9, 70000);
  report(bad, 4, -3);
  report(bad, 5, 1);
  CHECK_THROWS_WITH_AS(synchronize(Cuda{}), "ids: got -3 at 4", IndexError);
  synchronize(Cuda{});
  IndexCheck ranges(Cuda{}, [](std::int64_t position, std::int64_t begin, std::int64_t end) {
    osteon::fail<IndexError>("ranges: got [", begin, ", ", end, ") at ", position);
  });
  report_range(report_of(ranges), 7, 2, 70000);
  report_range(report_of(ranges), 6, -1, 8);
  CHECK_THROWS_WITH_AS(synchronize(Cuda{}), "ranges: got [-1, 8) at 6", IndexError);
  const Stream other;
  IndexCheck elsewhere(other.device(), fail);
  report(elsewhere, 0, 8);
  synchronize(Cuda{});
  CHECK_THROWS_AS(synchronize(other.device()), IndexError);
  report(IndexCheck(Cuda{}, fail), 7, 12);
  float here = 0;
  const Storage there(4, Device::cuda, Category::workspace);
  const Shape scalar{1};
  CHECK_THROWS_AS(
      kernels::download(Cuda{}, {there.data(), DType::f32, scalar, true}, {&here, DType::f32, scalar, true}),
      IndexError);
  for (int i = 0; i < 5000; ++i)  // more than are kept at a time
    const IndexCheck one(Cuda{}, fail);
  synchronize(Cuda{});
}
