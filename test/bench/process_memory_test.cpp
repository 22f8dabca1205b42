#include "bench/process_memory.hpp"

#include <algorithm>
#include <doctest/doctest.h>
#include <memory>

namespace osteon::bench {

TEST_CASE("the peak of the resident set holds what was there for a moment only") {
  constexpr std::int64_t kBytes = 96 << 20;
  const auto touch = [] {
    const auto block = std::make_unique<volatile char[]>(kBytes);
    for (std::int64_t i = 0; i < kBytes; i += 4096)
      block[static_cast<std::size_t>(i)] = 1;
  };
  ResidentPeak peak;
  if (!peak.bytes()) {
    MESSAGE("skipped: this system does not let a process reset its peak");
    return;
  }
  const std::int64_t before = *peak.bytes();
  touch();
  CHECK(*peak.bytes() - before >= kBytes * 9 / 10);
  const ResidentPeak again;
  CHECK(again.bytes().value_or(kBytes) < kBytes / 2);
}

}  // namespace osteon::bench
