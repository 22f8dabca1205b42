#include "peft/method_list.hpp"

// BitFit, arXiv:2106.10199: only the biases train. Llama has none unless attention_bias or mlp_bias is set.

namespace osteon::peft {
namespace {

class BitFit final : public Method {
 public:
  std::string name() const override { return "bitfit"; }
  std::string summary() const override { return "the biases alone (arXiv:2106.10199)"; }
  std::unique_ptr<Adapter> make(const AdapterSite& /*site*/) const override { return nullptr; }
  bool adapts_linears() const override { return false; }
  bool trains_base(const std::string& parameter) const override { return parameter.ends_with(".bias"); }
};

}  // namespace

std::unique_ptr<Method> bitfit_method() { return std::make_unique<BitFit>(); }

}  // namespace osteon::peft
