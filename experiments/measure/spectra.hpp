#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "experiments/training/model_loading.hpp"

/// What training did to a weight, as its singular values: `--spectra`, and the report's figure.
namespace osteon::experiments {

inline constexpr std::int64_t kSpectrumValues = 64;

/// The singular values of one linear's change, W' - W.
struct Spectrum {
  std::string module;               ///< "model.layers.0.self_attn.q_proj"
  double norm = 0;                  ///< Frobenius norm of the change
  double stable_rank = 0;           ///< norm^2 over the square of the largest value; 0 where nothing changed
  std::vector<double> values = {};  ///< the largest kSpectrumValues, the largest first

  /// "q_proj": what the modules of one place in the layers have in common.
  std::string kind() const { return module.substr(module.rfind('.') + 1); }
};

/// The spectrum of `change` [out_features, in_features], f32 on the CPU. Exact where the smaller side is at most
/// 2 * kSpectrumValues; beyond, by subspace iteration on so many columns (Halko et al., arXiv:0909.4061, alg. 4.4).
Spectrum spectrum_of(const std::string& module, const Tensor& change);

/// Remembers how q_proj and down_proj of the first, middle and last layer start (where a run trains neither, the first
/// kind of linear that it trains). What it keeps is counted by nobody: it is not the method's.
class SpectrumProbe {
 public:
  explicit SpectrumProbe(LoadedModel& loaded);
  /// The change since then, weight by weight.
  std::vector<Spectrum> spectra() const;

 private:
  struct Weight {
    nn::Linear* linear;
    const peft::Adapter* adapter;  ///< null where the base's own weight trains
    std::vector<float> start;      ///< empty = zeros
  };
  std::vector<Weight> weights_;
};

/// `folder`/spectra.json, a line a weight; written atomically. Reading: FileError for malformed JSON, a missing module,
/// and a value of the wrong type.
void write_spectra(const std::filesystem::path& folder, const std::vector<Spectrum>& spectra);
std::vector<Spectrum> read_spectra(const std::filesystem::path& folder);

}  // namespace osteon::experiments
