#pragma once

#include <filesystem>
#include <optional>

#include "backends/dtype.hpp"
#include "experiments/config/config.hpp"
#include "experiments/training/model_loading.hpp"

namespace osteon::experiments {

/// A new adapter's factors as they were made, where its method took them out of the base (PiSSA, OLoRA). They wait in
/// a file of the run folder while it trains: in memory they would count as the method's. An adapter that was read from
/// a folder belongs to a residual base already and has none.
class StartingFactors {
 public:
  StartingFactors(LoadedModel& loaded, const RunConfig& config);
  ~StartingFactors();
  StartingFactors(const StartingFactors&) = delete;
  StartingFactors& operator=(const StartingFactors&) = delete;

  bool exist() const { return !file_.empty(); }
  NamedTensors read(LoadedModel& loaded) const;

 private:
  std::filesystem::path file_;
};

/// adapter/, or model/ where the base itself was trained. An adapter whose base is a residual is written as the LoRA of
/// twice the rank that is equal on the original base: with that base its own factors would mean something else.
/// With config.rwkv_peft also rwkv-peft/adapter.pth and, of such an adapter, init_pissa.pth beside it.
void save_result(LoadedModel& loaded, const RunConfig& config, const StartingFactors& start,
                 const std::filesystem::path& folder, std::optional<DType> dtype);

}  // namespace osteon::experiments
