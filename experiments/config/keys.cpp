#include "experiments/config/keys.hpp"

#include <algorithm>
#include <sstream>

#include "backends/error.hpp"
#include "backends/suggest.hpp"
#include "peft/methods.hpp"

namespace osteon::experiments {
namespace {

Range at_least(double min) { return {.min = min}; }
Range above(double min) { return {.min = min, .open_min = true}; }
Range between(double min, double max) { return {.min = min, .max = max}; }
Range from_to_below(double min, double max) { return {.min = min, .max = max, .open_max = true}; }

std::vector<Key> make_keys() {
  using C = RunConfig;
  const std::string_view input = "Input", adapter = "Adapter", optimiser = "Optimisation", machine = "Machine",
                         run = "Run";
  return {
      {input, "model", &C::model, "Hugging Face model folder, RWKV file or folder, or the name of an embedded model"},
      {input, "tokenizer", &C::tokenizer, "tokenizer file or folder, or byte; default: the model's"},
      {input, "data", &C::data,
       "training data: jsonl, json, text, MR||reference or safetensors file, or an embedded task"},
      {input, "eval_data", &C::eval_data, "data evaluated during and after the run, of the same kinds"},
      {input, "retain_data", &C::retain_data,
       "data like that which the base was trained on: scored before and after the run, for what is forgotten"},
      {input, "task", &C::task,
       "real task that the run is scored on: gsm8k, math, e2e, webnlg, humaneval or glue:NAME"},
      {input, "task_data", &C::task_data, "file with the task's items; default: eval_data"},
      {input,
       "task_type",
       &C::task_type,
       "SEQ_CLS = a classification head is trained; auto = SEQ_CLS with glue:NAME",
       {"auto", "CAUSAL_LM", "SEQ_CLS"}},
      {input,
       "template",
       &C::template_name,
       "how a record becomes prompt and answer",
       {"auto", "alpaca", "metamath", "pissa", "messages", "e2e", "text", "none"}},
      {input, "train_on_prompt", &C::train_on_prompt, "the loss counts the prompt's tokens too"},
      {input, "seq_len", &C::seq_len, "tokens a row", {}, between(2, 1 << 24)},
      {input, "packing", &C::packing, "several examples a row, each seeing only itself"},
      {input, "truncate", &C::truncate, "cut longer examples at seq_len instead of refusing them"},
      {input, "shuffle", &C::shuffle, "a new order each epoch, from the seed; else the file's order"},
      {input, "max_examples", &C::max_examples, "use only the first examples of the data (0 = all)", {}, at_least(0)},
      {input,
       "eval_size",
       &C::eval_size,
       "evaluate at most so many examples (0 = all, or the task's own number)",
       {},
       at_least(0)},

      {adapter, "method", &C::method, "what trains", peft::method_names()},
      {adapter, "adapter", &C::adapter, "start from this adapter folder instead of a new adapter"},
      {adapter,
       "rank",
       &C::rank,
       "rank r; default: the method's, 8 for LoRA kinds and 64 for Bone kinds",
       {},
       at_least(1)},
      {adapter,
       "alpha",
       &C::alpha,
       "LoRA kinds: scaling = alpha / rank; default: twice the rank, and the rank for PiSSA and OLoRA",
       {},
       above(0)},
      {adapter, "target_modules", &C::target_modules, "adapted modules: names, all-linear, or a regular expression"},
      {adapter, "exclude_modules", &C::exclude_modules, "modules never adapted: names or a regular expression"},
      {adapter, "layers_to_transform", &C::layers_to_transform, "adapt only these layers", {}, at_least(0)},
      {adapter, "layers_pattern", &C::layers_pattern,
       "names of the lists of layers; default: whatever stands before the number"},
      {adapter, "rank_pattern", &C::rank_pattern, "other ranks by module: q_proj=4,up_proj=16", {}, at_least(1)},
      {adapter, "alpha_pattern", &C::alpha_pattern, "other alphas by module: q_proj=8", {}, above(0)},
      {adapter, "modules_to_save", &C::modules_to_save, "modules trained and saved whole, such as lm_head"},
      {adapter, "train_parts", &C::train_parts,
       "parameters trained and saved whole whose names contain one of these; RWKV-PEFT's are time,ln"},
      {adapter, "dropout", &C::dropout, "on the adapter's input", {}, from_to_below(0, 1)},
      {adapter,
       "init_weights",
       &C::init_weights,
       "initialisation: true = the method's own",
       {"true", "false", "gaussian", "olora", "pissa", "pissa_niter_<n>", "bat", "mini"}},
      {adapter, "mini_r", &C::mini_r, "MiSS mini: columns of the shared block", {}, at_least(1)},
      {adapter, "tile_rows", &C::tile_rows, "bat_tile: blocks of a tile along the outputs", {}, at_least(1)},
      {adapter, "tile_columns", &C::tile_columns, "bat_tile: blocks of a tile along the inputs", {}, at_least(1)},
      {adapter, "use_rslora", &C::use_rslora, "scaling = alpha / sqrt(rank)"},
      {adapter,
       "bias",
       &C::bias,
       "biases trained beside the adapter",
       {"none", "all", "lora_only", "bone_only", "MiSS_only"}},
      {adapter, "loraplus_lr_ratio", &C::loraplus_lr_ratio, "LoRA+: rate of B over rate of A", {}, at_least(1)},

      {optimiser, "steps", &C::steps, "optimiser steps (0 = from epochs)", {}, at_least(0)},
      {optimiser, "epochs", &C::epochs, "passes over the data, where steps is 0", {}, above(0)},
      {optimiser, "batch_size", &C::batch_size, "rows a forward pass", {}, between(1, 65536)},
      {optimiser,
       "accumulate",
       &C::accumulate,
       "forward passes a step; the loss is averaged over the tokens of all",
       {},
       between(1, 65536)},
      {optimiser, "lr", &C::lr, "learning rate", {}, at_least(0)},
      {optimiser,
       "schedule",
       &C::schedule,
       "of the learning rate, after the warm-up",
       {"constant", "linear", "cosine"}},
      {optimiser, "warmup_steps", &C::warmup_steps, "steps of linear warm-up", {}, at_least(0)},
      {optimiser,
       "warmup_ratio",
       &C::warmup_ratio,
       "the same as a share of all steps, where warmup_steps is 0",
       {},
       between(0, 1)},
      {optimiser, "min_lr_ratio", &C::min_lr_ratio, "last learning rate as a share of the first", {}, between(0, 1)},
      {optimiser, "weight_decay", &C::weight_decay, "decoupled, as in AdamW", {}, at_least(0)},
      {optimiser, "beta1", &C::beta1, "AdamW", {}, from_to_below(0, 1)},
      {optimiser, "beta2", &C::beta2, "AdamW", {}, from_to_below(0, 1)},
      {optimiser, "eps", &C::eps, "AdamW", {}, above(0)},
      {optimiser, "clip_norm", &C::clip_norm, "largest global gradient norm (0 = no clipping)", {}, at_least(0)},
      {optimiser,
       "l2_wrap",
       &C::l2_wrap,
       "RWKV: the loss pulls each position's largest logit back, as in RWKV-PEFT; auto = on for RWKV, off for others",
       {"auto", "on", "off"}},

      {machine, "dtype", &C::dtype, "of the base weights and of the arithmetic", {"f32", "bf16"}},
      {machine, "adapter_dtype", &C::adapter_dtype, "of the adapter's weights", {"f32", "bf16"}},
      {machine, "device", &C::device, "cpu, cuda, cuda:N, or auto = cuda where there is one"},
      {machine, "threads", &C::threads, "CPU threads (0 = all)", {}, at_least(0)},
      {machine, "deterministic", &C::deterministic, "only kernels that give equal bits for any number of threads"},
      {machine, "batch_invariant", &C::batch_invariant,
       "Bat: a gradient has the same bits however batches are split (ranks, accumulate), for a product more a "
       "sequence"},
      {machine,
       "memory_policy",
       &C::memory_policy,
       "what is kept for the backward pass; auto = the fastest that fits memory_limit",
       {"save", "recompute_cheap", "checkpoint", "auto"}},
      {machine,
       "checkpoint_layers",
       &C::checkpoint_layers,
       "first layers that keep their input alone, beside memory_policy",
       {},
       at_least(0)},
      {machine, "memory_limit", &C::memory_limit, "most memory the step may need, such as 16GiB; default: no limit"},
      {machine,
       "cuda_graph",
       &C::cuda_graph,
       "auto = on a GPU, steps of equal shapes are captured once and replayed; same bits",
       {"auto", "off"}},

      {run, "seed", &C::seed, "of the data order and of everything drawn", {}, at_least(0)},
      {run, "out", &C::out, "run folder: config, metrics, summary, adapter, checkpoint"},
      {run, "resume", &C::resume, "go on from the checkpoint in the run folder"},
      {run, "log_every", &C::log_every, "steps between lines of metrics.jsonl", {}, at_least(1)},
      {run, "eval_every", &C::eval_every, "steps between evaluations (0 = at the end only)", {}, at_least(0)},
      {run, "save_every", &C::save_every, "steps between checkpoints (0 = at the end only)", {}, at_least(0)},
      {run,
       "early_stop",
       &C::early_stop,
       "stop after so many evaluations without a better loss (0 = never)",
       {},
       at_least(0)},
      {run, "tensorboard", &C::tensorboard, "write the metrics for TensorBoard too, in the run folder's tensorboard/"},
      {run, "profile", &C::profile,
       "what the steps after the first spent their time on, op by op, beside what the machine can do: printed, and in "
       "the run folder's profile.json"},
      {run, "spectra", &C::spectra,
       "singular values of what training changed in six weights, in the run folder's spectra.json"},
      {run, "rwkv_peft", &C::rwkv_peft,
       "of an RWKV model: write the adapter as RWKV-PEFT's files too, in the run folder's rwkv-peft/"},
  };
}

}  // namespace

bool Range::holds(double value) const {
  return (open_min ? value > min : value >= min) && (open_max ? value < max : value <= max);
}

std::string Range::text() const {
  const double infinity = std::numeric_limits<double>::infinity();
  if (max < infinity)
    return join(open_min ? " in (" : " in [", min, ", ", max, open_max ? ")" : "]");
  if (min > -infinity)
    return join(open_min ? " above " : " of at least ", min);
  return {};
}

std::span<const Key> config_keys() {
  static const std::vector<Key> keys = make_keys();
  return keys;
}

const std::vector<std::string>& config_key_names() {
  static const std::vector<std::string> names = [] {
    std::vector<std::string> out;
    for (const Key& key : config_keys())
      out.emplace_back(key.name);
    return out;
  }();
  return names;
}

const Key& find_key(std::string_view name, std::string_view origin) {
  std::string wanted(name);
  std::replace(wanted.begin(), wanted.end(), '-', '_');
  if (wanted == kCheckpointKey)
    wanted = kMemoryPolicyKey;
  for (const Key& key : config_keys())
    if (key.name == wanted)
      return key;
  fail<ConfigError>(origin, ": unknown key '", name, "'", suggestion(name, config_key_names()));
}

bool allows(const Key& key, std::string_view value) {
  if (key.allowed.empty())
    return true;
  return std::any_of(key.allowed.begin(), key.allowed.end(), [&](const std::string& allowed) {
    if (!allowed.ends_with("<n>"))
      return value == allowed;
    const std::string_view stem = std::string_view(allowed).substr(0, allowed.size() - 3);
    if (!value.starts_with(stem) || value.size() == stem.size() || value.size() > stem.size() + 6)
      return false;
    return std::all_of(value.begin() + static_cast<std::ptrdiff_t>(stem.size()), value.end(),
                       [](char c) { return c >= '0' && c <= '9'; });
  });
}

}  // namespace osteon::experiments
