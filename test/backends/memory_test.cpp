#include "backends/memory.hpp"

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <doctest/doctest.h>
#include <fstream>
#include <limits>
#include <string>
#include <sys/wait.h>
#include <unistd.h>
#include <vector>

#include "backends/error.hpp"
#include "backends/scratch.hpp"
#include "backends/storage.hpp"

using namespace osteon;

namespace {

MemoryReport report() { return memory_report(Device::cpu); }

/// Bytes of this process in memory, from the system's own book-keeping.
std::int64_t resident_bytes() {
  std::int64_t pages_total = 0, pages_resident = 0;
  std::ifstream("/proc/self/statm") >> pages_total >> pages_resident;
  return pages_resident * sysconf(_SC_PAGESIZE);
}

/// What the fresh process does: storages of many sizes live and die, all of them written; then what the allocator holds
/// must be what the process grew by. Returns an exit status.
int compare_with_resident_set() {
  constexpr std::int64_t kSizes[] = {1 << 10, 100'000, 3 << 20, 17 << 20, 64 << 20, 5 << 20, 250'000, 33'333'333};
  const std::int64_t before = resident_bytes();
  std::vector<Storage> live;
  for (int round = 0; round < 6; ++round)
    for (const std::int64_t size : kSizes) {
      live.emplace_back(size + round * 4096, Device::cpu, Category::activation);
      std::memset(live.back().data(), round + 1, static_cast<std::size_t>(live.back().bytes()));
      if (live.size() % 3 == 0)
        live.erase(live.begin() + static_cast<std::ptrdiff_t>(live.size() / 2));
    }
  const std::int64_t grown = resident_bytes() - before;
  const std::int64_t counted = report().live.total() + report().pool_idle_bytes;
  const std::int64_t allowed = counted / 50 + (32 << 20);
  std::printf("resident set grew by %lld bytes, the allocator counts %lld, allowed difference %lld\n",
              static_cast<long long>(grown), static_cast<long long>(counted), static_cast<long long>(allowed));
  std::fflush(stdout);
  return std::abs(grown - counted) <= allowed && counted > (100 << 20) ? 0 : 1;
}

}  // namespace

TEST_CASE("storages are counted by category while they live") {
  const MemoryUse before = report().live;
  {
    const Storage weights(1000, Device::cpu, Category::weights), gradient(24, Device::cpu, Category::gradient);
    const Storage shared = weights;
    const MemoryUse now = report().live;
    CHECK(now[Category::weights] == before[Category::weights] + 1000);
    CHECK(now[Category::gradient] == before[Category::gradient] + 24);
    CHECK(now.total() == before.total() + 1024);
    CHECK(shared.id() == weights.id());
    CHECK_FALSE(weights.unique());
    CHECK(gradient.unique());
    CHECK(reinterpret_cast<std::uintptr_t>(weights.data()) % 64 == 0);
    CHECK(weights.bytes() == 1000);
    CHECK(weights.category() == Category::weights);
    CHECK(weights.device() == Device::cpu);
  }
  CHECK(report().live.total() == before.total());
}

TEST_CASE("an empty handle holds nothing, and a storage of no bytes is a storage") {
  const MemoryUse before = report().live;
  CHECK_FALSE(static_cast<bool>(Storage()));
  const Storage none(0, Device::cpu, Category::activation);
  CHECK(static_cast<bool>(none));
  CHECK(none.bytes() == 0);
  CHECK(report().live.total() == before.total());
}

TEST_CASE("the peak is the composition at the highest total, peak_each the highest of each category") {
  const MemoryUse before = report().live;
  reset_memory_peak(Device::cpu);
  { const Storage a(5000, Device::cpu, Category::activation), b(1000, Device::cpu, Category::weights); }
  { const Storage c(4000, Device::cpu, Category::optimizer), d(1500, Device::cpu, Category::weights); }
  const MemoryReport now = report();
  CHECK(now.peak.total() == before.total() + 6000);
  CHECK(now.peak[Category::activation] == before[Category::activation] + 5000);
  CHECK(now.peak[Category::weights] == before[Category::weights] + 1000);
  CHECK(now.peak[Category::optimizer] == before[Category::optimizer]);
  CHECK(now.peak_each[Category::optimizer] == before[Category::optimizer] + 4000);
  CHECK(now.peak_each[Category::weights] == before[Category::weights] + 1500);
  reset_memory_peak(Device::cpu);
  CHECK(report().peak.total() == before.total());
  CHECK(report().peak_each[Category::activation] == before[Category::activation]);
}

TEST_CASE("set_category moves bytes and makes no new peak of the total") {
  const MemoryUse before = report().live;
  Storage storage(3000, Device::cpu, Category::activation);
  reset_memory_peak(Device::cpu);
  storage.set_category(Category::gradient);
  CHECK(storage.category() == Category::gradient);
  const MemoryReport now = report();
  CHECK(now.live[Category::activation] == before[Category::activation]);
  CHECK(now.live[Category::gradient] == before[Category::gradient] + 3000);
  CHECK(now.peak[Category::activation] == before[Category::activation] + 3000);
  CHECK(now.peak_each[Category::gradient] == before[Category::gradient] + 3000);
  storage.set_category(Category::gradient);
  CHECK(report().live[Category::gradient] == before[Category::gradient] + 3000);
}

TEST_CASE("freed blocks are reused, counted as idle, and given back on request") {
  release_idle_memory(Device::cpu);
  reset_memory_peak(Device::cpu);
  const std::int64_t idle = report().pool_idle_bytes;
  const std::byte* first = nullptr;
  {
    const Storage storage(100'000, Device::cpu, Category::activation);
    first = storage.data();
    CHECK(report().system_allocations == 1);
  }
  CHECK(report().pool_idle_bytes - idle >= 100'000);
  CHECK(report().pool_idle_bytes - idle <= 107'000);  // size classes are at most 1/16 apart
  {
    const Storage same(99'900, Device::cpu, Category::weights);
    CHECK(same.data() == first);
    CHECK(report().system_allocations == 1);
    CHECK(report().pool_idle_bytes - idle < 7000);  // only what rounding adds
  }
  release_idle_memory(Device::cpu);
  CHECK(report().pool_idle_bytes == idle);
}

TEST_CASE("the meta device counts and holds no bytes") {
  const MemoryUse cpu = report().live, before = memory_report(Device::meta).live;
  const Storage huge(std::int64_t{1} << 50, Device::meta, Category::weights);
  CHECK(huge.data() == nullptr);
  CHECK(huge.bytes() == std::int64_t{1} << 50);
  const MemoryReport now = memory_report(Device::meta);
  CHECK(now.live[Category::weights] == before[Category::weights] + (std::int64_t{1} << 50));
  CHECK(now.peak.total() >= std::int64_t{1} << 50);
  CHECK(report().live.total() == cpu.total());
}

TEST_CASE("the meta device's pool counts what the CPU's does") {
  const auto growth = [](Device device) {
    release_idle_memory(device);
    reset_memory_peak(device);
    const std::int64_t before = memory_report(device).pool_idle_bytes;
    { const Storage a(100'000, device, Category::weights), b(5'000'000, device, Category::activation); }
    const Storage reused(99'900, device, Category::weights), other(333, device, Category::weights);
    const MemoryReport now = memory_report(device);
    return std::pair(now.pool_idle_bytes - before, now.system_allocations);
  };
  const auto expected = growth(Device::cpu);
  CHECK(expected.second == 3);
  CHECK(growth(Device::meta) == expected);
}

TEST_CASE("scratch grows to the largest request, is counted on both devices, and is given back on request") {
  for (const Device device : {Device::cpu, Device::meta}) {
    CAPTURE(name_of(device));
    release_idle_memory(device);
    const auto workspace = [&] { return memory_report(device).live[Category::workspace]; };
    const std::int64_t before = workspace();
    std::byte* const first = scratch(1000, device);
    CHECK((first == nullptr) == (device == Device::meta));
    CHECK(reinterpret_cast<std::uintptr_t>(first) % 64 == 0);
    CHECK(scratch(10, device) == first);
    CHECK(workspace() == before + 1000);
    scratch(5000, device);
    CHECK(workspace() == before + 5000);  // never both blocks
    CHECK(memory_report(device).peak_each[Category::workspace] >= before + 5000);
    release_idle_memory(device);
    CHECK(workspace() == before);
  }
}

TEST_CASE("a request that the machine cannot serve is an error that names it, and counts nothing") {
  const MemoryUse before = report().live;
  CHECK_THROWS_WITH_AS(Storage(std::int64_t{1} << 60, Device::cpu, Category::optimizer),
                       "memory: expected 1152921504606846976 bytes for optimizer, but the system has no more", Error);
  CHECK(report().live.total() == before.total());
}

TEST_CASE("every category has its own name") {
  std::vector<std::string_view> names;
  for (const Category category : kCategories)
    names.push_back(name_of(category));
  CHECK(names ==
        std::vector<std::string_view>{"weights", "adapter", "gradient", "optimizer", "activation", "workspace"});
}

TEST_CASE("live and idle bytes agree with the growth of a fresh process") {
  if (std::getenv("OSTEON_RESIDENT_CHILD") != nullptr) {
    std::_Exit(compare_with_resident_set());  // this is the fresh process
  }
#if defined(__SANITIZE_ADDRESS__)
  MESSAGE("skipped: the address sanitizer's own memory would be compared too");
#else
  char path[4096] = {};
  REQUIRE(readlink("/proc/self/exe", path, sizeof path - 1) > 0);
  const pid_t child = fork();
  REQUIRE(child >= 0);
  if (child == 0) {
    setenv("OSTEON_RESIDENT_CHILD", "1", 1);
    execl(path, path, "--test-case=live and idle bytes agree with the growth of a fresh process", "--no-version",
          nullptr);
    std::_Exit(127);
  }
  int status = 0;
  REQUIRE(waitpid(child, &status, 0) == child);
  CHECK(WIFEXITED(status));
  CHECK(WEXITSTATUS(status) == 0);
#endif
}
