#pragma once

#include <string_view>

#include "experiments/config/config.hpp"
#include "experiments/data/open.hpp"
#include "experiments/measure/planner.hpp"
#include "experiments/training/record.hpp"

/// The toy function of arXiv:2409.15371 tab. 12: an MLP 64-64-64 with ReLU learns y = sin(2 pi x) element by element,
/// x uniform in [-1, 1]^64, from 50 points with noise of deviation 0.05 (Adam, rate 1e-3, 250 steps on all of them,
/// mean squared error); then each method adapts it to the same points with 0.3 cos(3 pi x) added. Every method of
/// peft's list is attached to its two linears as it is to a Llama's.
namespace osteon::experiments {

inline constexpr std::string_view kToyModel = "synthetic:mlp";  ///< as `model`
inline constexpr std::string_view kSine = "sine";               ///< as `data`, with this model only

/// Whether the config means the toy. ConfigError where only one of model and data is the toy's.
bool is_toy_sine(const RunConfig& config);

/// The run: base, adapter, config.steps steps, scored every config.eval_every steps (10 where it is 0). Fills the
/// summary, with the lowest loss on the split's 100 points without noise as its score, and leaves metrics.jsonl in
/// config.out. Points, noise and starts follow from the seed alone: all methods adapt one base with one batch.
void run_toy_sine(const RunConfig& config, Split split, RunSummary& summary);

/// Trainable parameters, bytes and FLOPs of a step, counted over two real ones.
Plan plan_toy_sine(const RunConfig& config);

}  // namespace osteon::experiments
