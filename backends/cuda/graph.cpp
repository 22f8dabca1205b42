#include "backends/cuda/graph.hpp"

#include <memory>
#include <utility>

#include "backends/cuda/calls.hpp"
#include "backends/cuda/index_reports.hpp"
#include "backends/scratch.hpp"

namespace osteon::cuda {
namespace {

/// This thread's work goes to `stream`, captured, until end() or an exception.
class Capture {
 public:
  explicit Capture(Cuda stream) : stream_(stream.stream) {
    check_call("cudaStreamBeginCapture", cudaStreamBeginCapture(stream_, cudaStreamCaptureModeThreadLocal));
    current_stream = stream_;
  }
  Capture(const Capture&) = delete;
  Capture& operator=(const Capture&) = delete;
  ~Capture() {
    if (current_stream == stream_)
      stop();  // what went wrong is thrown already
    if (graph_ != nullptr)
      keep_error("cudaGraphDestroy", cudaGraphDestroy(graph_));
  }

  cudaGraph_t end() {
    check_call("cudaStreamEndCapture", stop());
    return graph_;
  }

 private:
  cudaError_t stop() {
    current_stream = nullptr;
    return cudaStreamEndCapture(stream_, &graph_);
  }

  cudaStream_t stream_;
  cudaGraph_t graph_ = nullptr;
};

}  // namespace

Graph::Graph(const std::function<void()>& work) : memory_(Device::cuda) {
  const auto record = [&] {
    Capture capture(stream_.device());
    work();
    const cudaGraph_t graph = capture.end();
    memory_.end();
    check_call("cudaGraphInstantiate", cudaGraphInstantiate(&graph_, graph, 0));
  };
  allocate_reports();
  try {
    record();
  } catch (...) {
    release_reports(stream_.device());
    cudaGetLastError();  // else the next launch would report it
    throw;
  }
  workspace_ = scratch_block(Device::cuda);
}

Graph::~Graph() {
  release_reports(stream_.device());
  if (graph_ != nullptr)
    keep_error("cudaGraphExecDestroy", cudaGraphExecDestroy(graph_));
}

void Graph::launch(Cuda device) const { check_call("cudaGraphLaunch", cudaGraphLaunch(graph_, device.stream)); }

std::function<void()> capture(const std::function<void()>& work) {
  const auto graph = std::make_shared<const Graph>(work);
  return [graph] { graph->launch({}); };
}

}  // namespace osteon::cuda
