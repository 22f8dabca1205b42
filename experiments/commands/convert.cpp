#include "peft/convert.hpp"

#include <fmt/format.h>
#include <iostream>
#include <memory>
#include <nlohmann/json.hpp>

#include "experiments/commands/command.hpp"
#include "experiments/training/model_loading.hpp"
#include "nn/io/checkpoint.hpp"
#include "nn/io/tensor_file.hpp"
#include "peft/hf_format.hpp"
#include "peft/methods.hpp"
#include "peft/rwkv_format.hpp"

namespace osteon::experiments {
namespace {

struct ConvertArguments {
  RunConfig config;
  std::string to, start, out, file;
  double alpha = 16;  // RWKV-PEFT's default
};

NamedTensors read_all(const std::filesystem::path& folder) {
  const io::ModelFiles files(folder, "adapter_model");
  NamedTensors tensors;
  for (const std::string& name : files.names()) {
    tensors.emplace_back(name, empty(files.info(name).shape, DType::f32));
    nn::read_tensor(files, name, tensors.back().second);
  }
  return tensors;
}

/// A single file in the format that the ending of --out names, tensor by tensor.
int convert_file(const ConvertArguments& arguments, bool json) {
  check<ConfigError>(arguments.config.model.empty() && arguments.config.adapter.empty() && arguments.to.empty() &&
                         arguments.start.empty(),
                     "--file: expected only --out beside it, got an option for adapters too");
  const io::TensorFile file(arguments.file);
  check<ConfigError>(io::is_torch_path(arguments.out) || arguments.out.ends_with(".safetensors"),
                     "--out: expected a name that ends in .pth, .pt or .safetensors, got ", arguments.out);
  io::write_tensor_file(arguments.out, io::tensors_of(file));
  if (json)
    std::cout << nlohmann::ordered_json{{"out", arguments.out}, {"tensors", file.tensors().size()}}.dump() << '\n';
  else
    fmt::print("{}: {} tensors\n", arguments.out, file.tensors().size());
  return 0;
}

void say(const ConvertArguments& arguments, bool json, const std::string& from, const std::string& to) {
  if (json)
    std::cout << nlohmann::ordered_json{{"out", arguments.out}, {"from", from}, {"to", to}}.dump() << '\n';
  else
    fmt::print("{}: {} as {}\n", arguments.out, from, to);
}

/// An adapter folder as RWKV-PEFT's file, or the other way round.
int convert_rwkv_peft(const ConvertArguments& arguments, bool json) {
  check<ConfigError>(arguments.to.empty(),
                     "--to: expected none where an adapter becomes RWKV-PEFT's file or was one, got ", arguments.to);
  check<ConfigError>(is_rwkv(arguments.config.model), "--model: expected an RWKV file with RWKV-PEFT's adapters, got ",
                     arguments.config.model);
  check_apart(arguments.out, arguments.config.adapter, "--adapter");
  LoadedModel loaded = load_weights(arguments.config);
  if (std::filesystem::is_regular_file(arguments.config.adapter)) {
    const peft::ModelAdapter& adapter =
        peft::load_rwkv_adapter(*loaded.adapted, arguments.config.adapter, arguments.alpha, arguments.start);
    peft::save_adapter(*loaded.adapted, arguments.out);
    say(arguments, json, "rwkv-peft", adapter.config.method);
    return 0;
  }
  check<ConfigError>(arguments.start.empty(), "--start: expected only with RWKV-PEFT's file as --adapter");
  const peft::ModelAdapter& adapter =
      peft::load_adapter(*loaded.adapted, arguments.config.adapter, "default", &loaded.warnings);
  check<ConfigError>(!adapter.method->changes_base(), "convert: from ", adapter.config.method,
                     ": RWKV-PEFT's file needs the start: finetune --rwkv-peft writes both");
  peft::save_rwkv_adapter(*loaded.adapted, arguments.out);
  say(arguments, json, adapter.config.method, "rwkv-peft");
  return 0;
}

int run_convert(const ConvertArguments& arguments, bool json) {
  if (!arguments.file.empty())
    return convert_file(arguments, json);
  if (!arguments.config.model.empty() && !arguments.config.adapter.empty() &&
      (io::is_torch_path(arguments.out) || std::filesystem::is_regular_file(arguments.config.adapter)))
    return convert_rwkv_peft(arguments, json);
  check<ConfigError>(!arguments.config.model.empty() && !arguments.config.adapter.empty() && !arguments.to.empty(),
                     "convert: expected --model, --adapter and --to, or --file");
  peft::find_method(arguments.to);  // suggests the nearest name, which the list of conversions does not
  check_apart(arguments.out, arguments.config.adapter, "--adapter");
  check_apart(arguments.out, arguments.start, "--start");
  LoadedModel loaded = load_weights(arguments.config);
  const peft::ModelAdapter& adapter =
      peft::load_adapter(*loaded.adapted, arguments.config.adapter, "default", &loaded.warnings);
  const std::string from = adapter.config.method;
  if (adapter.method->changes_base()) {
    check<ConfigError>(arguments.to == "lora", "convert: from ", from, ": expected --to lora, got ", arguments.to);
    check<ConfigError>(!arguments.start.empty(), "convert: from ", from,
                       ": expected --start, the adapter before training");
    peft::save_residual_as_lora(*loaded.adapted, read_all(arguments.start), arguments.out);
  } else {
    check<ConfigError>(arguments.start.empty(),
                       "--start: expected only with an adapter that begins from the base's own ",
                       "weights (pissa, olora), got one of ", from);
    peft::convert_adapter(*loaded.adapted, arguments.to, "converted");
    peft::save_adapter(*loaded.adapted, arguments.out, "converted");
  }
  say(arguments, json, from, arguments.to);
  return 0;
}

}  // namespace

void add_convert(CLI::App& program, CommandContext& context) {
  std::string exact;
  for (const std::string& one : peft::conversions())
    exact += (exact.empty() ? "" : ", ") + one;
  CLI::App* command =
      new_command(program, context, "convert",
                  "An adapter as an equal one of another method (" + exact + ", pissa -> lora, olora -> lora)",
                  "osteon convert --model path/to/llama --adapter runs/bone/adapter --to lora --out as-lora");
  auto arguments = std::make_shared<ConvertArguments>();
  command->add_option("--model", arguments->config.model, "Hugging Face folder, RWKV file, or synthetic:tiny");
  command->add_option("--adapter", arguments->config.adapter, "Adapter folder, or RWKV-PEFT's file");
  command->add_option("--to", arguments->to, "Method of the result");
  command->add_option("--file", arguments->file, "Instead: a .pth or safetensors file, written as the other by --out");
  command->add_option("--start", arguments->start, "PiSSA and OLoRA: the adapter as it was before training");
  command->add_option("--alpha", arguments->alpha, "With RWKV-PEFT's LoRA as --adapter: lora_alpha")
      ->capture_default_str();
  add_device_option(command, arguments->config.device);
  command->add_option("--out", arguments->out, "Folder to write, or .pth for RWKV-PEFT's file; with --file a file")
      ->required();
  command->callback([arguments, &context] {
    context.action = [arguments, &context] { return run_convert(*arguments, context.json); };
  });
}

}  // namespace osteon::experiments
