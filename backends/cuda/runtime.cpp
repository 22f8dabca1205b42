#include "backends/cuda/runtime.hpp"

#include <string>

#include "backends/cuda/calls.hpp"
#include "backends/cuda/index_reports.hpp"
#include "backends/memory.hpp"
#include "backends/trace.hpp"

namespace osteon::cuda {
namespace {

std::string& kept_error() {
  thread_local std::string text;
  return text;
}

/// While one lives, a capture of this thread lets it allocate: that queues nothing and waits for nothing.
class RelaxedCapture {
 public:
  RelaxedCapture() { exchange(); }
  ~RelaxedCapture() { exchange(); }
  RelaxedCapture(const RelaxedCapture&) = delete;
  RelaxedCapture& operator=(const RelaxedCapture&) = delete;

 private:
  void exchange() {
    if (capturing())
      keep_error("cudaThreadExchangeStreamCaptureMode", cudaThreadExchangeStreamCaptureMode(&mode_));
  }

  cudaStreamCaptureMode mode_ = cudaStreamCaptureModeRelaxed;
};

constexpr const char* kAllocators[] = {"cudaMalloc", "cudaHostAlloc", "cudaMallocManaged"};

cudaError_t allocate(Memory memory, std::int64_t bytes, void** data) {
  const auto size = static_cast<std::size_t>(bytes);
  switch (memory) {
    case Memory::device:
      return cudaMalloc(data, size);
    case Memory::pinned:
      return cudaHostAlloc(data, size, cudaHostAllocDefault);
    default:
      return cudaMallocManaged(data, size, cudaMemAttachGlobal);
  }
}

void release(Memory memory, void* data) noexcept {
  if (memory == Memory::pinned)
    keep_error("cudaFreeHost", cudaFreeHost(data));
  else
    keep_error("cudaFree", cudaFree(data));
}

/// What the pool asks for: null where the GPU has no more, so that it can give back what it holds idle.
void* allocate_for_pool(std::int64_t bytes) {
  void* data = nullptr;
  const RelaxedCapture relaxed;
  const cudaError_t code = allocate(Memory::device, bytes, &data);
  if (code == cudaErrorMemoryAllocation) {
    cudaGetLastError();  // else the next launch would report it
    return nullptr;
  }
  check_call("cudaMalloc", code);
  return data;
}

void check_gpu(int index) {
  constexpr int kOldest = 8;  // sm_80: the first with bf16
  const int count = gpu_count();
  check<DeviceError>(index >= 0 && index < count, "device cuda:", index, ": expected one of the ", count,
                     " GPUs of this machine, numbered from 0");
  int major = 0, minor = 0;
  check_call("cudaDeviceGetAttribute", cudaDeviceGetAttribute(&major, cudaDevAttrComputeCapabilityMajor, index));
  check_call("cudaDeviceGetAttribute", cudaDeviceGetAttribute(&minor, cudaDevAttrComputeCapabilityMinor, index));
  check<NoGpuError>(major >= kOldest, "device cuda:", index, ": expected compute capability ", kOldest,
                    ".0 or later, got ", major, ".", minor);
}

}  // namespace

std::string text_of(const char* call, cudaError_t code) {
  return join(call, ": ", cudaGetErrorName(code), " (", static_cast<int>(code), "): ", cudaGetErrorString(code));
}

void keep_error(const char* call, cudaError_t code) noexcept {
  if (code != cudaSuccess && kept_error().empty())
    kept_error() = text_of(call, code);
}

int gpu_count() {
  int count = 0;
  const cudaError_t code = cudaGetDeviceCount(&count);
  if (code == cudaErrorNoDevice || code == cudaErrorInsufficientDriver) {
    cudaGetLastError();
    throw NoGpuError(
        join("device cuda: expected an NVIDIA GPU and its driver, but ", text_of("cudaGetDeviceCount", code)));
  }
  check_call("cudaGetDeviceCount", code);
  return count;
}

bool gpu_is_there() {
  try {
    check_gpu(0);
    return true;
  } catch (const NoGpuError&) {
    return false;
  }
}

void open(int index) {
  check_gpu(index);
  check_call("cudaSetDevice", cudaSetDevice(index));
  set_trace_wait([]() noexcept { keep_error("cudaStreamSynchronize", cudaStreamSynchronize(nullptr)); });
  set_memory_source(Device::cuda, {allocate_for_pool, [](void* data) { release(Memory::device, data); }});
}

std::string gpu_name() {
  int index = 0;
  check_call("cudaGetDevice", cudaGetDevice(&index));
  cudaDeviceProp properties;
  check_call("cudaGetDeviceProperties", cudaGetDeviceProperties(&properties, index));
  return static_cast<const char*>(properties.name);
}

std::int64_t free_memory() {
  std::size_t free = 0, total = 0;
  check_call("cudaMemGetInfo", cudaMemGetInfo(&free, &total));
  return static_cast<std::int64_t>(free);
}

Buffer::Buffer(Memory memory, std::int64_t bytes) : memory_(memory), bytes_(bytes) {
  if (bytes == 0)
    return;  // cudaMallocManaged refuses it
  void* data = nullptr;
  check_call(kAllocators[static_cast<std::size_t>(memory)], allocate(memory, bytes, &data));
  data_ = static_cast<std::byte*>(data);
}
Buffer& Buffer::operator=(Buffer&& other) noexcept {
  std::swap(memory_, other.memory_);
  std::swap(data_, other.data_);
  std::swap(bytes_, other.bytes_);
  return *this;
}
Buffer::~Buffer() {
  if (data_ != nullptr)
    release(memory_, data_);
}

Stream::Stream() {
  check_call("cudaStreamCreateWithFlags", cudaStreamCreateWithFlags(&handle_, cudaStreamNonBlocking));
}
Stream& Stream::operator=(Stream&& other) noexcept {
  std::swap(handle_, other.handle_);
  return *this;
}
Stream::~Stream() {
  if (handle_ != nullptr)
    keep_error("cudaStreamDestroy", cudaStreamDestroy(handle_));
}

Event::Event() { check_call("cudaEventCreateWithFlags", cudaEventCreateWithFlags(&handle_, cudaEventDefault)); }
Event& Event::operator=(Event&& other) noexcept {
  std::swap(handle_, other.handle_);
  return *this;
}
Event::~Event() {
  if (handle_ != nullptr)
    keep_error("cudaEventDestroy", cudaEventDestroy(handle_));
}
void Event::record(Cuda device) const { check_call("cudaEventRecord", cudaEventRecord(handle_, device.stream)); }
void Event::hold(Cuda device) const {
  check_call("cudaStreamWaitEvent", cudaStreamWaitEvent(device.stream, handle_, 0));
}
void Event::synchronize() const { check_call("cudaEventSynchronize", cudaEventSynchronize(handle_)); }
double Event::milliseconds_since(const Event& start) const {
  float milliseconds = 0;
  check_call("cudaEventElapsedTime", cudaEventElapsedTime(&milliseconds, start.handle_, handle_));
  return static_cast<double>(milliseconds);
}

void copy(Cuda device, const void* from, void* to, std::int64_t bytes) {
  if (bytes > 0)
    check_call("cudaMemcpyAsync",
               cudaMemcpyAsync(to, from, static_cast<std::size_t>(bytes), cudaMemcpyDefault, device.stream));
}
void fill_bytes(Cuda device, void* to, std::uint8_t byte, std::int64_t bytes) {
  if (bytes > 0)
    check_call("cudaMemsetAsync", cudaMemsetAsync(to, byte, static_cast<std::size_t>(bytes), device.stream));
}

void synchronize(Cuda device) {
  check_call("cudaStreamSynchronize", cudaStreamSynchronize(device.stream));
  if (const std::string text = std::exchange(kept_error(), {}); !text.empty())
    throw DeviceError(text);
  throw_reported(device);
}

void permit_shared(const char* kernel, const void* function, std::int64_t bytes) {
  const cudaError_t code =
      cudaFuncSetAttribute(function, cudaFuncAttributeMaxDynamicSharedMemorySize, static_cast<int>(bytes));
  if (code != cudaSuccess) [[unlikely]]
    throw DeviceError(
        join("kernel '", kernel, "': ", bytes, " bytes of shared memory: ", text_of("cudaFuncSetAttribute", code)));
}

void check_launch(const char* kernel) {
  const cudaError_t code = cudaGetLastError();
  if (code != cudaSuccess) [[unlikely]]
    throw DeviceError(join("kernel '", kernel, "': ", text_of("launch", code)));
}

}  // namespace osteon::cuda
