#include "backends/trace.hpp"

#include <doctest/doctest.h>
#include <string>

#include "backends/kernels/bat.hpp"
#include "backends/kernels/gemm.hpp"
#include "test/backends/array.hpp"

using namespace osteon;
using test::Array;

namespace {

const TraceEvent& event_of(const TraceRecorder& recorder, std::string_view name) {
  for (const TraceEvent& event : recorder.events())
    if (event.name == name)
      return event;
  FAIL(std::string(name) << " is not in the trace");
  return recorder.events().front();
}

}  // namespace

TEST_CASE("products are events with shape, work, FLOPs and bytes") {
  Array a(DType::f32, {5, 7}), b(DType::f32, {7, 3}), c(DType::f32, {5, 3});
  Array g(DType::bf16, {2, 80, 6}), x(DType::bf16, {2, 80, 4}), sum(DType::f32, {6, 4});
  Array w(DType::f32, {8, 12}), blocks(DType::f32, {2, 4, 4}), y(DType::f32, {8, 12});
  const TraceRecorder recorder;
  {
    const CountAs adapter(Work::adapter);
    kernels::gemm(Cpu{}, a.view(), b.view(), c.view());
  }
  {
    const CountAs backward(Pass::backward);
    kernels::gemm_tokens(Cpu{}, g.view(), x.view(), Sink{sum.view(), false});
  }
  kernels::bat_weight(Cpu{}, w.view(), blocks.view(), y.view());
  kernels::bat_block_gradient(Cpu{}, w.view(), y.view(), Sink{blocks.view(), false});
  kernels::gemm(Meta{}, a.view(), b.view(), c.view());  // computes nothing: not in the trace
  REQUIRE(recorder.events().size() == 4);

  const TraceEvent& gemm = event_of(recorder, "gemm");
  CHECK(gemm.kind == TraceEvent::Kind::product);
  CHECK(gemm.product == std::array<std::int64_t, 3>{5, 3, 7});
  CHECK(gemm.work == Work::adapter);
  CHECK(gemm.phase == Phase::forward);
  CHECK(gemm.dtype == DType::f32);
  CHECK(gemm.flops == 2 * 5 * 3 * 7);
  CHECK(gemm.bytes == 4 * (35 + 21 + 15));
  const TraceEvent& tokens = event_of(recorder, "gemm_tokens");
  CHECK(tokens.product == std::array<std::int64_t, 3>{6, 4, 160});
  CHECK(tokens.work == Work::base);
  CHECK(tokens.phase == Phase::backward);
  CHECK(tokens.dtype == DType::bf16);
  CHECK(tokens.flops == 2 * 6 * 4 * 160);
  CHECK(tokens.bytes == 2 * (960 + 640) + 4 * 24);
  for (const char* kernel : {"bat_weight", "bat_block_gradient"}) {
    CHECK(event_of(recorder, kernel).product == std::array<std::int64_t, 3>{8, 12, 4});
    CHECK(event_of(recorder, kernel).bytes == 4 * (96 + 96 + 32));
  }
}

TEST_CASE("scopes nest, hold the time of what is inside, and begin where the next op does") {
  Array a(DType::f32, {5, 7}), b(DType::f32, {7, 3}), c(DType::f32, {5, 3});
  TraceRecorder recorder;
  {
    const TraceScope step("step");
    { const TraceScope part("data"); }
    kernels::gemm(Cpu{}, a.view(), b.view(), c.view());
    recorder.close_op({.name = "linear", .saved_bytes = 140}, 1e9);
    recorder.close_op({.name = "add"}, 60);
    {
      TraceScope back({.kind = TraceEvent::Kind::op, .name = "add", .phase = Phase::backward});
      back.count_bytes(30);
    }
  }
  const auto& events = recorder.events();
  REQUIRE(events.size() == 6);
  std::vector<std::string> names;
  for (const TraceEvent& event : events)
    names.emplace_back(event.name);
  CHECK(names == std::vector<std::string>{"data", "gemm", "linear", "add", "add", "step"});
  CHECK(enclosing(events) == std::vector<std::ptrdiff_t>{5, 2, 5, 5, 5, -1});
  CHECK(events[2].start > events[0].end);
  CHECK(events[2].flops == events[1].flops);
  CHECK(events[2].bytes == events[1].bytes);  // what products counted stands for the op's own
  CHECK(events[3].bytes == 60);
  CHECK(events[4].bytes == 30);
  CHECK(events[5].flops == 2 * 5 * 7 * 3);
  CHECK(events[5].bytes == events[1].bytes + 60 + 30);
  std::int64_t inside = 0;
  for (const std::size_t i : {0, 2, 3, 4})
    inside += events[i].end - events[i].start;
  CHECK(inside < events[5].end - events[5].start);
  recorder.clear();
  CHECK(recorder.events().empty());
}

TEST_CASE("nothing is recorded without a recorder, and the innermost one records") {
  CHECK_FALSE(tracing());
  const TraceRecorder outer;
  CHECK(tracing());
  {
    const TraceRecorder inner;
    const TraceScope part("part");
  }
  const TraceScope part("part");
  CHECK(outer.events().empty());  // this part has not ended, the other one was not its
}
