#include "experiments/measure/profile.hpp"

#include <cmath>
#include <doctest/doctest.h>
#include <nlohmann/json.hpp>

using namespace osteon;
using namespace osteon::experiments;

namespace {

using Kind = TraceEvent::Kind;

/// Start and end in milliseconds.
TraceEvent event(Kind kind, std::string_view name, double start, double end, Phase phase = Phase::forward) {
  TraceEvent made{.kind = kind, .name = name, .phase = phase};
  made.start = std::llround(start * 1e6);
  made.end = std::llround(end * 1e6);
  return made;
}

TraceEvent product(Work work, std::int64_t k, double start, double end, Phase phase = Phase::forward) {
  TraceEvent made = event(Kind::product, "gemm", start, end, phase);
  made.work = work;
  made.dtype = DType::bf16;
  made.product = {8, 4, k};
  made.flops = 64.0 * static_cast<double>(k);
  made.bytes = 1000;
  return made;
}

/// A step of 20 ms whose parts are known.
std::vector<TraceEvent> step() {
  std::vector<TraceEvent> events = {event(Kind::part, "data", 0.5, 1.5)};
  events.push_back(product(Work::base, 16, 2, 5));
  events.push_back(product(Work::adapter, 2, 5, 6));
  events.push_back(event(Kind::op, "linear_plus", 1.75, 6.25));
  events.push_back(event(Kind::op, "block_sum", 6.5, 7));
  events.back().bytes = 5e6;
  events.push_back(event(Kind::op, "attention", 7, 9));
  events.back().flops = 7000;
  events.push_back(event(Kind::op, "rms_norm", 9, 10));
  events.push_back(product(Work::head, 4, 10.5, 12.5));
  events.push_back(event(Kind::op, "linear_cross_entropy", 10, 13));
  events.push_back(event(Kind::part, "forward", 1.5, 13));
  events.push_back(event(Kind::op, "rms_norm", 13.5, 14, Phase::recomputed));
  events.push_back(event(Kind::op, "rms_norm", 14, 14.5, Phase::backward));
  events.push_back(event(Kind::op, "checkpoint", 13.25, 15, Phase::backward));
  events.push_back(event(Kind::part, "gradient norm", 15, 15.5));
  events.push_back(event(Kind::part, "optimizer", 15.5, 19));
  events.push_back(event(Kind::part, "step", 0, 20));
  return events;
}

Profile profile_of_two_steps() {
  Profiler profiler;
  profiler.add_step(step());
  profiler.add_step(step());
  SavedTensor x{.op = "linear_plus", .name = "left", .dtype = "f32", .shape = {8, 2}, .bytes = 64, .count = 3};
  Profile profile = profiler.result(std::vector{x});
  profile.machine = {
      .threads = 2, .fma_f32 = 2e6, .fma_bf16 = 4e6, .gemm_f32 = 1, .gemm_bf16 = 1, .read = 1, .copy = 2e10};
  return profile;
}

const ProfileOp& op_of(const Profile& profile, std::string_view name, Phase phase) {
  for (const ProfileOp& op : profile.ops)
    if (op.name == name && op.phase == phase)
      return op;
  FAIL(std::string(name) << " has no line");
  return profile.ops.front();
}

double part_ms(const Profile& profile, std::string_view name) {
  for (const ProfilePart& part : profile.parts)
    if (part.name == name)
      return part.seconds * 1e3;
  FAIL(std::string(name) << " has no line");
  return 0;
}

}  // namespace

TEST_CASE("profile: each op in each phase has a line with its products, the longest first") {
  const Profile profile = profile_of_two_steps();
  CHECK(profile.steps == 2);
  CHECK(profile.seconds == doctest::Approx(0.040));
  REQUIRE(profile.ops.size() == 8);
  CHECK(profile.ops[0].name == "linear_plus");
  for (std::size_t i = 1; i < profile.ops.size(); ++i)
    CHECK(profile.ops[i].cost.seconds <= profile.ops[i - 1].cost.seconds);

  const ProfileOp& plus = profile.ops[0];
  CHECK(plus.cost.calls == 2);
  CHECK(plus.cost.seconds == doctest::Approx(2 * 4.5e-3));
  CHECK(plus.own_seconds == doctest::Approx(2 * 0.5e-3));
  CHECK(plus.saved_bytes == 3 * 64);
  CHECK(plus.dtype == DType::bf16);  // its products'
  REQUIRE(plus.products.size() == 2);
  CHECK(plus.products[0].work == Work::base);
  CHECK(plus.products[0].shape == std::array<std::int64_t, 3>{8, 4, 16});
  CHECK(plus.products[0].cost.flops == 2 * 64 * 16);
  CHECK(plus.products[1].work == Work::adapter);

  CHECK(op_of(profile, "rms_norm", Phase::recomputed).cost.calls == 2);
  const ProfileOp& region = op_of(profile, "checkpoint", Phase::backward);
  CHECK(region.cost.seconds == doctest::Approx(2 * 1.75e-3));
  CHECK(region.own_seconds == doctest::Approx(2 * 0.75e-3));  // beside the ops inside
}

TEST_CASE("profile: the parts of a step add up to it") {
  const Profile profile = profile_of_two_steps();
  double seconds = 0, flops = 0;
  for (const ProfilePart& part : profile.parts) {
    seconds += part.seconds;
    flops += part.flops;
  }
  CHECK(seconds == doctest::Approx(profile.seconds));
  CHECK(flops == 2 * (64 * (16 + 2 + 4) + 7000));
  CHECK(part_ms(profile, "base products") == doctest::Approx(2 * 3));
  CHECK(part_ms(profile, "adapter products") == doctest::Approx(2 * 1));
  CHECK(part_ms(profile, "attention") == doctest::Approx(2 * 2));
  CHECK(part_ms(profile, "head and loss") == doctest::Approx(2 * 3));
  CHECK(part_ms(profile, "embedding, norms, rotary, SwiGLU, adds") == doctest::Approx(2 * (1 + 0.5 + 0.5)));
  CHECK(part_ms(profile, "adapter's elementwise") == doctest::Approx(2 * 0.5));
  CHECK(part_ms(profile, "around the products") == doctest::Approx(2 * 0.5));
  CHECK(part_ms(profile, "gradient norm") == doctest::Approx(2 * 0.5));
  CHECK(part_ms(profile, "optimizer") == doctest::Approx(2 * 3.5));
  CHECK(part_ms(profile, "data") == doctest::Approx(2 * 1));
  CHECK(part_ms(profile, "rest") == doctest::Approx(2 * (0.5 + 0.5 + 0.25 + 0.75 + 1)));  // gaps, and the region's own
}

TEST_CASE("profile: text and JSON hold the numbers of one step, beside the machine's") {
  Profile profile = profile_of_two_steps();
  const nlohmann::ordered_json json = to_json(profile);
  CHECK(json["step_seconds"].get<double>() == doctest::Approx(0.020));
  CHECK(json["parts"]["attention"]["flops"] == 7000);
  const nlohmann::ordered_json& plus = json["ops"][0];
  CHECK(plus["op"] == "linear_plus");
  CHECK(plus["calls"] == 1);
  CHECK(plus["seconds"].get<double>() == doctest::Approx(4.5e-3));
  CHECK(plus["share"].get<double>() == doctest::Approx(4.5 / 20));
  CHECK(plus["products"][0]["k"] == 16);
  // 64 * 16 FLOPs in 3 ms are 341 kFLOP/s, of a peak of 4 MFLOP/s in bf16.
  CHECK(plus["products"][0]["of_peak"].get<double>() == doctest::Approx(1024 / 3e-3 / 4e6));
  const std::string text = profile_text(profile);
  CHECK(text.find("profile of 2 steps after the first: 20.0 ms a step") == 0);
  CHECK(text.find("linear_plus forward") != std::string::npos);
  CHECK(text.find("  base      gemm 8 x 4 x 16") != std::string::npos);
  CHECK(text.find("  beside them ") != std::string::npos);
  // 5 MB in 0.5 ms are 10 GB/s, half of what memory copies.
  const std::size_t at = text.find("block_sum forward");
  const std::string line = text.substr(at, text.find('\n', at) - at);
  CHECK(line.find(" 10.0      50%") != std::string::npos);
  CHECK(text.find("of all this, computed again in the backward") != std::string::npos);

  profile.machine = {.gemm_f32 = 2e6, .gemm_bf16 = 8e12, .copy = 3e12, .gpu = "NVIDIA Test", .gemm_size = 8192};
  CHECK(profile_text(profile).find(
            "machine, NVIDIA Test: gemm of 8192 x 8192 x 8192: 0.0 in f32, 8000.0 in bf16 GFLOP/s; "
            "memory: 3000.0 GB/s copied\n") != std::string::npos);
}
