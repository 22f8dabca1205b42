#include "backends/cuda/graph.hpp"

#include <cstring>
#include <optional>

#include "backends/kernels/gemm.hpp"
#include "backends/kernels/transfer.hpp"
#include "backends/scratch.hpp"
#include "test/backends/cuda/emulated.hpp"

using namespace osteon;
using namespace osteon::cuda;
using namespace osteon::test;

namespace {

__global__ void increment(Global<int> x, int by) { x[0] += by; }
__global__ void report_first(Global<const int> ids, Global<unsigned long long> report) {
  if (ids[0] > 9)
    report_index(report, 0, ids[0]);
}

void add(const DeviceArray<int>& x, int by) { launch("increment", increment, 1, 1, 0, Cuda{}, x.elements, by); }

Storage block(std::int64_t bytes) { return {bytes, Device::cuda, Category::activation}; }

/// What the capture of `work` throws; afterwards a launch must succeed and another capture too.
std::string refusal_of(const std::function<void()>& work) {
  std::string text;
  try {
    const Graph graph(work);
  } catch (const Error& error) {
    text = error.what();
  }
  CHECK(!capturing());
  DeviceArray<int> x(1);
  add(x, 1);
  const Graph again([&] { add(x, 1); });
  again.launch({});
  synchronize(Cuda{});
  CHECK(x.elements[0] == 2);
  return text;
}

}  // namespace

TEST_CASE("a graph queues kernels, copies, fills and products again, in order, on what is there then") {
  DeviceArray<int> x(1), y(1);
  DeviceArray<double> a(4, 1.0), c(4);
  const Buffer pinned(Memory::pinned, sizeof(int));
  const View matrix{a.buffer.data(), DType::f64, {2, 2}, true}, product{c.buffer.data(), DType::f64, {2, 2}, true};
  kernels::gemm(Cuda{}, matrix, matrix, product);  // its algorithm is chosen
  const Graph graph([&] {
    CHECK(capturing());
    fill_bytes(Cuda{}, y.buffer.data(), 0, sizeof(int));
    add(x, 2);
    copy(Cuda{}, x.buffer.data(), y.buffer.data(), sizeof(int));
    add(y, 100);
    copy(Cuda{}, y.buffer.data(), pinned.data(), sizeof(int));
    kernels::gemm(Cuda{}, matrix, matrix, product, {.add = true});
  });
  CHECK(!capturing());
  CHECK(x.elements[0] == 0);
  CHECK(c.elements[0] == 2.0);
  const Stream other;
  for (const Cuda stream : {Cuda{}, other.device()}) {
    const int before = x.elements[0];
    graph.launch(stream);
    synchronize(stream);
    int copied = 0;
    std::memcpy(&copied, pinned.data(), sizeof copied);
    CHECK(x.elements[0] == before + 2);
    CHECK(copied == before + 102);
    a.elements[0] += 1;
  }
  CHECK(c.elements[0] == 2.0 + 2.0 + 5.0);
}

TEST_CASE("the memory that a capture asks for is its graph's, and used again within the capture") {
  clean_up();
  block(5000);  // the pool has one
  const std::int64_t live = memory_report(Device::cuda).live.total();
  const void *first = nullptr, *second = nullptr;
  Storage kept;
  std::optional<Graph> graph;
  graph.emplace([&] {
    first = block(5000).data();
    kept = block(5000);
    second = block(5000).data();  // beyond what the pool has: a capture may allocate
  });
  CHECK(kept.data() == first);
  CHECK(second != first);
  CHECK(memory_report(Device::cuda).live.total() == live + 5000);
  kept = {};
  CHECK(memory_report(Device::cuda).live.total() == live);
  const std::int64_t idle = memory_report(Device::cuda).pool_idle_bytes;
  CHECK(idle >= 10'000);
  {
    const Storage others[] = {block(5000), block(5000), block(5000)};
    for (const Storage& other : others) {
      CHECK(other.data() != first);
      CHECK(other.data() != second);
    }
  }
  release_idle_memory(Device::cuda);
  CHECK(memory_report(Device::cuda).pool_idle_bytes >= 10'000);
  CHECK(emulation::reachable(first, 5000));
  // A block that outlives its graph is the pool's when it is given back.
  graph.emplace([&] { kept = block(5000); });
  graph.reset();
  const void* const outlived = kept.data();
  kept = {};
  CHECK(block(5000).data() == outlived);
  clean_up();
  CHECK(memory_report(Device::cuda).pool_idle_bytes == 0);
}

TEST_CASE("the workspace of a graph's products stays as long as the graph") {
  clean_up();
  scratch(3000, Device::cuda);
  const Graph graph([] { scratch(2000, Device::cuda); });
  const void* const workspace = scratch(1000, Device::cuda);
  release_scratch(Device::cuda);
  CHECK(block(3000).data() != workspace);
}

TEST_CASE("what a capture cannot hold is refused, and nothing of it stays") {
  clean_up();
  const emulation::Allocated before = emulation::allocated();
  const std::int64_t handles = emulation::live_handles();
  CHECK_SAYS(refusal_of([] { synchronize(Cuda{}); }),
             "cudaStreamSynchronize: cudaErrorStreamCaptureUnsupported (900): as the emulation was told");
  CHECK_SAYS(refusal_of([] { Buffer(Memory::device, 64); }), "cudaMalloc: cudaErrorStreamCaptureUnsupported");
  CHECK_SAYS(refusal_of([] { Buffer(Memory::pinned, 64); }), "cudaHostAlloc: cudaErrorStreamCaptureUnsupported");
  const Event event;
  event.record(Cuda{});
  CHECK_SAYS(refusal_of([&] { event.synchronize(); }), "cudaEventSynchronize: cudaErrorStreamCaptureUnsupported");
  // Where the error goes by unnoticed, the end of the capture says so.
  CHECK_SAYS(refusal_of([&] { CHECK_THROWS_AS(event.synchronize(), DeviceError); }),
             "cudaStreamEndCapture: cudaErrorStreamCaptureInvalidated (901)");
  float number = 0;
  const View here{&number, DType::f32, {1}, true};
  const Storage there = block(4);
  const View on_gpu{there.data(), DType::f32, {1}, true};
  CHECK(refusal_of([&] { kernels::upload(Cuda{}, here, on_gpu); }) ==
        "upload: the host would have to wait while a graph is captured");
  CHECK_SAYS(refusal_of([&] { kernels::download(Cuda{}, on_gpu, here); }), "download: ");
  CHECK_SAYS(refusal_of([] { const Graph inner([] {}); }), "graph: ");
  Storage old = block(100);
  CHECK_SAYS(refusal_of([&] { old = {}; }), "graph: a block of memory from before the capture was given back in it");
  CHECK(refusal_of([] { fail<Error>("of its own"); }) == "of its own");
  clean_up();
  CHECK(emulation::allocated().blocks <= before.blocks + 1);  // `there`
  CHECK(emulation::live_handles() == handles + 1);            // `event`
}

TEST_CASE("a capture that finds no more memory leaves the pool as it is") {
  clean_up();
  block(5000);
  CHECK_SAYS(refusal_of([] {
               emulation::limit_memory(emulation::allocated().device_bytes);
               try {
                 block(50'000);
               } catch (const Error&) {
                 emulation::limit_memory(std::int64_t{1} << 40);
                 throw;
               }
             }),
             "memory: expected 50000 bytes for activation");
  CHECK(memory_report(Device::cuda).pool_idle_bytes > 5000);
}

TEST_CASE("each replay reports to the index checks of its capture") {
  DeviceArray<int> ids(1, 5);
  std::optional<Graph> graph;
  graph.emplace([&] {
    const IndexCheck check(Cuda{}, [](std::int64_t position, std::int64_t index) {
      fail<IndexError>("ids: got ", index, " at ", position);
    });
    launch("report_first", report_first, 1, 1, 0, Cuda{}, Global<const int>(ids.elements), report_of(check));
  });
  const auto replay_with = [&](int id) {
    ids.elements[0] = id;
    graph->launch({});
  };
  replay_with(9);
  synchronize(Cuda{});
  for (const int wrong : {12, 70}) {
    replay_with(wrong);
    CHECK_THROWS_WITH_AS(synchronize(Cuda{}), doctest::Contains(join("ids: got ", wrong, " at 0").c_str()), IndexError);
    replay_with(2);
    synchronize(Cuda{});
  }
  replay_with(11);
  graph.reset();  // a replay may still run then
  CHECK_THROWS_AS(synchronize(Cuda{}), IndexError);
  const auto check_ids = [](int times) {
    for (int i = 0; i < times; ++i)
      const IndexCheck check(Cuda{}, [](std::int64_t, std::int64_t) {});
  };
  for (int i = 0; i < 3; ++i) {  // more than there are reports, in all
    const Graph one([&] { check_ids(1500); });
    synchronize(Cuda{});
  }
  CHECK_THROWS_WITH_AS(Graph([&] { check_ids(5000); }), doctest::Contains("more than 4096 index checks in graphs"),
                       Error);
  synchronize(Cuda{});
  const Graph again([&] { check_ids(4096); });  // those of the refused one are free
}

TEST_CASE("each call of a capture that fails is named with its code, and nothing leaks") {
  const auto use_graph = [] {
    DeviceArray<int> x(1);
    {
      const Graph graph([&] {
        const Storage storage = block(70'000);
        add(x, 1);
        copy(Cuda{}, x.buffer.data(), storage.data(), sizeof(int));
      });
      graph.launch({});
    }
    synchronize(Cuda{});
    return x.elements[0];
  };
  CHECK(use_graph() == 1);
  check_each_failing_call(use_graph, 14, [&](const std::string&) {
    CHECK(use_graph() == 1);
    clean_up();
  });
}

TEST_CASE("the runtime refuses captures as CUDA does") {
  cudaGraph_t graph = nullptr;
  const auto begin = [](cudaStream_t stream) {
    return cudaStreamBeginCapture(stream, cudaStreamCaptureModeThreadLocal);
  };
  CHECK(begin(nullptr) == cudaErrorStreamCaptureUnsupported);
  const Stream stream;
  const cudaStream_t own = stream.device().stream;
  CHECK(cudaStreamEndCapture(own, &graph) == cudaErrorIllegalState);
  CHECK(begin(own) == cudaSuccess);
  CHECK(begin(own) == cudaErrorIllegalState);
  CHECK(cudaStreamEndCapture(own, &graph) == cudaSuccess);
  cudaGraphExec_t instance = nullptr;
  CHECK(cudaGraphInstantiate(&instance, graph, 0) == cudaSuccess);
  CHECK(cudaGraphDestroy(graph) == cudaSuccess);
  CHECK(cudaGraphDestroy(graph) == cudaErrorInvalidValue);
  CHECK(cudaGraphLaunch(instance, nullptr) == cudaSuccess);
  CHECK(cudaGraphExecDestroy(instance) == cudaSuccess);
  CHECK(cudaGraphLaunch(instance, nullptr) == cudaErrorInvalidValue);
  cudaGetLastError();
}
