#include <algorithm>
#include <fmt/format.h>
#include <iostream>
#include <memory>
#include <nlohmann/json.hpp>

#include "experiments/commands/command.hpp"
#include "experiments/data/open.hpp"
#include "experiments/training/model_loading.hpp"
#include "nn/io/checkpoint.hpp"
#include "nn/token_input.hpp"
#include "peft/hf_format.hpp"

namespace osteon::experiments {
namespace {

struct ForwardArguments {
  RunConfig config;
  std::string input, output;
  bool grads = false;
};

std::vector<std::int32_t> read_numbers(const io::SafetensorsFile& file, const std::string& name, const Shape& shape) {
  check<FileError>(file.info(name).shape == shape, file.path().string(), ": ", name, ": expected ", shape, ", got ",
                   file.info(name).shape);
  std::vector<std::int32_t> numbers(static_cast<std::size_t>(shape.numel()));
  file.read_into(name, numbers.data(), DType::i32);
  return numbers;
}

/// The same, each in [0, vocab_size), or -100 where `may_ignore`.
std::vector<std::int32_t> read_ids(const io::SafetensorsFile& file, const std::string& name, const Shape& shape,
                                   std::int64_t vocab_size, bool may_ignore) {
  const std::vector<std::int32_t> ids = read_numbers(file, name, shape);
  for (std::size_t i = 0; i < ids.size(); ++i)
    check<IndexError>((ids[i] >= 0 && ids[i] < vocab_size) || (may_ignore && ids[i] == -100), file.path().string(),
                      ": ", name, ": expected ids in [0, ", vocab_size, ")", may_ignore ? " or -100" : "", ", got ",
                      ids[i], " at ", i);
  return ids;
}

int run_forward(const ForwardArguments& arguments, bool json) {
  LoadedModel loaded = load_weights(arguments.config);
  const std::unique_ptr<nn::LanguageModel>& model = loaded.model;
  const std::int64_t vocab_size = model->vocab_size();
  if (!arguments.config.adapter.empty()) {
    peft::load_adapter(*loaded.adapted, arguments.config.adapter, "default", &loaded.warnings);
  } else {
    peft::AdapterConfig full;
    full.method = "full";
    loaded.adapted->add(full);
  }
  for (const std::string& warning : loaded.warnings)
    fmt::print(stderr, "warning: {}\n", warning);

  const io::SafetensorsFile file(arguments.input);
  const Shape shape = file.info("input_ids").shape;
  check<FileError>(shape.rank() == 2, arguments.input, ": input_ids: expected [batch, seq_len], got ", shape);
  const std::int64_t positions = ModelLimits(*model).positions;
  check<FileError>(shape[1] <= positions, arguments.input,
                   ": input_ids: expected rows of at most max_position_embeddings = ", positions, " tokens, got ",
                   shape[1]);
  const std::vector<std::int32_t> ids = read_ids(file, "input_ids", shape, vocab_size, /*may_ignore=*/false);
  const nn::TokenInput input =
      file.contains("attention_mask")
          ? nn::token_input(ids, read_numbers(file, "attention_mask", shape), shape[0], shape[1])
          : nn::token_input(ids, shape[0], shape[1]);
  NamedTensors results;
  {
    const NoGrad no_grad;
    results.emplace_back("logits", model->logits(input));
  }
  if (file.contains("labels")) {
    const std::vector<std::int32_t> targets =
        nn::shifted_labels(read_ids(file, "labels", shape, vocab_size, /*may_ignore=*/true), shape[1]);
    const auto tokens = std::count_if(targets.begin(), targets.end(), [](std::int32_t id) { return id != -100; });
    check<FileError>(tokens > 0, arguments.input, ": labels: expected at least one behind a row's first that is not ",
                     "-100, got none");
    const Tensor loss = model->loss(input, from_ids(targets, shape), static_cast<double>(tokens));
    results.emplace_back("loss", loss.alias({1}));
    if (arguments.grads) {
      loss.backward();
      model->finish_gradients();
      for (const peft::TrainableParameter& parameter : loaded.adapted->trainable_parameters())
        if (parameter.tensor.grad().defined())
          results.emplace_back("grad." + parameter.name, parameter.tensor.grad());
    }
  } else {
    check<ConfigError>(!arguments.grads, arguments.input, ": --grads: expected labels in the input, which are missing");
  }
  nn::write_tensors(arguments.output, results);
  if (json)
    std::cout << nlohmann::ordered_json{{"output", arguments.output}, {"tensors", results.size()}}.dump() << '\n';
  else
    fmt::print("{}: {} tensors\n", arguments.output, results.size());
  return 0;
}

}  // namespace

void add_forward(CLI::App& program, CommandContext& context) {
  CLI::App* command =
      new_command(program, context, "forward", "Logits, loss and gradients for ready tokens, as a safetensors file",
                  "osteon forward --model path/to/llama --input batch.safetensors --output out.safetensors --grads");
  auto arguments = std::make_shared<ForwardArguments>();
  command->add_option("--model", arguments->config.model, "Hugging Face folder, RWKV file or synthetic:tiny")
      ->required();
  command->add_option("--adapter", arguments->config.adapter, "Adapter folder");
  add_device_option(command, arguments->config.device);
  command->add_option("--input", arguments->input, "safetensors with input_ids, optional labels, attention_mask")
      ->required();
  command->add_option("--output", arguments->output, "safetensors with logits, loss, grad.<name>")->required();
  command->add_option("--dtype", arguments->config.dtype, "f32 or bf16")->capture_default_str();
  command->add_flag("--grads", arguments->grads, "Gradients of the adapter's parameters, or of all without one");
  command->callback([arguments, &context] {
    context.action = [arguments, &context] { return run_forward(*arguments, context.json); };
  });
}

}  // namespace osteon::experiments
