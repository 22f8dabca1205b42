#include "experiments/measure/trace_file.hpp"

#include <doctest/doctest.h>
#include <fstream>
#include <nlohmann/json.hpp>
#include <vector>

#include "test/experiments/temporary_file.hpp"

using namespace osteon;
using namespace osteon::experiments;

TEST_CASE("trace: steps come one after another, whatever the rounding of ts + dur") {
  const TemporaryFile path("trace.json");
  TraceFile file(path.path());
  // Lengths in nanoseconds of which many are no whole number of doubles' microseconds.
  std::int64_t length = 42'705'691;
  for (std::int64_t step = 2; step < 5; ++step, length += 7'001'003) {
    TraceEvent whole{.kind = TraceEvent::Kind::part, .name = "step"};
    whole.start = 1;
    whole.end = 1 + length;
    file.add_step(step, std::vector{whole});
  }
  file.finish();
  const auto written = nlohmann::json::parse(std::ifstream(path.path()));
  std::vector<nlohmann::json> steps;
  for (const auto& event : written["traceEvents"])
    if (event["ph"] == "X")
      steps.push_back(event);
  REQUIRE(steps.size() == 3);
  for (std::size_t i = 1; i < steps.size(); ++i) {
    const double end = steps[i - 1]["ts"].get<double>() + steps[i - 1]["dur"].get<double>();
    CHECK(steps[i]["ts"].get<double>() > end);
    CHECK(steps[i]["ts"].get<double>() < end + 0.01);
  }
}
