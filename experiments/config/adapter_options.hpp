#pragma once

#include <span>
#include <string>
#include <vector>

#include "backends/dtype.hpp"
#include "experiments/config/config.hpp"
#include "peft/adapter_config.hpp"

namespace osteon::experiments {

/// Settles what of a run's adapter keys follows from others; the resolved values are those of config.toml.
///   init_weights that Hugging Face has for another method's name become that method: bone or miss with "bat" or
///   "mini", lora with "pissa...", "olora", and lora with use_rslora rank and alpha that were left open take the
///   method's defaults
///   task_type and l2_wrap that were left to the model become what it has
/// ConfigError for an unknown method (the nearest is suggested), an initialisation that the method does not have, and
/// use_rslora with a method that has no such scaling.
void fill_adapter_defaults(RunConfig& config);

/// Whether a classification head is trained: task_type says so, or leaves it open beside a task of GLUE.
bool trains_classifier(const RunConfig& config);
/// Outputs of that head: the task's labels, 1 where it asks for a number; 0 = a language model is trained. Without a
/// task of GLUE those of config.adapter's head; ConfigError where there is neither.
std::int64_t classifier_labels(const RunConfig& config);

/// The same as a copy.
RunConfig filled(RunConfig config);

/// Keys of a filled config that say something which its method has no use for: alpha with Bone, a rank with full.
std::vector<std::string> unused_keys(const RunConfig& config);

/// With config.adapter: the keys of the adapter's kind, shape and place become those of its folder, so that a run's
/// record says what it trained. ConfigError for one of the `given` keys that said something else; FileError for a
/// folder that cannot be read.
void adopt_adapter(RunConfig& config, std::span<const std::string> given = {});

/// The run's adapter as the peft layer wants it. `config` is filled first (a copy of it).
peft::AdapterConfig adapter_config(RunConfig config);

/// "f32" or "bf16" of the keys dtype and adapter_dtype.
DType dtype_named(const std::string& name);

}  // namespace osteon::experiments
