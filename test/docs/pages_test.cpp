#include <doctest/doctest.h>

#include "autograd/ops.hpp"
#include "nn/llama.hpp"
#include "peft/hf_format.hpp"
#include "peft/methods.hpp"
#include "peft/model.hpp"
#include "test/nn/temporary_folder.hpp"

// The code of docs/adding-an-adapter.md, which the build takes out of the page; that of docs/adding-an-op.md is among
// the ops of test/op_cases.cpp.

using namespace osteon;

TEST_CASE("the adapter of adding-an-adapter.md trains, counts and merges as the built-in ones do") {
  // as the page says, its file has registered it
  nn::LlamaConfig architecture;
  architecture.vocab_size = 11;
  architecture.hidden_size = 8;
  architecture.intermediate_size = 12;
  architecture.num_hidden_layers = 1;
  architecture.num_attention_heads = 2;
  architecture.num_key_value_heads = 1;
  architecture.head_dim = 4;
  architecture.max_position_embeddings = 16;
  nn::Llama model(architecture, DType::f64);
  model.initialize(1);
  peft::PeftModel adapted(model);
  const nn::TokenInput input = nn::token_input(std::vector<std::int32_t>{1, 2, 3, 4}, 1, 4);
  const Tensor targets = from_ids(std::vector<std::int32_t>{2, 3, 4, -100}, {1, 4});
  const double before = model.loss(input, targets, 3).item();

  peft::AdapterConfig config;
  config.method = "fixed_projection";
  config.rank = 2;
  config.alpha = 6;
  config.target_modules = {"q_proj", "down_proj"};
  adapted.add(config);
  CHECK(adapted.trainable_count() == 2 * (8 + 8));
  const Tensor loss = model.loss(input, targets, 3);
  CHECK(loss.item() == before);  // B is zero
  loss.backward();
  for (const peft::TrainableParameter& parameter : adapted.trainable_parameters()) {
    const std::vector<double> gradient = parameter.tensor.grad().to_doubles();
    std::vector<double> moved = parameter.tensor.to_doubles();
    for (std::size_t i = 0; i < moved.size(); ++i)
      moved[i] -= 0.5 * gradient[i];
    copy_elements(from_values(moved, parameter.tensor.shape(), DType::f64), parameter.tensor);
  }
  const double trained = model.loss(input, targets, 3).item();
  CHECK(trained < before);

  // Its folder says all that its forward reads.
  const test::TemporaryFolder folder;
  peft::save_adapter(adapted, folder.path());
  nn::Llama same(architecture, DType::f64);
  same.initialize(1);
  peft::PeftModel again(same);
  const peft::ModelAdapter& loaded = peft::load_adapter(again, folder.path());
  CHECK(loaded.config.alpha == 6);
  CHECK(same.loss(input, targets, 3).item() == doctest::Approx(trained).epsilon(1e-6));

  adapted.merge();
  CHECK(model.loss(input, targets, 3).item() == doctest::Approx(trained).epsilon(1e-12));
}
