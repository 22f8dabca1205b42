#include "experiments/measure/trace_file.hpp"

#include <fmt/format.h>
#include <nlohmann/json.hpp>

namespace osteon::experiments {
namespace {

constexpr std::string_view kCategories[] = {"part", "op", "product"};

nlohmann::ordered_json arguments(const TraceEvent& event) {
  nlohmann::ordered_json args = nlohmann::ordered_json::object();
  if (event.kind != TraceEvent::Kind::part) {
    args["phase"] = name_of(event.phase);
    args["dtype"] = name_of(event.dtype);
  }
  if (event.kind == TraceEvent::Kind::product) {
    const auto [m, n, k] = event.product;
    args["shape"] = fmt::format("{} x {} x {}", m, n, k);
    args["work"] = name_of(event.work);
  }
  if (event.flops > 0) {
    args["flop"] = event.flops;
    args["gflop_per_s"] = event.flops / event.seconds() * 1e-9;
  }
  if (event.bytes > 0) {
    args["bytes"] = event.bytes;
    args["gb_per_s"] = event.bytes / event.seconds() * 1e-9;
  }
  if (event.saved_bytes > 0)
    args["saved_bytes"] = event.saved_bytes;
  return args;
}

}  // namespace

TraceFile::TraceFile(const std::filesystem::path& path) : file_(path) {
  file_.write(
      "{\"displayTimeUnit\": \"ms\", \"traceEvents\": [\n"
      "{\"name\": \"process_name\", \"ph\": \"M\", \"pid\": 1, \"args\": {\"name\": \"osteon\"}}");
}

void TraceFile::add_step(std::int64_t step, std::span<const TraceEvent> events) {
  if (steps_ == kSteps || events_ >= kManyEvents || events.empty())
    return;
  ++steps_;
  events_ += static_cast<std::int64_t>(events.size());
  const std::vector<std::ptrdiff_t> parents = enclosing(events);
  const std::int64_t origin = events.back().start;  // the step itself ends last
  const auto microseconds = [](std::int64_t nanoseconds) { return static_cast<double>(nanoseconds) * 1e-3; };
  for (std::size_t i = 0; i < events.size(); ++i) {
    const TraceEvent& event = events[i];
    std::string name(event.name);
    if (event.kind == TraceEvent::Kind::op && event.phase != Phase::forward)
      name += fmt::format(" {}", name_of(event.phase));
    if (parents[i] < 0)
      name += fmt::format(" {}", step);
    const nlohmann::ordered_json line = {{"name", name},
                                         {"cat", kCategories[static_cast<std::size_t>(event.kind)]},
                                         {"ph", "X"},
                                         {"ts", microseconds(shown_ + event.start - origin)},
                                         {"dur", microseconds(event.end - event.start)},
                                         {"pid", 1},
                                         {"tid", 1},
                                         {"args", arguments(event)}};
    file_.write(",\n" + line.dump());
  }
  // A nanosecond between steps: where they touch, ts + dur of one may round to after the next one's ts.
  shown_ += events.back().end - origin + 1;
}

void TraceFile::finish() {
  file_.write("\n]}\n");
  file_.commit();
}

}  // namespace osteon::experiments
