#include "backends/cuda/emulation/cuda_runtime.hpp"

#include <chrono>

#include "backends/cuda/emulation/runtime_state.hpp"
#include "backends/cuda/runtime.hpp"

using namespace osteon::cuda::emulation;

struct CUevent_st {
  std::chrono::steady_clock::time_point recorded;
  std::int64_t after = 0;  ///< this many copies
};

namespace {

cudaError_t allocate_in(Space space, void** memory, std::size_t bytes) {
  if (const cudaError_t injected = begin_unsafe_call())
    return injected;
  *memory = allocate(static_cast<std::int64_t>(bytes), space);
  return *memory == nullptr ? cudaErrorMemoryAllocation : cudaSuccess;
}

cudaError_t release_in(Space space, void* memory) {
  const cudaError_t injected = begin_unsafe_call();
  if (injected == cudaErrorStreamCaptureUnsupported)
    return injected;
  runtime.work();
  return outcome(injected, memory == nullptr || release(memory, space));
}

}  // namespace

const char* cudaGetErrorName(cudaError_t code) {
  switch (code) {
    case cudaSuccess:
      return "cudaSuccess";
    case cudaErrorInvalidValue:
      return "cudaErrorInvalidValue";
    case cudaErrorMemoryAllocation:
      return "cudaErrorMemoryAllocation";
    case cudaErrorInvalidConfiguration:
      return "cudaErrorInvalidConfiguration";
    case cudaErrorInsufficientDriver:
      return "cudaErrorInsufficientDriver";
    case cudaErrorNoDevice:
      return "cudaErrorNoDevice";
    case cudaErrorInvalidDevice:
      return "cudaErrorInvalidDevice";
    case cudaErrorInvalidResourceHandle:
      return "cudaErrorInvalidResourceHandle";
    case cudaErrorIllegalState:
      return "cudaErrorIllegalState";
    case cudaErrorLaunchFailure:
      return "cudaErrorLaunchFailure";
    case cudaErrorStreamCaptureUnsupported:
      return "cudaErrorStreamCaptureUnsupported";
    case cudaErrorStreamCaptureInvalidated:
      return "cudaErrorStreamCaptureInvalidated";
  }
  return "unrecognized error code";
}
const char* cudaGetErrorString(cudaError_t) { return "as the emulation was told"; }
cudaError_t cudaGetLastError() { return std::exchange(runtime.last, cudaSuccess); }

cudaError_t cudaFuncSetAttribute(const void* function, cudaFuncAttribute, int value) {
  const cudaError_t injected = begin_call();
  const bool good = value >= 0 && value <= osteon::cuda::kMostSharedBytes;
  if (injected == cudaSuccess && good)
    runtime.shared_bytes[function] = value;
  return outcome(injected, good);
}

cudaError_t cudaGetDeviceCount(int* count) {
  *count = runtime.devices;
  return outcome(begin_call(), runtime.devices > 0, cudaErrorNoDevice);
}
cudaError_t cudaSetDevice(int device) {
  const bool there = device >= 0 && device < runtime.devices;
  if (there)
    runtime.device = device;
  return outcome(begin_call(), there, cudaErrorInvalidDevice);
}
cudaError_t cudaDeviceGetAttribute(int* value, cudaDeviceAttr attribute, int) {
  *value = attribute == cudaDevAttrComputeCapabilityMajor ? runtime.capability : 0;
  return begin_call();
}

cudaError_t cudaGetDevice(int* device) {
  *device = runtime.device;
  return begin_call();
}
cudaError_t cudaGetDeviceProperties(cudaDeviceProp* properties, int device) {
  std::strcpy(properties->name, "emulated GPU");
  return outcome(begin_call(), device >= 0 && device < runtime.devices, cudaErrorInvalidDevice);
}
cudaError_t cudaMemGetInfo(std::size_t* free, std::size_t* total) {
  *free = *total = std::size_t{1} << 30;
  return begin_call();
}

cudaError_t cudaMalloc(void** memory, std::size_t bytes) { return allocate_in(Space::device, memory, bytes); }
cudaError_t cudaMallocManaged(void** memory, std::size_t bytes, unsigned) {
  return bytes == 0 ? cudaErrorInvalidValue : allocate_in(Space::managed, memory, bytes);
}
cudaError_t cudaHostAlloc(void** memory, std::size_t bytes, unsigned) {
  return allocate_in(Space::pinned, memory, bytes);
}
cudaError_t cudaFree(void* memory) { return release_in(Space::device, memory); }
cudaError_t cudaFreeHost(void* memory) { return release_in(Space::pinned, memory); }
cudaError_t cudaMemcpyAsync(void* to, const void* from, std::size_t bytes, cudaMemcpyKind, cudaStream_t stream) {
  if (const cudaError_t injected = begin_call())
    return injected;
  const auto size = static_cast<std::int64_t>(bytes);
  if (!runtime.known(stream) ||
      (!reachable(to, size) && !reachable(from, size)))  // host to host is not the GPU's business
    return cudaErrorInvalidValue;
  submit(stream, [=] {
    runtime.queue.push_back({to, from, bytes});
    if (!is_pinned(to) && !is_pinned(from))
      runtime.work();
  });
  return cudaSuccess;
}
cudaError_t cudaMemsetAsync(void* to, int byte, std::size_t bytes, cudaStream_t stream) {
  if (const cudaError_t injected = begin_call())
    return injected;
  if (!runtime.known(stream) || !reachable(to, static_cast<std::int64_t>(bytes)))
    return cudaErrorInvalidValue;
  submit(stream, [=] {
    runtime.work();
    std::memset(to, byte, bytes);
  });
  return cudaSuccess;
}

cudaError_t cudaStreamCreateWithFlags(cudaStream_t* stream, unsigned) {
  if (const cudaError_t injected = begin_call())
    return injected;
  runtime.streams.insert(*stream = new CUstream_st);
  return cudaSuccess;
}
cudaError_t cudaStreamDestroy(cudaStream_t stream) {
  return destroy(runtime.streams, stream, cudaErrorInvalidResourceHandle);
}
cudaError_t cudaStreamSynchronize(cudaStream_t stream) {
  const cudaError_t injected = begin_unsafe_call();
  runtime.work();
  return outcome(injected, runtime.known(stream), cudaErrorInvalidResourceHandle);
}
cudaError_t cudaStreamWaitEvent(cudaStream_t stream, cudaEvent_t event, unsigned) {
  return outcome(begin_call(), runtime.known(stream) && runtime.events.contains(event), cudaErrorInvalidResourceHandle);
}
cudaError_t cudaEventCreateWithFlags(cudaEvent_t* event, unsigned) {
  if (const cudaError_t injected = begin_call())
    return injected;
  runtime.events.insert(*event = new CUevent_st);
  return cudaSuccess;
}
cudaError_t cudaEventDestroy(cudaEvent_t event) {
  return destroy(runtime.events, event, cudaErrorInvalidResourceHandle);
}
cudaError_t cudaEventRecord(cudaEvent_t event, cudaStream_t stream) {
  if (const cudaError_t injected = begin_call())
    return injected;
  if (!runtime.known(stream) || !runtime.events.contains(event))
    return cudaErrorInvalidResourceHandle;
  event->after = runtime.copies();
  event->recorded = std::chrono::steady_clock::now();
  return cudaSuccess;
}
cudaError_t cudaEventSynchronize(cudaEvent_t event) {
  const cudaError_t injected = begin_unsafe_call();
  const bool good = runtime.events.contains(event);
  if (good)
    runtime.work(event->after);
  return outcome(injected, good, cudaErrorInvalidResourceHandle);
}
cudaError_t cudaEventElapsedTime(float* milliseconds, cudaEvent_t start, cudaEvent_t end) {
  if (const cudaError_t injected = begin_call())
    return injected;
  *milliseconds = std::chrono::duration<float, std::milli>(end->recorded - start->recorded).count();
  return cudaSuccess;
}

namespace osteon::cuda::emulation {

void set_device_count(int count) { runtime.devices = count; }
void set_compute_capability(int major) { runtime.capability = major; }
void fail_call(std::int64_t n, cudaError_t code) {
  runtime.failing_call = runtime.calls + n;
  runtime.failing_code = code;
}
void fail_no_call() { runtime.failing_call = -1; }
std::int64_t call_count() { return runtime.calls; }
std::int64_t live_handles() {
  return static_cast<std::int64_t>(runtime.streams.size() + runtime.events.size() + runtime.graphs.size() +
                                   runtime.instances.size());
}

bool library_call_fails() { return begin_call() != cudaSuccess; }
void finish_copies() { runtime.work(); }

bool begin_launch(const void* function, std::int64_t blocks, std::int64_t threads, std::int64_t shared_bytes,
                  cudaStream_t stream) {
  constexpr std::int64_t kMostThreads = 1024;
  const auto permit = runtime.shared_bytes.find(function);
  const std::int64_t most_shared = permit == runtime.shared_bytes.end() ? kSharedBytes : permit->second;
  const bool fits = blocks > 0 && threads > 0 && threads <= kMostThreads && shared_bytes <= most_shared;
  const cudaError_t code = outcome(begin_call(), fits, cudaErrorInvalidConfiguration);
  if (code != cudaSuccess || !runtime.known(stream))
    runtime.last = outcome(code, false, cudaErrorInvalidResourceHandle);
  return runtime.last == cudaSuccess;
}

}  // namespace osteon::cuda::emulation
