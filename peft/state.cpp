#include <nlohmann/json.hpp>

#include "nn/rwkv.hpp"
#include "peft/method_list.hpp"

// State tuning (RWKV-PEFT's `--train_type state`): the weights stay, and each layer's recurrence begins with a trained
// state S_0 [heads, n, n] in place of 0, the same for every text: what a prompt that is read before each text could
// leave behind. It costs a text nothing, and its gradient is what the recurrence's backward has at the first token.

namespace osteon::peft {
namespace {

class State final : public Method {
 public:
  std::string name() const override { return "state"; }
  std::string summary() const override { return "the state that a text begins with, of RWKV (RWKV-PEFT)"; }
  std::unique_ptr<Adapter> make(const AdapterSite& /*site*/) const override { return nullptr; }
  bool adapts_linears() const override { return false; }
  bool keeps_base() const override { return true; }
  bool trains_copy(const std::string& parameter) const override { return nn::is_time_state(parameter); }

  void prepare(nn::LanguageModel& model) const override {
    auto* const rwkv = dynamic_cast<nn::Rwkv*>(&model);
    osteon::check<ConfigError>(rwkv != nullptr, "state: expected an RWKV model, whose texts begin with a state");
    rwkv->add_time_states();
  }

  void write(const AdapterConfig& /*config*/, nlohmann::json& file) const override { file["peft_type"] = name(); }
  bool read(const nlohmann::json& file, AdapterConfig& /*config*/) const override {
    return file.value("peft_type", "") == name();
  }
};

}  // namespace

std::unique_ptr<Method> state_method() { return std::make_unique<State>(); }

}  // namespace osteon::peft
