#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "backends/device.hpp"
#include "backends/flops.hpp"

namespace osteon {

/// FLOPs of an op's products over all its calls, 2 a multiply-add.
struct OpCost {
  std::string op;
  double forward = 0, backward = 0;
  bool operator==(const OpCost&) const = default;
};

/// An op at work. What a backward runs again (checkpointing) is part of the backward.
struct OpPlace {
  Pass pass = Pass::forward;
  std::string op, module;  ///< module: "model.layers.3.mlp.down_proj", empty outside of all
  bool operator==(const OpPlace&) const = default;
};

/// While one lives, ops of this thread are at work in the module of that name, which must outlive it.
class InModule {
 public:
  explicit InModule(std::string_view name);
  explicit InModule(std::string&&) = delete;  ///< the graph refers to the name
  ~InModule();
  InModule(const InModule&) = delete;
  InModule& operator=(const InModule&) = delete;

  static std::string_view name();

 private:
  std::string_view before_;
};

/// While one lives, follows what this thread's ops ask of a device. What happens between two ops belongs to the later.
class OpCosts {
 public:
  explicit OpCosts(Device device);
  ~OpCosts();
  OpCosts(const OpCosts&) = delete;
  OpCosts& operator=(const OpCosts&) = delete;

  /// In the order of first calls.
  const std::vector<OpCost>& costs() const { return costs_; }
  /// What was at work when the device's memory was highest; nothing if it had been higher before this lived.
  const std::optional<OpPlace>& peak() const { return peak_; }

  /// Whether one lives.
  static bool follow();
  /// Told at the end of each op and each op's backward, and of work that is no op.
  static void note(std::string_view op, std::string_view module);

 private:
  void add(std::string_view op, std::string_view module);

  Device device_;
  std::vector<OpCost> costs_;
  FlopCount seen_;
  std::int64_t highest_;
  std::optional<OpPlace> peak_;
  OpCosts* outer_;
};

}  // namespace osteon
