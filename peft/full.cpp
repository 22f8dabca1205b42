#include "peft/method_list.hpp"

// Full fine-tuning: every parameter of the base trains, dW = g^T x, saves x of each linear.

namespace osteon::peft {
namespace {

class Full final : public Method {
 public:
  std::string name() const override { return "full"; }
  std::string summary() const override { return "every weight of the model"; }
  std::unique_ptr<Adapter> make(const AdapterSite& /*site*/) const override { return nullptr; }
  bool adapts_linears() const override { return false; }
  bool trains_base(const std::string& /*parameter*/) const override { return true; }
};

}  // namespace

std::unique_ptr<Method> full_method() { return std::make_unique<Full>(); }

}  // namespace osteon::peft
