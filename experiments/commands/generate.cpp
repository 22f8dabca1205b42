#include "nn/generate.hpp"

#include <CLI/CLI.hpp>
#include <fmt/format.h>
#include <iostream>
#include <limits>
#include <memory>
#include <nlohmann/json.hpp>

#include "experiments/commands/command.hpp"
#include "experiments/data/stream_decoder.hpp"
#include "experiments/training/model_loading.hpp"
#include "peft/hf_format.hpp"

namespace osteon::experiments {
namespace {

struct GenerateArguments {
  RunConfig config;
  std::string prompt;
  nn::GenerateOptions options;
  bool ignore_eos = false;
};

int run_generation(GenerateArguments arguments, bool json) {
  LoadedModel loaded = load_model(arguments.config);
  if (!arguments.config.adapter.empty())
    peft::load_adapter(*loaded.adapted, arguments.config.adapter, "default", &loaded.warnings);
  for (const std::string& warning : loaded.warnings)
    fmt::print(stderr, "warning: {}\n", warning);
  std::vector<std::int32_t> prompt = loaded.tokenizer->encode(arguments.prompt);
  if (loaded.tokenizer->special().add_bos && loaded.tokenizer->bos())
    prompt.insert(prompt.begin(), *loaded.tokenizer->bos());
  if (!arguments.ignore_eos)
    arguments.options.stop_ids = end_token_ids(loaded);
  StreamDecoder decoder(*loaded.tokenizer);
  std::string text;
  const auto show = [&](const std::string& piece) {
    text += piece;
    if (!json)
      std::cout << piece << std::flush;
  };
  const std::vector<std::int32_t> ids = nn::generate(*loaded.model, prompt, arguments.options, [&](std::int32_t id) {
    show(decoder.push(id));
    return !interrupted();
  });
  show(decoder.finish());
  if (json)
    std::cout << nlohmann::ordered_json{{"prompt", arguments.prompt}, {"text", text}, {"ids", ids}}.dump(
                     -1, ' ', false, nlohmann::ordered_json::error_handler_t::replace)
              << '\n';
  else
    std::cout << '\n';
  return 0;
}

}  // namespace

void add_generate(CLI::App& program, CommandContext& context) {
  CLI::App* command = new_command(program, context, "generate", "Text from a model, with or without an adapter",
                                  "osteon generate --model path/to/llama --adapter runs/bone/adapter --prompt \"Once\" "
                                  "--max-new-tokens 64 --temperature 0.8 --top-p 0.95 --seed 1");
  auto arguments = std::make_shared<GenerateArguments>();
  command->add_option("--model", arguments->config.model, "Hugging Face folder, RWKV file or synthetic:tiny")
      ->required();
  command->add_option("--adapter", arguments->config.adapter, "Adapter folder");
  command->add_option("--tokenizer", arguments->config.tokenizer, "Tokenizer, if it is not the model's");
  command->add_option("--dtype", arguments->config.dtype, "f32 or bf16")->capture_default_str();
  add_device_option(command, arguments->config.device);
  command->add_option("--prompt", arguments->prompt, "Text to continue")->required();
  command->add_option("--max-new-tokens", arguments->options.max_new_tokens, "Length")->capture_default_str();
  command->add_option("--temperature", arguments->options.temperature, "0 = greedy")->capture_default_str();
  command->add_option("--top-k", arguments->options.top_k, "0 = all")->capture_default_str();
  command->add_option("--top-p", arguments->options.top_p, "Nucleus")->capture_default_str();
  command->add_option("--seed", arguments->options.seed, "Of the random choice")
      ->capture_default_str()
      ->check(CLI::Range(std::int64_t{0}, std::numeric_limits<std::int64_t>::max()));
  command->add_flag("--ignore-eos", arguments->ignore_eos, "Go on behind the end of the text");
  command->callback([arguments, &context] {
    context.action = [arguments, &context] { return run_generation(*arguments, context.json); };
  });
}

}  // namespace osteon::experiments
