#include "nn/generate.hpp"

#include <algorithm>
#include <cmath>
#include <numeric>

namespace osteon::nn {
namespace {

void check_options(const GenerateOptions& options) {
  check<ConfigError>(options.max_new_tokens >= 0, "max_new_tokens: expected at least 0, got ", options.max_new_tokens);
  check<ConfigError>(options.temperature >= 0.0 && std::isfinite(options.temperature),
                     "temperature: expected a number of at least 0, got ", options.temperature);
  check<ConfigError>(options.top_k >= 0, "top_k: expected at least 0, got ", options.top_k);
  check<ConfigError>(options.top_p > 0.0 && options.top_p <= 1.0, "top_p: expected a number in (0, 1], got ",
                     options.top_p);
}

}  // namespace

std::int32_t choose_token(std::span<const double> logits, const GenerateOptions& options, double u) {
  for (const double logit : logits)
    check<NumericError>(std::isfinite(logit), "generate: logits: expected finite numbers, got ", logit);
  if (options.temperature == 0.0)
    return static_cast<std::int32_t>(std::max_element(logits.begin(), logits.end()) - logits.begin());
  std::vector<std::int32_t> order(logits.size());
  std::iota(order.begin(), order.end(), 0);
  std::stable_sort(order.begin(), order.end(), [&](std::int32_t a, std::int32_t b) {
    return logits[static_cast<std::size_t>(a)] > logits[static_cast<std::size_t>(b)];
  });
  if (options.top_k > 0 && options.top_k < static_cast<std::int64_t>(order.size()))
    order.resize(static_cast<std::size_t>(options.top_k));
  const double top = logits[static_cast<std::size_t>(order[0])];
  std::vector<double> weights;
  double total = 0.0;
  for (const std::int32_t id : order) {
    weights.push_back(std::exp((logits[static_cast<std::size_t>(id)] - top) / options.temperature));
    total += weights.back();
  }
  // The fewest tokens that reach top_p of what is left.
  double kept = 0.0;
  std::size_t count = 0;
  while (count < weights.size() && (count == 0 || kept < options.top_p * total))
    kept += weights[count++];
  double target = u * kept;
  for (std::size_t i = 0; i + 1 < count; ++i) {
    target -= weights[i];
    if (target < 0.0)
      return order[i];
  }
  return order[count - 1];
}

std::vector<std::int32_t> generate(const LanguageModel& model, std::span<const std::int32_t> prompt,
                                   const GenerateOptions& options, const std::function<bool(std::int32_t)>& on_token) {
  check_options(options);
  check<ConfigError>(!prompt.empty(), "generate: expected a prompt of at least one token");
  const auto length = static_cast<std::int64_t>(prompt.size());
  check<ConfigError>(options.max_new_tokens <= model.longest_row() - length, "generate: expected at most ",
                     model.longest_row(), " positions, got ", length, " of the prompt and ", options.max_new_tokens,
                     " new ones");
  const std::unique_ptr<Decoder> decoder = model.decoder(length + options.max_new_tokens);
  std::vector<std::int32_t> made;
  std::vector<std::int32_t> read(prompt.begin(), prompt.end());
  while (static_cast<std::int64_t>(made.size()) < options.max_new_tokens) {
    const Tensor logits = decoder->read(read);
    const RandomKey key = {options.seed, 2};
    const double u = static_cast<double>(uniform_from(philox(key, made.size())[0]));
    const std::int32_t id = choose_token(logits.to_doubles(), options, u);
    made.push_back(id);
    if ((on_token && !on_token(id)) ||
        std::find(options.stop_ids.begin(), options.stop_ids.end(), id) != options.stop_ids.end())
      break;
    read = {id};
  }
  return made;
}

}  // namespace osteon::nn
