#include "backends/cuda/runtime.hpp"

#include <array>
#include <cstring>
#include <functional>
#include <vector>

#include "backends/memory.hpp"
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
  synchronize(stream.device());
}

void clean_up() {
  emulation::fail_no_call();
  release_idle_memory(Device::cuda);
  synchronize(Cuda{});
}

}  // namespace

TEST_CASE("each call that fails is named with its code, and nothing leaks") {
  clean_up();
  const emulation::Allocated before = emulation::allocated();
  const std::int64_t live = memory_report(Device::cuda).live.total();
  const std::int64_t first = emulation::call_count();
  use_everything();
  clean_up();
  const std::int64_t calls = emulation::call_count() - first;
  REQUIRE(calls > 25);
  std::int64_t named = 0;
  for (std::int64_t n = 0; n < calls; ++n) {
    CAPTURE(n);
    emulation::fail_call(n, cudaErrorLaunchFailure);
    std::string message;
    try {
      use_everything();
      release_idle_memory(Device::cuda);
      synchronize(Cuda{});
    } catch (const DeviceError& error) {
      message = error.what();
    }
    CHECK_SAYS(message, "cudaErrorLaunchFailure (719)");
    named += message.starts_with("cuda") || message.starts_with("kernel 'increment': launch") ? 1 : 0;
    clean_up();
    CHECK(emulation::allocated().blocks == before.blocks);
    CHECK(emulation::live_handles() == 0);
    CHECK(memory_report(Device::cuda).live.total() == live);
  }
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
                       DeviceError);
  emulation::set_device_count(1);
  open();
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

TEST_CASE("copies outside a buffer are refused") {
  const Buffer device(Memory::device, 64);
  std::array<std::byte, 128> host{};
  CHECK_THROWS_AS(copy(Cuda{}, host.data(), device.data(), 65), DeviceError);
  CHECK_THROWS_AS(copy(Cuda{}, device.data() + 1, host.data(), 64), DeviceError);
  CHECK_THROWS_AS(fill_bytes(Cuda{}, device.data() - 1, 0, 2), DeviceError);
  copy(Cuda{}, host.data(), device.data(), 64);
}

TEST_CASE("an index check throws at the next synchronize, for the lowest position, and once") {
  const auto report = [](IndexCheck& check, std::uint64_t position, std::int32_t index) {
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
  const Stream other;
  IndexCheck elsewhere(other.device(), fail);
  report(elsewhere, 0, 8);
  synchronize(Cuda{});
  CHECK_THROWS_AS(synchronize(other.device()), IndexError);
  for (int i = 0; i < 5000; ++i)  // more than are kept at a time
    const IndexCheck one(Cuda{}, fail);
  synchronize(Cuda{});
}
