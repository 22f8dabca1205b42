#include <algorithm>
#include <fmt/format.h>
#include <iostream>
#include <memory>
#include <nlohmann/json.hpp>

#include "experiments/adapter_options.hpp"
#include "experiments/commands/command.hpp"
#include "nn/io/model_files.hpp"
#include "nn/io/pretrained.hpp"
#include "nn/token_input.hpp"
#include "peft/hf_format.hpp"

namespace osteon::experiments {
namespace {

struct ForwardArguments {
  std::string model, adapter, input, output, dtype = "f32";
  bool grads = false;
};

std::vector<std::int32_t> read_ids(const io::SafetensorsFile& file, const std::string& name, const Shape& shape) {
  check<FileError>(file.info(name).shape == shape, file.path().string(), ": ", name, ": expected ", shape, ", got ",
                   file.info(name).shape);
  std::vector<std::int32_t> ids(static_cast<std::size_t>(shape.numel()));
  file.read_into(name, ids.data(), DType::i32);
  return ids;
}

int run_forward(const ForwardArguments& arguments, bool json) {
  const auto model = nn::load_llama(arguments.model, dtype_named(arguments.dtype));
  peft::PeftModel adapted(*model);
  std::vector<std::string> warnings;
  if (!arguments.adapter.empty()) {
    peft::load_adapter(adapted, arguments.adapter, "default", &warnings);
  } else {
    peft::AdapterConfig full;
    full.method = "full";
    adapted.add(full);
  }
  for (const std::string& warning : warnings)
    fmt::print(stderr, "warning: {}\n", warning);

  const io::SafetensorsFile file(arguments.input);
  const Shape shape = file.info("input_ids").shape;
  check<FileError>(shape.rank() == 2, arguments.input, ": input_ids: expected [batch, seq_len], got ", shape);
  const std::vector<std::int32_t> ids = read_ids(file, "input_ids", shape);
  const nn::TokenInput input = file.contains("attention_mask")
                                   ? nn::token_input(ids, read_ids(file, "attention_mask", shape), shape[0], shape[1])
                                   : nn::token_input(ids, shape[0], shape[1]);
  NamedTensors results;
  {
    const NoGrad no_grad;
    results.emplace_back("logits", model->logits(input));
  }
  if (file.contains("labels")) {
    const std::vector<std::int32_t> targets = nn::shifted_labels(read_ids(file, "labels", shape), shape[1]);
    const auto tokens = std::count_if(targets.begin(), targets.end(), [](std::int32_t id) { return id != -100; });
    const Tensor loss = model->loss(input, from_ids(targets, shape), static_cast<double>(tokens));
    results.emplace_back("loss", loss.alias({1}));
    if (arguments.grads) {
      loss.backward();
      model->finish_gradients();
      for (const peft::TrainableParameter& parameter : adapted.trainable_parameters())
        if (parameter.tensor.grad().defined())
          results.emplace_back("grad." + parameter.name, parameter.tensor.grad());
    }
  } else {
    check<ConfigError>(!arguments.grads, arguments.input, ": --grads: expected labels in the input, which are missing");
  }
  std::vector<io::TensorToWrite> tensors;
  for (const auto& [name, tensor] : results)
    tensors.push_back(io::tensor_to_write(name, tensor.dtype(), tensor.shape(), tensor.view().data));
  io::write_safetensors(arguments.output, tensors);
  if (json)
    std::cout << nlohmann::ordered_json{{"output", arguments.output}, {"tensors", tensors.size()}}.dump() << '\n';
  else
    fmt::print("{}: {} tensors\n", arguments.output, tensors.size());
  return 0;
}

}  // namespace

void add_forward(CLI::App& program, CommandContext& context) {
  CLI::App* command =
      new_command(program, context, "forward", "Logits, loss and gradients for ready tokens, as a safetensors file",
                  "osteon forward --model path/to/llama --input batch.safetensors --output out.safetensors --grads");
  auto arguments = std::make_shared<ForwardArguments>();
  command->add_option("--model", arguments->model, "Hugging Face folder")->required();
  command->add_option("--adapter", arguments->adapter, "Adapter folder");
  command->add_option("--input", arguments->input, "safetensors with input_ids, optional labels, attention_mask")
      ->required();
  command->add_option("--output", arguments->output, "safetensors with logits, loss, grad.<name>")->required();
  command->add_option("--dtype", arguments->dtype, "f32 or bf16")->capture_default_str();
  command->add_flag("--grads", arguments->grads, "Gradients of the adapter's parameters, or of all without one");
  command->callback([arguments, &context] {
    context.action = [arguments, &context] { return run_forward(*arguments, context.json); };
  });
}

}  // namespace osteon::experiments
