#include "backends/trace.hpp"

#include <algorithm>
#include <chrono>

namespace osteon {
namespace {

void (*gpu_wait)() noexcept = nullptr;

std::int64_t clock_now() {
  const auto since = std::chrono::steady_clock::now().time_since_epoch();
  return std::chrono::duration_cast<std::chrono::nanoseconds>(since).count();
}

}  // namespace

constinit thread_local TraceRecorder* detail::trace_recorder = nullptr;

std::string_view name_of(Phase phase) {
  constexpr std::array<std::string_view, 3> names = {"forward", "backward", "recomputed"};
  return names[static_cast<std::size_t>(phase)];
}

void set_trace_wait(void (*wait)() noexcept) { gpu_wait = wait; }

TraceRecorder::TraceRecorder()
    : wait_(default_device() == Device::cuda ? gpu_wait : nullptr),
      origin_(clock_now()),
      outer_(detail::trace_recorder) {
  detail::trace_recorder = this;
}
TraceRecorder::~TraceRecorder() { detail::trace_recorder = outer_; }

TraceRecorder::Mark TraceRecorder::mark() {
  if (wait_ != nullptr)
    wait_();
  last_ = std::max(last_ + 1, clock_now() - origin_);  // no two alike: what encloses what is never open
  return {last_, flops_, bytes_};
}

void TraceRecorder::close(TraceEvent event, const Mark& start) {
  const Mark now = mark();
  event.start = start.at;
  event.end = now.at;
  event.flops = flops_since(start);
  event.bytes = bytes_since(start);
  events_.push_back(event);
}

void TraceRecorder::close_op(TraceEvent event, double bytes) {
  if (bytes_since(boundary_) == 0)
    count_bytes(bytes);
  event.kind = TraceEvent::Kind::op;
  close(event, boundary_);
  boundary_ = mark();
}

TraceScope::TraceScope(const TraceEvent& event) : recorder_(detail::trace_recorder), event_(event) {
  if (recorder_ == nullptr)
    return;
  start_ = recorder_->mark();
  recorder_->boundary_ = recorder_->mark();
}

TraceScope::~TraceScope() {
  if (recorder_ == nullptr)
    return;
  recorder_->close(event_, start_);
  recorder_->boundary_ = recorder_->mark();
}

void TraceScope::count_bytes(double bytes) {
  if (recorder_ != nullptr && recorder_->bytes_since(start_) == 0)
    recorder_->count_bytes(bytes);
}

ProductScope::ProductScope(Device device, std::string_view kernel, std::int64_t m, std::int64_t n, std::int64_t k,
                           std::initializer_list<ConstView> touched)
    : recorder_(device == Device::meta ? nullptr : detail::trace_recorder) {
  if (recorder_ != nullptr) {
    event_ = {.kind = TraceEvent::Kind::product,
              .name = kernel,
              .phase = CountAs::pass() == Pass::forward ? Phase::forward : Phase::backward,
              .dtype = touched.begin()->dtype,
              .work = CountAs::work(),
              .product = {m, n, k}};
    start_ = recorder_->mark();
    for (const ConstView& view : touched)
      recorder_->count_bytes(static_cast<double>(view.numel() * size_of(view.dtype)));
  }
  count_flops(device, 2.0 * static_cast<double>(m) * static_cast<double>(n) * static_cast<double>(k));
}

ProductScope::~ProductScope() {
  if (recorder_ != nullptr)
    recorder_->close(event_, start_);
}

std::vector<std::ptrdiff_t> enclosing(std::span<const TraceEvent> events) {
  std::vector<std::ptrdiff_t> parents(events.size(), -1);
  std::vector<std::size_t> open;  // ended, and not yet inside anything
  for (std::size_t i = 0; i < events.size(); ++i) {
    for (; !open.empty() && events[open.back()].start > events[i].start; open.pop_back())
      parents[open.back()] = static_cast<std::ptrdiff_t>(i);
    open.push_back(i);
  }
  return parents;
}

}  // namespace osteon
