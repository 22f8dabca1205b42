#include "autograd/op_costs.hpp"

#include <algorithm>
#include <utility>

#include "backends/memory.hpp"

namespace osteon {
namespace {
thread_local std::string_view current_module;
thread_local OpCosts* following = nullptr;
}  // namespace

InModule::InModule(std::string_view name) : before_(std::exchange(current_module, name)) {}
InModule::~InModule() { current_module = before_; }
std::string_view InModule::name() { return current_module; }

OpCosts::OpCosts(Device device)
    : device_(device),
      seen_(flop_count(device)),
      highest_(memory_report(device).peak.total()),
      outer_(std::exchange(following, this)) {}
OpCosts::~OpCosts() { following = outer_; }

bool OpCosts::follow() { return following != nullptr; }

void OpCosts::note(std::string_view op, std::string_view module) {
  if (following != nullptr)
    following->add(op, module);
}

void OpCosts::add(std::string_view op, std::string_view module) {
  const FlopCount now = flop_count(device_);
  const double forward = now.total(Pass::forward) - seen_.total(Pass::forward);
  const double backward = now.total(Pass::backward) - seen_.total(Pass::backward);
  seen_ = now;
  auto cost = std::find_if(costs_.begin(), costs_.end(), [&](const OpCost& one) { return one.op == op; });
  if (cost == costs_.end())
    cost = costs_.insert(costs_.end(), OpCost{std::string(op)});
  cost->forward += forward;
  cost->backward += backward;
  if (const std::int64_t peak = memory_report(device_).peak.total(); peak > highest_) {
    highest_ = peak;
    peak_ = OpPlace{CountAs::pass(), std::string(op), std::string(module)};
  }
}

}  // namespace osteon
