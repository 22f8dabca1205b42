#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>

// The part of CUDA's runtime that runtime.cpp uses, under CUDA's own names, for an emulated GPU. Streams share one
// queue. In it are copies with pinned memory, done as late as they may be: when the host waits for them, or a launch or
// another copy comes behind them. So a host that does not wait finds old bytes, or sends new ones.

enum cudaError_t : int {
  cudaSuccess = 0,
  cudaErrorInvalidValue = 1,
  cudaErrorMemoryAllocation = 2,
  cudaErrorInvalidConfiguration = 9,
  cudaErrorInsufficientDriver = 35,
  cudaErrorNoDevice = 100,
  cudaErrorInvalidDevice = 101,
  cudaErrorInvalidResourceHandle = 400,
  cudaErrorIllegalState = 401,
  cudaErrorLaunchFailure = 719,
  cudaErrorStreamCaptureUnsupported = 900,
  cudaErrorStreamCaptureInvalidated = 901,
};
enum cudaMemcpyKind { cudaMemcpyDefault = 4 };
enum cudaStreamCaptureMode {
  cudaStreamCaptureModeGlobal = 0,
  cudaStreamCaptureModeThreadLocal = 1,
  cudaStreamCaptureModeRelaxed = 2,
};
enum cudaDeviceAttr { cudaDevAttrComputeCapabilityMajor = 75, cudaDevAttrComputeCapabilityMinor = 76 };
enum cudaFuncAttribute { cudaFuncAttributeMaxDynamicSharedMemorySize = 8 };
struct cudaDeviceProp {
  char name[256];
};
constexpr unsigned cudaStreamNonBlocking = 1, cudaEventDefault = 0, cudaMemAttachGlobal = 1, cudaHostAllocDefault = 0;

struct CUevent_st;
using cudaStream_t = struct CUstream_st*;
using cudaEvent_t = CUevent_st*;
using cudaGraph_t = struct CUgraph_st*;
using cudaGraphExec_t = struct CUgraphExec_st*;

const char* cudaGetErrorName(cudaError_t code);
const char* cudaGetErrorString(cudaError_t code);
cudaError_t cudaGetLastError();
cudaError_t cudaFuncSetAttribute(const void* function, cudaFuncAttribute attribute, int value);

cudaError_t cudaGetDeviceCount(int* count);
cudaError_t cudaSetDevice(int device);
cudaError_t cudaGetDevice(int* device);
cudaError_t cudaGetDeviceProperties(cudaDeviceProp* properties, int device);
cudaError_t cudaMemGetInfo(std::size_t* free, std::size_t* total);
cudaError_t cudaDeviceGetAttribute(int* value, cudaDeviceAttr attribute, int device);

cudaError_t cudaMalloc(void** memory, std::size_t bytes);
cudaError_t cudaMallocManaged(void** memory, std::size_t bytes, unsigned flags);
cudaError_t cudaHostAlloc(void** memory, std::size_t bytes, unsigned flags);
cudaError_t cudaFree(void* memory);
cudaError_t cudaFreeHost(void* memory);
cudaError_t cudaMemcpyAsync(void* to, const void* from, std::size_t bytes, cudaMemcpyKind kind, cudaStream_t stream);
cudaError_t cudaMemsetAsync(void* to, int byte, std::size_t bytes, cudaStream_t stream);

cudaError_t cudaStreamCreateWithFlags(cudaStream_t* stream, unsigned flags);
cudaError_t cudaStreamDestroy(cudaStream_t stream);
cudaError_t cudaStreamSynchronize(cudaStream_t stream);
cudaError_t cudaStreamWaitEvent(cudaStream_t stream, cudaEvent_t event, unsigned flags);
cudaError_t cudaEventCreateWithFlags(cudaEvent_t* event, unsigned flags);
cudaError_t cudaEventDestroy(cudaEvent_t event);
cudaError_t cudaEventRecord(cudaEvent_t event, cudaStream_t stream);
cudaError_t cudaEventSynchronize(cudaEvent_t event);
cudaError_t cudaEventElapsedTime(float* milliseconds, cudaEvent_t start, cudaEvent_t end);

// In cuda_graph.cpp. What is queued on a stream that captures becomes a node of its graph. Until the end of a capture
// that its thread began and did not relax, calls of that thread that allocate, free or wait fail and spoil it.
cudaError_t cudaStreamBeginCapture(cudaStream_t stream, cudaStreamCaptureMode mode);
cudaError_t cudaStreamEndCapture(cudaStream_t stream, cudaGraph_t* graph);
cudaError_t cudaThreadExchangeStreamCaptureMode(cudaStreamCaptureMode* mode);
cudaError_t cudaGraphInstantiate(cudaGraphExec_t* instance, cudaGraph_t graph, unsigned long long flags);
cudaError_t cudaGraphDestroy(cudaGraph_t graph);
cudaError_t cudaGraphLaunch(cudaGraphExec_t instance, cudaStream_t stream);
cudaError_t cudaGraphExecDestroy(cudaGraphExec_t instance);

namespace osteon::cuda::emulation {

/// GPUs that there are; 1 at the start.
void set_device_count(int count);
/// Their compute capability's first number; 9 at the start.
void set_compute_capability(int major);

/// The n-th call of the runtime from now on (0 = the next), launches among them, fails with `code`. A call that
/// releases something releases it nevertheless: on a GPU its error is that of work queued before.
void fail_call(std::int64_t n, cudaError_t code);
void fail_no_call();

/// Calls so far, launches among them.
std::int64_t call_count();

/// Streams, events and graphs not destroyed yet.
std::int64_t live_handles();

/// For libraries on top of the runtime, whose calls count and fail as the runtime's do: whether the call that begins
/// now is to fail.
bool library_call_fails();
/// Does `work`, or makes it a node of the graph that the stream captures: arguments by
/// value. False if there is no such stream.
bool submit(cudaStream_t stream, const std::function<void()>& work);

/// What was queued before is done.
void finish_copies();

/// For launches: false if this one is to fail. cudaGetLastError then says so.
bool begin_launch(const void* function, std::int64_t blocks, std::int64_t threads, std::int64_t shared_bytes,
                  cudaStream_t stream);

}  // namespace osteon::cuda::emulation
