#include "autograd/node.hpp"

#include <algorithm>
#include <unordered_set>
#include <utility>

#include "autograd/audit.hpp"
#include "autograd/op_costs.hpp"
#include "autograd/shared_step.hpp"
#include "autograd/watchdog.hpp"
#include "backends/kernels/elementwise.hpp"
#include "backends/kernels/reduce.hpp"
#include "backends/trace.hpp"

namespace osteon {
namespace {

thread_local SavedAudit* active_audit = nullptr;
thread_local std::vector<std::pair<std::string, Tensor>> saved_since_last_record;
thread_local std::int64_t saved_bytes_since_last_record = 0;  // counted for a trace
thread_local std::vector<std::shared_ptr<Recipe>> recipes_since_last_record;
thread_local bool watching = false;
thread_local std::uint64_t next_sequence = 0;
thread_local FirstRun* first_run = nullptr;

bool is_parameter(const Tensor& x) {
  return x.storage().category() == Category::weights || x.storage().category() == Category::adapter;
}

/// What an op without products reads and writes. Of a parameter it reads no more than it writes: an embedding reads
/// some rows of its table. The same elements under another shape cost nothing.
std::int64_t touched_bytes(const Tensor& y, std::initializer_list<Tensor> inputs) {
  std::int64_t bytes = y.bytes();
  for (const Tensor& x : inputs) {
    if (!x.defined())
      continue;
    if (x.storage().id() == y.storage().id())
      return 0;
    bytes += is_parameter(x) ? std::min(x.bytes(), y.bytes()) : x.bytes();
  }
  return bytes;
}

/// Ends the op's forward in the trace; returns the bytes it saved.
std::int64_t trace_forward(std::string_view op, const Tensor& y, std::initializer_list<Tensor> inputs) {
  if (!tracing() || y.device() == Device::meta)
    return 0;
  const std::int64_t saved = std::exchange(saved_bytes_since_last_record, 0);
  const Phase phase = CountAs::pass() == Pass::forward ? Phase::forward : Phase::recomputed;
  detail::trace_recorder->close_op({.name = op, .phase = phase, .dtype = y.dtype(), .saved_bytes = saved},
                                   static_cast<double>(touched_bytes(y, inputs)));
  return saved;
}

bool is_leaf(const GradState& state) { return !state.intermediate; }

Tensor new_gradient(const GradState& state) {
  return is_leaf(state) ? empty(state.shape, accumulator(state.dtype), state.device, Category::gradient)
                        : empty(state.shape, state.dtype, state.device);
}

/// Where the next part of a gradient goes: over what is there, or into a fresh buffer.
Sink sink_of(GradState& state) {
  const bool add = state.gradient.defined();
  if (!add) {
    state.gradient = new_gradient(state);
  } else if (!is_leaf(state) && !state.gradient.storage().unique()) {
    // The buffer was passed on by handle and somebody else still reads it.
    state.gradient = converted(state.gradient, state.gradient.dtype());
  }
  return {state.gradient.mut(), add};
}

void forget_saved() {
  saved_since_last_record.clear();
  recipes_since_last_record.clear();
}

}  // namespace

Saved::Saved(const Tensor& x) : recipe_(x.recipe()), shape_(x.shape()) {
  if (recipe_ == nullptr)
    tensor_ = x.detach();
}

Saved save(std::string_view name, const Tensor& x) {
  const Saved saved(x);
  if (!grad_enabled())
    return saved;
  if (auto recipe = x.recipe(); recipe != nullptr) {  // nothing is kept beyond what others keep
    recipes_since_last_record.push_back(std::move(recipe));
    return saved;
  }
  x.mark_kept();
  if (active_audit != nullptr)
    saved_since_last_record.emplace_back(name, x.detach());
  if (tracing() && !is_parameter(x))
    saved_bytes_since_last_record += x.bytes();
  return saved;
}

void audit_recorded(std::string_view op) {
  if (active_audit == nullptr)
    return;
  for (auto& [name, x] : saved_since_last_record) {
    if (is_parameter(x))
      continue;
    const std::uint64_t id = x.storage().id();
    auto& records = active_audit->records_;
    const bool first = std::none_of(records.begin(), records.end(), [&](const auto& r) { return r.storage == id; });
    records.push_back({std::string(op), name, x.shape(), x.dtype(), x.bytes(), first, id});
  }
  saved_since_last_record.clear();
}

AuditPause::AuditPause() : paused_(active_audit) { active_audit = nullptr; }
AuditPause::~AuditPause() { active_audit = paused_; }

SavedAudit::SavedAudit() : outer_(active_audit) { active_audit = this; }
SavedAudit::~SavedAudit() {
  active_audit = outer_;
  saved_since_last_record.clear();
}

std::int64_t SavedAudit::bytes() const {
  std::int64_t total = 0;
  for (const SavedRecord& record : records_)
    if (record.first)
      total += record.bytes;
  return total;
}

Watchdog::Watchdog() : before_(watching) { watching = true; }
Watchdog::~Watchdog() { watching = before_; }

bool watchdog_lives() { return watching; }

void watch(std::string_view op, std::string_view where, const Tensor& x) {
  if (!watching || !x.defined() || !is_floating(x.dtype()) || x.device() == Device::meta)
    return;
  const Tensor count = empty({}, DType::i32, x.device(), Category::workspace);
  on_device(x.device(), [&](auto dev) { kernels::count_nonfinite(dev, x.view(), count.mut()); });
  const auto bad = static_cast<std::int64_t>(count.item());
  check<NumericError>(bad == 0, op, " (", where, "): ", bad, " of ", x.numel(), " elements of ", x.shape(),
                      " are NaN or infinite; the first op with such a result");
}

Tensor record_always(std::string_view op, const Tensor& y, std::initializer_list<Tensor> inputs, Backward backward) {
  const std::int64_t saved_bytes = trace_forward(op, y, inputs);
  watch(op, "forward", y);
  OpCosts::note(op, InModule::name());
  if (!grad_enabled()) {
    forget_saved();
    return y;
  }
  audit_recorded(op);
  auto node = std::make_shared<Node>(Node{op, ++next_sequence, {}, std::move(backward)});
  if (OpCosts::follow())
    node->module = InModule::name();
  for (const Tensor& input : inputs)
    node->inputs.push_back(input.requires_grad() ? input.grad_state() : nullptr);  // as it is now: it decided the saves
  node->saved_bytes = saved_bytes;
  node->recipes = std::exchange(recipes_since_last_record, {});
  auto state = std::make_shared<GradState>();
  state->requires_grad = true;
  state->intermediate = true;
  state->shape = y.shape();
  state->dtype = y.dtype();
  state->device = y.device();
  state->producer = std::move(node);
  return record_output(y, std::move(state));
}

Tensor record(std::string_view op, const Tensor& y, std::initializer_list<Tensor> inputs, Backward backward) {
  if (std::any_of(inputs.begin(), inputs.end(), [](const Tensor& x) { return wants_grad(x); }))
    return record_always(op, y, inputs, std::move(backward));
  trace_forward(op, y, inputs);
  watch(op, "forward", y);
  OpCosts::note(op, InModule::name());
  forget_saved();
  if (!grad_enabled() && std::any_of(inputs.begin(), inputs.end(), [](const Tensor& x) { return x.requires_grad(); }))
    FirstRun::note_unrecorded();
  return y;
}

/// Asked for each place once; parts that were kept apart may come again.
Sink Grads::place(GradState& state) {
  if (std::find(handed_out_.begin(), handed_out_.end(), &state) == handed_out_.end()) {
    handed_out_.push_back(&state);
    if (SharedStep* const step = SharedStep::active(); step != nullptr && is_leaf(state))
      step->before_write(state);
  }
  return sink_of(state);
}

bool Grads::wanted(std::size_t i) const { return inputs_[i] != nullptr && inputs_[i]->requires_grad; }

Sink Grads::operator[](std::size_t i) {
  if (!wanted(i))
    return {};
  GradState& state = *inputs_[i];
  if (std::find(handed_out_.begin(), handed_out_.end(), &state) != handed_out_.end()) {
    // The op took the same tensor twice: a kernel must not get one buffer as two outputs.
    apart_.emplace_back(i, new_gradient(state));
    return {apart_.back().second.mut(), false};
  }
  return place(state);
}

Sink Grads::narrow(std::size_t i) {
  if (!wanted(i) || !is_leaf(*inputs_[i]) || inputs_[i]->dtype == accumulator(inputs_[i]->dtype))
    return (*this)[i];
  const GradState& state = *inputs_[i];
  apart_.emplace_back(i, empty(state.shape, state.dtype, state.device, Category::workspace));
  return {apart_.back().second.mut(), false};
}

void Grads::pass(std::size_t i, const Tensor& dy) {
  if (!wanted(i))
    return;
  GradState& state = *inputs_[i];
  if (!is_leaf(state) && !state.gradient.defined() && dy.dtype() == state.dtype) {
    state.gradient = dy.alias(state.shape);
    handed_out_.push_back(&state);
    return;
  }
  const Sink sink = (*this)[i];
  on_device(dy.device(), [&](auto dev) { kernels::scale(dev, dy.view().reshape(state.shape), 1.0, sink); });
}

Tensor Grads::take(std::size_t i) {
  return wanted(i) && !is_leaf(*inputs_[i]) ? std::exchange(inputs_[i]->gradient, {}) : Tensor{};
}

void Grads::give(std::size_t i, const Tensor& gradient, const Tensor& dy) {
  if (!wanted(i))
    return;
  GradState& state = *inputs_[i];
  const bool first = is_leaf(state) && !state.gradient.defined();
  if (first) {
    state.gradient = gradient;
    handed_out_.push_back(&state);
  }
  const Sink sink = first ? Sink{gradient.mut(), false} : (*this)[i];
  on_device(dy.device(), [&](auto dev) {
    if (const double factor = dy.item(); !first || factor != 1.0)
      kernels::scale(dev, gradient.view(), factor, sink);
  });
}

void Grads::finish() {
  for (const auto& part : apart_) {
    const Tensor& gradient = part.second;  // clang captures no structured binding
    const Sink sink = place(*inputs_[part.first]);
    on_device(gradient.device(), [&](auto dev) { kernels::scale(dev, gradient.view(), 1.0, sink); });
  }
  apart_.clear();
  if (SharedStep* const step = SharedStep::active())
    for (GradState* const state : handed_out_)
      if (is_leaf(*state))
        step->after_write(*state);
}

FirstRun::FirstRun() : outer_(first_run) { first_run = this; }
FirstRun::~FirstRun() { first_run = outer_; }

void FirstRun::note_unrecorded() {
  for (FirstRun* run = first_run; run != nullptr; run = run->outer_)
    run->reaches_parameters_ = true;
}

bool training() { return grad_enabled() || first_run != nullptr; }

GradState::~GradState() {
  std::vector<std::shared_ptr<Node>> nodes;
  if (producer != nullptr)
    nodes.push_back(std::move(producer));
  while (!nodes.empty()) {
    const std::shared_ptr<Node> node = std::move(nodes.back());
    nodes.pop_back();
    for (const auto& input : node->inputs)
      if (node.use_count() == 1 && input.use_count() == 1 && input->producer != nullptr)
        nodes.push_back(std::move(input->producer));
  }
}

}  // namespace osteon
