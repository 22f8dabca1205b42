#include "backends/memory.hpp"

#include <cstdint>
#include <vector>

#include "backends/scratch.hpp"
#include "backends/storage.hpp"
#include "test/backends/cuda/emulated.hpp"

using namespace osteon;
using namespace osteon::cuda;

namespace {

MemoryReport report() { return memory_report(Device::cuda); }

}  // namespace

TEST_CASE("storages of the GPU are counted by category, apart from the CPU's, and reused") {
  release_idle_memory(Device::cuda);
  reset_memory_peak(Device::cuda);
  const std::int64_t on_cpu = memory_report(Device::cpu).live.total();
  const std::int64_t held = emulation::allocated().device_bytes;
  const std::byte* first = nullptr;
  {
    const Storage weights(1 << 20, Device::cuda, Category::weights), gradient(5000, Device::cuda, Category::gradient);
    CHECK(report().live[Category::weights] == 1 << 20);
    CHECK(report().live[Category::gradient] == 5000);
    CHECK(memory_report(Device::cpu).live.total() == on_cpu);
    CHECK(weights.device() == Device::cuda);
    CHECK(emulation::reachable(weights.data(), weights.bytes()));
    CHECK(reinterpret_cast<std::uintptr_t>(gradient.data()) % 256 == 0);
    CHECK(emulation::allocated().device_bytes - held == report().live.total() + report().pool_idle_bytes);
    first = weights.data();
  }
  CHECK(report().live.total() == 0);
  CHECK(report().peak.total() == (1 << 20) + 5000);
  CHECK(report().system_allocations == 2);
  const Storage again((1 << 20) - 8, Device::cuda, Category::activation);
  CHECK(again.data() == first);
  CHECK(report().system_allocations == 2);
  release_idle_memory(Device::cuda);
  CHECK(emulation::allocated().device_bytes - held == report().live.total() + report().pool_idle_bytes);
}

TEST_CASE("a full GPU gives back what is idle, then says what was asked for") {
  release_idle_memory(Device::cuda);
  { const Storage idle(1 << 20, Device::cuda, Category::activation); }
  emulation::limit_memory(emulation::allocated().device_bytes + (1 << 19));
  {
    const Storage fits((1 << 20) + (1 << 18), Device::cuda, Category::activation);  // only without the idle block
    CHECK_THROWS_WITH_AS(Storage(1 << 20, Device::cuda, Category::gradient),
                         "memory: expected 1048576 bytes for gradient, but the system has no more", Error);
  }
  emulation::limit_memory(INT64_MAX);
  release_idle_memory(Device::cuda);
}

TEST_CASE("kernels on the GPU have scratch of their own") {
  std::byte* const on_gpu = scratch(1000, Device::cuda);
  CHECK(on_gpu != scratch(1000, Device::cpu));
  CHECK(emulation::reachable(on_gpu, 1000));
  CHECK(report().live[Category::workspace] == 1000);
  CHECK(scratch(500, Device::cuda) == on_gpu);
  release_scratch(Device::cuda);
  CHECK(report().live[Category::workspace] == 0);
}

TEST_CASE("on_device runs kernels where the tensors are") {
  const char* ran = "";
  const auto note = [&]<class Tag>(Tag) { ran = std::is_same_v<Tag, Cuda> ? "cuda" : "cpu"; };
  on_device(Device::cuda, note);
  CHECK(std::string(ran) == "cuda");
  on_device(Device::cpu, note);
  CHECK(std::string(ran) == "cpu");
  ran = "";
  on_device(Device::meta, note);
  CHECK(std::string(ran).empty());
  CHECK(name_of(Device::cuda) == "cuda");
}
