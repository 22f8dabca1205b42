#pragma once

#include <array>
#include <cstdint>
#include <filesystem>
#include <map>
#include <nlohmann/json_fwd.hpp>
#include <span>
#include <string>
#include <string_view>
#include <tuple>
#include <utility>
#include <vector>

#include "backends/machine.hpp"
#include "backends/trace.hpp"
#include "experiments/training/record.hpp"

/// Where the time of training steps goes: `--profile`. How to read it is in docs/profiling.md.
namespace osteon::experiments {

/// Calls of one kind, summed over the profiled steps.
struct ProfileCost {
  std::int64_t calls = 0;
  double seconds = 0, flops = 0, bytes = 0;

  void add(const TraceEvent& event);
};

/// Products of one kernel, shape and dtype inside an op.
struct ProfileProduct {
  std::string kernel;
  Work work = Work::base;
  DType dtype = DType::f32;
  std::array<std::int64_t, 3> shape{};  ///< m, n, k
  ProfileCost cost;
};

/// An op in one phase.
struct ProfileOp {
  std::string name;
  Phase phase = Phase::forward;
  DType dtype = DType::f32;              ///< that it computes in: of its longest product, else of its result
  ProfileCost cost;                      ///< everything inside included
  double own_seconds = 0;                ///< beside its products
  std::int64_t saved_bytes = 0;          ///< that it holds for backward, each storage at the op that saved it first
  std::vector<ProfileProduct> products;  ///< the longest first
};

/// One line of the split of a step; the seconds of all lines add up to the steps'.
struct ProfilePart {
  std::string name;
  double seconds = 0, flops = 0;
};

struct Profile {
  std::int64_t steps = 0;
  double seconds = 0;  ///< of all of them
  std::vector<ProfileOp> ops;
  std::vector<ProfilePart> parts;
  MachinePeaks machine;  ///< zeros until measured
};

/// Collects steps.
class Profiler {
 public:
  /// A step's events; the part "step" encloses them.
  void add_step(std::span<const TraceEvent> events);
  /// The longest op first. `saved` is the audit of one batch's forward pass.
  Profile result(std::span<const SavedTensor> saved) const;

 private:
  using Key = std::pair<std::string_view, Phase>;
  using ProductKey = std::tuple<std::string_view, Work, DType, std::array<std::int64_t, 3>>;
  struct Op {
    DType dtype = DType::f32;
    ProfileCost cost;
    double own_seconds = 0;
    std::map<ProductKey, ProfileCost> products;
  };

  std::int64_t steps_ = 0;
  double seconds_ = 0;
  std::map<Key, Op> ops_;
  std::map<std::string_view, ProfileCost> parts_;
};

/// The tables of `--profile`: per step.
std::string profile_text(const Profile& profile);
/// The same numbers as one JSON object, per step.
nlohmann::ordered_json to_json(const Profile& profile);

/// `folder`/profile.json: to_json's object; written atomically.
void write_profile(const std::filesystem::path& folder, const Profile& profile);
/// The split of a step that it holds, per step and in its order. FileError naming the file and what is wrong.
std::vector<ProfilePart> read_profile_parts(const std::filesystem::path& folder);

}  // namespace osteon::experiments
