#include "backends/cuda/emulation/runtime_state.hpp"

using namespace osteon::cuda::emulation;

namespace {

/// Of the calling thread: the stream whose capture it began, and what that lets it do.
thread_local cudaStream_t capturing_stream = nullptr;
thread_local cudaStreamCaptureMode capture_mode = cudaStreamCaptureModeGlobal;

/// Errors that a program meets by capturing; as all errors but those of the emulation's callers, they are the last one
/// until somebody asks.
cudaError_t refused(cudaError_t code) {
  if (code != cudaSuccess)
    runtime.last = code;
  return code;
}

}  // namespace

cudaError_t cudaStreamBeginCapture(cudaStream_t stream, cudaStreamCaptureMode mode) {
  if (const cudaError_t injected = begin_call())
    return injected;
  if (stream == nullptr)  // the default stream, which other streams wait for
    return refused(cudaErrorStreamCaptureUnsupported);
  if (!runtime.known(stream))
    return cudaErrorInvalidResourceHandle;
  if (stream->captured != nullptr || capturing_stream != nullptr)
    return refused(cudaErrorIllegalState);
  runtime.graphs.insert(stream->captured = new CUgraph_st);
  stream->spoiled = false;
  capturing_stream = stream;
  capture_mode = mode;
  return cudaSuccess;
}

cudaError_t cudaStreamEndCapture(cudaStream_t stream, cudaGraph_t* graph) {
  const cudaError_t injected = begin_call();
  *graph = nullptr;
  if (stream == nullptr || !runtime.known(stream) || stream->captured == nullptr)
    return outcome(injected, false, refused(cudaErrorIllegalState));
  const cudaGraph_t captured = std::exchange(stream->captured, nullptr);
  if (capturing_stream == stream)
    capturing_stream = nullptr;
  if (injected == cudaSuccess && !stream->spoiled) {
    *graph = captured;
    return cudaSuccess;
  }
  runtime.graphs.erase(captured);
  delete captured;
  return outcome(injected, false, refused(cudaErrorStreamCaptureInvalidated));
}

cudaError_t cudaThreadExchangeStreamCaptureMode(cudaStreamCaptureMode* mode) {
  std::swap(*mode, capture_mode);
  return begin_call();
}

cudaError_t cudaGraphInstantiate(cudaGraphExec_t* instance, cudaGraph_t graph, unsigned long long) {
  const cudaError_t code = outcome(begin_call(), runtime.graphs.contains(graph));
  if (code == cudaSuccess)
    runtime.instances.insert(*instance = new CUgraphExec_st{graph->nodes});
  return code;
}
cudaError_t cudaGraphDestroy(cudaGraph_t graph) { return destroy(runtime.graphs, graph, cudaErrorInvalidValue); }
cudaError_t cudaGraphLaunch(cudaGraphExec_t instance, cudaStream_t stream) {
  const cudaError_t code = outcome(begin_call(), runtime.instances.contains(instance) && runtime.known(stream));
  if (code != cudaSuccess)
    return code;
  if (stream != nullptr && stream->captured != nullptr)  // a graph in a graph: nothing needs it
    return refused(cudaErrorStreamCaptureUnsupported);
  for (const auto& node : instance->nodes)
    node();
  return cudaSuccess;
}
cudaError_t cudaGraphExecDestroy(cudaGraphExec_t instance) {
  return destroy(runtime.instances, instance, cudaErrorInvalidValue);
}

namespace osteon::cuda::emulation {

cudaError_t begin_unsafe_call() {
  const cudaError_t injected = begin_call();
  if (injected != cudaSuccess || capturing_stream == nullptr || capture_mode == cudaStreamCaptureModeRelaxed)
    return injected;
  capturing_stream->spoiled = true;
  return refused(cudaErrorStreamCaptureUnsupported);
}

bool submit(cudaStream_t stream, const std::function<void()>& work) {
  if (!runtime.known(stream))
    return false;
  if (stream != nullptr && stream->captured != nullptr)
    stream->captured->nodes.push_back(work);
  else
    work();
  return true;
}

}  // namespace osteon::cuda::emulation
