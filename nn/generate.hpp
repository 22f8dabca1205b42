#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <vector>

#include "nn/language_model.hpp"

namespace osteon::nn {

struct GenerateOptions {
  std::int64_t max_new_tokens = 128;
  double temperature = 0.0;  ///< 0 = greedy: the largest logit, the lower id where two are equal
  std::int64_t top_k = 0;    ///< sample among the k largest; 0 = all
  double top_p = 1.0;        ///< and among the fewest whose probabilities reach p (at least one)
  std::uint64_t seed = 0;
  std::vector<std::int32_t> stop_ids = {};  ///< generation ends behind one of these
};

/// Continues a prompt token by token, by the model's decoder. Returns the new ids, a stop id included. `on_token` sees
/// each as it comes and ends the generation by returning false. Filters are applied in transformers' order:
/// temperature, top-k, top-p. ConfigError for options out of range, an empty prompt or more positions than the model
/// has; IndexError for an id outside the vocabulary.
std::vector<std::int32_t> generate(const LanguageModel& model, std::span<const std::int32_t> prompt,
                                   const GenerateOptions& options,
                                   const std::function<bool(std::int32_t)>& on_token = {});

/// Picks an id from logits by the options; `u` in [0, 1) decides where there is a choice. NumericError for a NaN or an
/// infinity among them.
std::int32_t choose_token(std::span<const double> logits, const GenerateOptions& options, double u);

}  // namespace osteon::nn
