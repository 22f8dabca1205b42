#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <span>
#include <string_view>
#include <vector>

#include "backends/dtype.hpp"
#include "backends/flops.hpp"
#include "backends/view.hpp"

namespace osteon {

/// When an op ran: `recomputed` is a forward that a backward runs again (activation checkpointing, cheap results).
enum class Phase : std::uint8_t { forward, backward, recomputed };
std::string_view name_of(Phase phase);

/// A stretch of time and what was done in it, everything inside included. Times in nanoseconds since the recorder
/// began. Of one thread any two are apart or nested, and no two moments are equal.
struct TraceEvent {
  enum class Kind : std::uint8_t { part, op, product };  ///< of a step; of the graph; a kernel of products

  Kind kind = Kind::part;
  std::string_view name;  ///< a literal: "optimizer", "rms_norm", "gemm"
  Phase phase = Phase::forward;
  DType dtype = DType::f32;               ///< of an op's result or of a product's operands
  Work work = Work::base;                 ///< of products
  std::array<std::int64_t, 3> product{};  ///< m, n, k of products: [m, n] = a sum over k
  std::int64_t saved_bytes = 0;           ///< what a forward kept for its backward; a storage counts for every op
  std::int64_t start = 0, end = 0;
  double flops = 0;  ///< of products (flops.hpp)
  double bytes = 0;  ///< operands and results, each once: of the products, or of an op without any

  double seconds() const { return static_cast<double>(end - start) * 1e-9; }
};

class TraceRecorder;
namespace detail {
extern constinit thread_local TraceRecorder* trace_recorder;
}

/// Whether this thread records: all that tracing costs while it does not.
inline bool tracing() { return detail::trace_recorder != nullptr; }

/// How a recorder waits for the work on a GPU before it looks at the clock. cuda::open says it; what went wrong in the
/// work stays to be thrown by whoever waits for results.
void set_trace_wait(void (*wait)() noexcept);

/// While one lives, what this thread computes is recorded: scopes, ops of the graph, products. Where tensors are on a
/// GPU (default_device), each event waits for its work: steps take longer than without, an op's time is its own.
class TraceRecorder {
 public:
  TraceRecorder();
  ~TraceRecorder();
  TraceRecorder(const TraceRecorder&) = delete;
  TraceRecorder& operator=(const TraceRecorder&) = delete;

  /// What has ended so far, in the order of the ends: an event comes after all that it encloses.
  const std::vector<TraceEvent>& events() const { return events_; }
  void clear() { events_.clear(); }

  /// A moment, and what had been counted until then.
  struct Mark {
    std::int64_t at = 0;
    double flops = 0, bytes = 0;
  };
  Mark mark();
  void count_flops(double flops) { flops_ += flops; }
  void count_bytes(double bytes) { bytes_ += bytes; }
  /// What was counted since.
  double flops_since(const Mark& start) const { return flops_ - start.flops; }
  double bytes_since(const Mark& start) const { return bytes_ - start.bytes; }
  /// Appends `event` as what lasted from `start` until now.
  void close(TraceEvent event, const Mark& start);
  /// An op's forward ends here. It began where the last scope began or ended, or the last op did: ops come one after
  /// another, so none has to say where it begins. `bytes` count unless products in it have counted theirs.
  void close_op(TraceEvent event, double bytes);

 private:
  friend class TraceScope;
  std::vector<TraceEvent> events_;
  void (*wait_)() noexcept;  ///< null: there is nothing to wait for
  std::int64_t origin_;
  std::int64_t last_ = 0;
  double flops_ = 0, bytes_ = 0;
  Mark boundary_;  ///< where the next op's forward begins
  TraceRecorder* outer_;
};

/// While one lives, what is computed is inside an event of this name.
class TraceScope {
 public:
  /// A part of a step.
  explicit TraceScope(std::string_view part) : TraceScope(TraceEvent{.name = part}) {}
  explicit TraceScope(const TraceEvent& event);
  ~TraceScope();
  TraceScope(const TraceScope&) = delete;
  TraceScope& operator=(const TraceScope&) = delete;

  /// These bytes count unless products in the scope have counted theirs. Only while it records.
  void count_bytes(double bytes);

 private:
  TraceRecorder* recorder_;
  TraceEvent event_;
  TraceRecorder::Mark start_;
};

/// Opened by the kernels of products: counts 2 m n k FLOPs, and is an event of the trace. `kernel` is a literal;
/// `touched` are the operands and results, an operand first.
class ProductScope {
 public:
  ProductScope(Device device, std::string_view kernel, std::int64_t m, std::int64_t n, std::int64_t k,
               std::initializer_list<ConstView> touched);
  ~ProductScope();
  ProductScope(const ProductScope&) = delete;
  ProductScope& operator=(const ProductScope&) = delete;

 private:
  TraceRecorder* recorder_;
  TraceEvent event_;
  TraceRecorder::Mark start_;
};

/// For each event the index of the smallest one around it, -1 for none.
std::vector<std::ptrdiff_t> enclosing(std::span<const TraceEvent> events);

}  // namespace osteon
