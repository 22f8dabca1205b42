#include "experiments/measure/profile.hpp"

#include <algorithm>
#include <array>

namespace osteon::experiments {
namespace {

constexpr std::string_view kBase = "base products", kAdapter = "adapter products", kAttention = "attention",
                           kRecurrence = "recurrence", kHead = "head and loss",
                           kNorms = "embedding, norms, rotary, SwiGLU, adds", kAdapterOther = "adapter's elementwise",
                           kAround = "around the products", kGradientNorm = "gradient norm", kOptimizer = "optimizer",
                           kData = "data", kRest = "rest";
constexpr std::array kParts = {kBase,         kAdapter, kAttention,    kRecurrence, kHead, kNorms,
                               kAdapterOther, kAround,  kGradientNorm, kOptimizer,  kData, kRest};

/// Ops that only adapters have: what they do beside their products is the method's.
constexpr std::array<std::string_view, 9> kAdapterOps = {"bat_linear", "block_linear",   "block_sum",
                                                         "block_tile", "dora_linear",    "dora_scale",
                                                         "dropout",    "dropout_linear", "scale_columns"};

std::string_view part_of(Work work) {
  constexpr std::array<std::string_view, kWorks.size()> parts = {kBase, kAdapter, kAttention, kRecurrence, kHead};
  return parts[static_cast<std::size_t>(work)];
}

/// Where an op's time beside its products belongs.
std::string_view part_of(std::string_view op, bool products) {
  if (op == "attention")
    return kAttention;
  if (op == "wkv6" || op == "wkv7")
    return kRecurrence;
  if (op == "cross_entropy" || op == "linear_cross_entropy")
    return kHead;
  if (op == "checkpoint")
    return kRest;
  if (std::find(kAdapterOps.begin(), kAdapterOps.end(), op) != kAdapterOps.end())
    return kAdapterOther;
  return products ? kAround : kNorms;
}

template <class T>
void sort_by_time(std::vector<T>& all) {
  std::stable_sort(all.begin(), all.end(), [](const T& a, const T& b) { return a.cost.seconds > b.cost.seconds; });
}

}  // namespace

void ProfileCost::add(const TraceEvent& event) {
  ++calls;
  seconds += event.seconds();
  flops += event.flops;
  bytes += event.bytes;
}

void Profiler::add_step(std::span<const TraceEvent> events) {
  const std::vector<std::ptrdiff_t> parents = enclosing(events);
  const auto key_of = [](const TraceEvent& op) { return Key(op.name, op.phase); };
  for (std::size_t i = 0; i < events.size(); ++i) {
    const TraceEvent& event = events[i];
    const TraceEvent* const around = parents[i] < 0 ? nullptr : &events[static_cast<std::size_t>(parents[i])];
    const bool in_op = around != nullptr && around->kind == TraceEvent::Kind::op;
    if (event.kind == TraceEvent::Kind::part) {
      if (around == nullptr) {
        ++steps_;
        seconds_ += event.seconds();
      }
      parts_[event.name].add(event);
      continue;
    }
    if (in_op)
      ops_[key_of(*around)].own_seconds -= event.seconds();
    if (event.kind == TraceEvent::Kind::op) {
      Op& op = ops_[key_of(event)];
      op.dtype = event.dtype;
      op.cost.add(event);
      op.own_seconds += event.seconds();
    } else if (in_op) {
      ops_[key_of(*around)].products[{event.name, event.work, event.dtype, event.product}].add(event);
    }
  }
}

Profile Profiler::result(std::span<const SavedTensor> saved) const {
  Profile profile;
  profile.steps = steps_;
  profile.seconds = seconds_;
  for (const std::string_view name : kParts)
    profile.parts.push_back({std::string(name)});
  const auto part = [&](std::string_view name) -> ProfilePart& {
    return *std::find_if(profile.parts.begin(), profile.parts.end(), [&](const auto& p) { return p.name == name; });
  };
  for (const auto& [key, op] : ops_) {
    const auto& [name, phase] = key;
    ProfileOp line{std::string(name), phase, op.dtype, op.cost, op.own_seconds, 0, {}};
    if (phase == Phase::forward)
      for (const SavedTensor& tensor : saved)
        if (tensor.op == name)
          line.saved_bytes += tensor.bytes * tensor.count;
    double own_flops = op.cost.flops;
    for (const auto& [product, cost] : op.products) {
      const auto& [kernel, work, operands, shape] = product;
      line.products.push_back({std::string(kernel), work, operands, shape, cost});
      part(part_of(work)).seconds += cost.seconds;
      part(part_of(work)).flops += cost.flops;
      own_flops -= cost.flops;
    }
    ProfilePart& own = part(part_of(name, !op.products.empty()));
    own.seconds += op.own_seconds;
    own.flops += std::max(own_flops, 0.0);
    sort_by_time(line.products);
    if (!line.products.empty())
      line.dtype = line.products.front().dtype;
    profile.ops.push_back(std::move(line));
  }
  sort_by_time(profile.ops);
  for (const std::string_view name : {kGradientNorm, kOptimizer, kData})
    if (const auto found = parts_.find(name); found != parts_.end())
      part(name) = {std::string(name), found->second.seconds, found->second.flops};
  double rest = seconds_;
  for (const ProfilePart& line : profile.parts)
    rest -= line.seconds;
  part(kRest).seconds += rest;
  return profile;
}

}  // namespace osteon::experiments
