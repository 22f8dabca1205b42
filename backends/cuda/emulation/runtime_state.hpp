#pragma once

#include <cstring>
#include <deque>
#include <map>
#include <set>
#include <utility>
#include <vector>

#include "backends/cuda/emulation/cuda_runtime.hpp"
#include "backends/cuda/emulation/memory.hpp"

// What the files of the emulated runtime share.

/// What a replay does, in order.
struct CUgraph_st {
  std::vector<std::function<void()>> nodes;
};
struct CUgraphExec_st {
  std::vector<std::function<void()>> nodes;
};
struct CUstream_st {
  cudaGraph_t captured = nullptr;  ///< while it captures
  bool spoiled = false;            ///< that capture, by a call that it forbids
};

namespace osteon::cuda::emulation {

struct Runtime {
  int devices = 1, device = 0, capability = 9;
  std::int64_t calls = 0;
  std::int64_t failing_call = -1;
  cudaError_t failing_code = cudaSuccess;
  cudaError_t last = cudaSuccess;
  std::set<cudaStream_t> streams;
  std::set<cudaEvent_t> events;
  std::set<cudaGraph_t> graphs;
  std::set<cudaGraphExec_t> instances;

  struct Copy {
    void* to;
    const void* from;
    std::size_t bytes;
  };
  std::deque<Copy> queue;
  std::int64_t copies_done = 0;

  std::int64_t copies() const { return copies_done + static_cast<std::int64_t>(queue.size()); }
  /// Until so many copies are done in all.
  void work(std::int64_t until) {
    for (; copies_done < until; ++copies_done) {
      std::memcpy(queue.front().to, queue.front().from, queue.front().bytes);
      queue.pop_front();
      check_guards();
    }
  }
  void work() { work(copies()); }
  std::map<const void*, std::int64_t> shared_bytes;  ///< that kernels may ask for, where it is more than usual

  bool known(cudaStream_t stream) const { return stream == nullptr || streams.contains(stream); }
};
inline Runtime runtime;

/// What the call that begins now has to return.
inline cudaError_t begin_call() { return runtime.calls++ == runtime.failing_call ? runtime.failing_code : cudaSuccess; }
/// The same for calls that allocate, free or wait.
cudaError_t begin_unsafe_call();

/// The call's own error unless it was to fail anyway.
inline cudaError_t outcome(cudaError_t injected, bool good, cudaError_t code = cudaErrorInvalidValue) {
  return injected != cudaSuccess ? injected : good ? cudaSuccess : code;
}

/// The call that ends a handle; `code` if it is none that the program has.
template <class Handle>
cudaError_t destroy(std::set<Handle>& handles, Handle handle, cudaError_t code) {
  const cudaError_t injected = begin_call();
  const bool good = handles.erase(handle) > 0;
  if (good)
    delete handle;
  return outcome(injected, good, code);
}

}  // namespace osteon::cuda::emulation
