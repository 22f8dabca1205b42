#include <fmt/format.h>
#include <iostream>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>

#include "experiments/commands/command.hpp"
#include "experiments/data/tokenizer.hpp"
#include "experiments/training/model_loading.hpp"
#include "experiments/training/tiny_models.hpp"
#include "nn/io/output_folder.hpp"
#include "nn/io/pretrained.hpp"
#include "nn/io/tensor_file.hpp"
#include "peft/hf_config.hpp"
#include "peft/hf_format.hpp"
#include "peft/rwkv_format.hpp"

namespace osteon::experiments {
namespace {

namespace fs = std::filesystem;

struct MergeArguments {
  RunConfig config;
  std::string out;
  std::string kind, base, start;  // of merge, for RWKV files
  double alpha = 16;              // RWKV-PEFT's default
};

void add_options(CLI::App* command, MergeArguments& arguments) {
  command->add_option("--model", arguments.config.model, "Hugging Face folder, RWKV file or synthetic:tiny")
      ->required(command->get_name() != "merge");
  command->add_option("--adapter", arguments.config.adapter, "Adapter folder; with --kind a file")->required();
  command->add_option("--dtype", arguments.config.dtype, "f32 or bf16, of the written weights")->capture_default_str();
  add_device_option(command, arguments.config.device);
  command->add_option("--out", arguments.out, "Folder to write; with --kind a file")->required();
}

void add_rwkv_options(CLI::App* command, MergeArguments& arguments) {
  command->add_option("--kind", arguments.kind, "RWKV-PEFT's files: bone, bat, lora, pissa or state");
  command->add_option("--base", arguments.base, "With --kind: the model, .pth or safetensors");
  command->add_option("--start", arguments.start, "With --kind pissa: init_pissa.pth");
  command->add_option("--alpha", arguments.alpha, "With --kind lora: lora_alpha")->capture_default_str();
}

LoadedModel load(const MergeArguments& arguments) {
  RunConfig config = arguments.config;
  config.task_type = peft::read_adapter_config(config.adapter).task_type;  // which may bring a classification head
  LoadedModel loaded = load_weights(config);
  peft::load_adapter(*loaded.adapted, arguments.config.adapter, "default", &loaded.warnings);
  for (const std::string& warning : loaded.warnings)
    fmt::print(stderr, "warning: {}\n", warning);
  return loaded;
}

/// Beside the weights, what the model has of them: golden and test models come without.
void copy_tokenizer_and_generation(const MergeArguments& arguments, const fs::path& out) {
  if (const fs::path generation = fs::path(arguments.config.model) / "generation_config.json"; fs::exists(generation))
    io::write_file_atomically(out / "generation_config.json", io::read_file(generation));
  const bool embedded = is_embedded_model(arguments.config.model);
  const auto tokenizer = embedded ? load_tokenizer("byte") : load_model_tokenizer(arguments.config.model);
  tokenizer->save(out);
  if (tokenizer->kind() == "none")
    fmt::print(stderr, "warning: {} holds no tokenizer, so none was written\n", arguments.config.model);
}

void say(bool json, const std::string& out, const std::string& text) {
  if (json)
    std::cout << nlohmann::ordered_json{{"out", out}, {"done", text}}.dump() << '\n';
  else
    fmt::print("{}: {}\n", out, text);
}

/// RWKV-PEFT's merge scripts: files to a file, without a model.
int run_rwkv_merge(const MergeArguments& arguments, bool json) {
  const peft::RwkvKind kind = peft::parse_rwkv_kind(arguments.kind);
  check<ConfigError>(!arguments.base.empty(), "--base: expected the RWKV file to merge into, with --kind");
  check<ConfigError>(arguments.config.model.empty(),
                     "--model: expected --base with --kind, got both --model and --kind");
  check<ConfigError>(!fs::is_directory(arguments.config.adapter),
                     "--adapter: expected a file of RWKV-PEFT's with --kind, got the folder ", arguments.config.adapter,
                     ": an adapter folder is merged by --model, without --kind");
  const io::TensorFile base(arguments.base), adapter(arguments.config.adapter);
  std::optional<io::TensorFile> start;
  if (!arguments.start.empty())
    start.emplace(arguments.start);
  check<ConfigError>(!fs::is_directory(arguments.out), "--out: expected a .pth or safetensors file, got the folder ",
                     arguments.out);
  peft::merge_rwkv(base, adapter, start ? &*start : nullptr, kind, arguments.alpha, arguments.out);
  say(json, arguments.out, "the model with its adapter merged");
  return 0;
}

int run_merge(const MergeArguments& arguments, bool json) {
  if (!arguments.kind.empty())
    return run_rwkv_merge(arguments, json);
  check<ConfigError>(!arguments.config.model.empty(), "merge: expected --model, or --kind and --base for RWKV files");
  check<ConfigError>(arguments.base.empty() && arguments.start.empty(), "--base, --start: expected only with --kind");
  check_apart(arguments.out, arguments.config.model, "--model");
  check_apart(arguments.out, arguments.config.adapter, "--adapter");
  LoadedModel loaded = load(arguments);
  loaded.adapted->merge();
  const auto* const rwkv = dynamic_cast<const nn::Rwkv*>(loaded.model.get());
  if (rwkv != nullptr && has_rwkv_ending(arguments.out)) {
    check<ConfigError>(!fs::is_directory(arguments.out), "--out: expected a .pth or safetensors file, got the folder ",
                       arguments.out);
    nn::save_rwkv(*rwkv, arguments.out);
    say(json, arguments.out, "the model with its adapter merged");
    return 0;
  }
  io::OutputFolder out(arguments.out);
  save_model(loaded, out.path());
  copy_tokenizer_and_generation(arguments, out.path());
  out.commit();
  say(json, arguments.out, "the model with its adapter merged");
  return 0;
}

/// The recipe of the Bone README: adapter, base without it (PiSSA's residual), and tokenizer in one folder.
int run_unload(const MergeArguments& arguments, bool json) {
  check_apart(arguments.out, arguments.config.model, "--model");
  check<ConfigError>(peft::read_adapter_config(arguments.config.adapter).task_type != peft::kSequenceClassification,
                     arguments.config.adapter,
                     ": its task_type is SEQ_CLS: expected an adapter of a language model, which stays as it "
                     "was beneath one with a head; merge writes a classifier");
  LoadedModel loaded = load(arguments);
  const std::string summary = loaded.adapted->trainable_summary();
  io::OutputFolder out(arguments.out);
  peft::save_adapter(*loaded.adapted, out.path());
  loaded.adapted->unload();
  save_model(loaded, out.path());
  copy_tokenizer_and_generation(arguments, out.path());
  out.commit();
  if (!json)
    fmt::print("{}\n", summary);
  say(json, arguments.out, "the adapter and the base model without it");
  return 0;
}

void add(CLI::App& program, CommandContext& context, const std::string& name, const std::string& summary,
         const std::string& example, int (*act)(const MergeArguments&, bool)) {
  CLI::App* command = new_command(program, context, name, summary, example);
  auto arguments = std::make_shared<MergeArguments>();
  add_options(command, *arguments);
  if (name == "merge")
    add_rwkv_options(command, *arguments);
  command->callback([arguments, &context, act] {
    context.action = [arguments, &context, act] { return act(*arguments, context.json); };
  });
}

}  // namespace

void add_merge(CLI::App& program, CommandContext& context) {
  add(program, context, "merge", "Write the model with its adapter merged into the weights",
      "osteon merge --model path/to/llama --adapter runs/bone/adapter --out merged", run_merge);
}

void add_unload(CLI::App& program, CommandContext& context) {
  add(program, context, "unload", "Write the adapter, the base or residual model without it, and the tokenizer",
      "osteon unload --model path/to/llama --adapter runs/bone/adapter --out output", run_unload);
}

}  // namespace osteon::experiments
