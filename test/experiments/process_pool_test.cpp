#include "experiments/sweep/process_pool.hpp"

#include <algorithm>
#include <chrono>
#include <doctest/doctest.h>
#include <filesystem>
#include <fstream>
#include <unistd.h>

using namespace osteon::experiments;

TEST_CASE("programs run at once as far as their bytes fit; one that never fits runs alone") {
  const std::filesystem::path folder =
      std::filesystem::temp_directory_path() / ("osteon_pool_" + std::to_string(getpid()));
  std::filesystem::create_directories(folder);
  const std::filesystem::path events = folder / "events";
  ProcessPool pool(4, {}, 10);
  const std::vector<std::int64_t> bytes = {6, 6, 3, 20};
  int done = 0;
  for (const std::int64_t size : bytes)
    pool.add(
        {"/bin/sh", "-c",
         "echo +" + std::to_string(size) + " >> " + events.string() + "; sleep 0.2; echo -" + std::to_string(size) +
             " >> " + events.string()},
        folder / "log", [&](int status) { done += status == 0 ? 1 : 0; }, size);
  pool.wait();
  CHECK(done == 4);
  std::ifstream lines(events);
  std::int64_t used = 0, most = 0, running = 0, together = 0, change = 0, alone = 0;
  while (lines >> change) {
    used += change;
    running += change > 0 ? 1 : -1;
    most = std::max(most, change == 20 ? 0 : used);
    together = std::max(together, running);
    alone = change == 20 ? running : alone;
  }
  CHECK(most == 9);  // 6 and the 3 behind the other 6, which had to wait
  CHECK(together == 2);
  CHECK(alone == 1);
  std::filesystem::remove_all(folder);
}
