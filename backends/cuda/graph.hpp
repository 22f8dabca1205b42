#pragma once

#include <functional>

#include "backends/cuda/runtime.hpp"
#include "backends/memory.hpp"
#include "backends/storage.hpp"

struct CUgraphExec_st;  // CUDA's own name: a cudaGraphExec_t points to one

namespace osteon::cuda {

/// What a thread queues on the GPU, captured once and queued again by one call: gpu.hpp has the contract. It is
/// captured on a stream of its own, since CUDA does not capture the default one, and runs on any.
class Graph {
 public:
  explicit Graph(const std::function<void()>& work);
  Graph(const Graph&) = delete;
  Graph& operator=(const Graph&) = delete;
  ~Graph();

  void launch(Cuda device) const;

 private:
  Stream stream_;
  GraphMemory memory_;
  Storage workspace_;  ///< of its products: the thread's scratch block at that time
  CUgraphExec_st* graph_ = nullptr;
};

}  // namespace osteon::cuda
