#include <algorithm>
#include <doctest/doctest.h>

#include "nn/optim/adamw.hpp"
#include "nn/optim/schedule.hpp"
#include "test/peft/golden_adapter.hpp"

using namespace osteon;
using osteon::test::GoldenCase;
namespace fs = std::filesystem;

// What PyTorch, transformers and peft compute, for every model and method (test/golden/models/README.md).

namespace {

double gradient_tolerance(const std::string& method) {
  return method == "dora" || method == "pissa" || method == "olora" ? 1e-4 : 1e-5;
}

NamedTensors named(const std::vector<peft::TrainableParameter>& parameters) {
  NamedTensors all;
  for (const auto& parameter : parameters)
    all.emplace_back(parameter.name, parameter.tensor);
  return all;
}

}  // namespace

TEST_CASE("golden: logits, loss and every gradient are those of PyTorch and peft") {
  for (const GoldenCase& golden : test::golden_cases()) {
    CAPTURE(golden.title());
    const auto model = test::load_golden(golden);
    peft::PeftModel adapted(*model);
    test::add_peft_adapter(golden, adapted, "before");
    const io::ModelFiles base(golden.base()), expected(golden.expected());
    const test::GoldenBatch batch = test::read_batch(base);
    {
      const NoGrad no_grad;
      CHECK(test::relative_error(model->logits(batch.input), test::read_tensor(expected, "logits", DType::f32)) < 1e-5);
    }
    const Tensor loss = model->loss(batch.input, batch.targets, batch.tokens);
    CHECK(loss.item() ==
          doctest::Approx(test::read_tensor(expected, "loss", DType::f32).to_doubles()[0]).epsilon(1e-5));
    loss.backward();
    model->finish_gradients();

    std::ptrdiff_t compared = 0;
    const auto parameters = adapted.trainable_parameters();
    for (const std::string& name : expected.names()) {
      if (!name.starts_with("grad."))
        continue;
      const std::string plain = test::name_in_file(name.substr(5));
      const auto same = std::find_if(parameters.begin(), parameters.end(), [&](const auto& p) {
        return p.name == plain || "base_model.model." + p.name == plain;
      });
      REQUIRE_MESSAGE(same != parameters.end(), name);
      CAPTURE(name);
      CHECK(test::relative_error(same->tensor.grad(), test::read_tensor(expected, name, DType::f32)) <
            gradient_tolerance(golden.method));
      ++compared;
    }
    CHECK(compared == std::count_if(parameters.begin(), parameters.end(),
                                    [&](const auto& p) { return golden.has_gradient(p.tensor); }));
  }
}

TEST_CASE("golden: a new adapter changes no logit; PiSSA and OLoRA part the weight as peft does") {
  for (const GoldenCase& golden : test::golden_cases()) {
    if (golden.is_full())
      continue;
    CAPTURE(golden.title());
    const auto model = test::load_golden(golden);
    peft::PeftModel adapted(*model);
    const peft::ModelAdapter& adapter = adapted.add(test::golden_config(golden.method));
    const io::ModelFiles base(golden.base()), expected(golden.expected());
    const NoGrad no_grad;
    const Tensor logits = model->logits(test::read_batch(base).input);
    if (expected.contains("logits_at_init"))
      CHECK(test::relative_error(logits, test::read_tensor(expected, "logits_at_init", DType::f32)) < 1e-5);
    CHECK(test::relative_error(logits, test::read_tensor(base, "logits", DType::f32)) < 1e-5);
    if (!test::is_residual(golden))
      continue;
    // The factors are unique up to signs, their product and the residual are unique: as exact as f32 finds the leading
    // singular vectors, its epsilon over the relative gap to the next value (0.4% in the worst of these matrices).
    const auto other_model = test::load_golden(golden);
    peft::PeftModel other(*other_model);
    test::add_peft_adapter(golden, other, "before");
    const auto linears = model->linears(), other_linears = other_model->linears();
    for (std::size_t i = 0; i < linears.size(); ++i) {
      CAPTURE(linears[i]->name());
      CHECK(test::relative_error(linears[i]->weight, other_linears[i]->weight) < 1e-4);
      if (const auto found = adapter.modules.find(linears[i]->name()); found != adapter.modules.end())
        CHECK(test::relative_error(found->second->delta_weight(*linears[i]),
                                   other.adapter().modules.at(found->first)->delta_weight(*linears[i])) < 1e-4);
    }
  }
}

TEST_CASE("golden: twelve training steps follow PyTorch's loss and gradient norm") {
#ifdef OSTEON_CUDA_EMULATED
  constexpr std::int64_t kSteps = 4;  // the kernels are the same in each; CPU and GPU go on to where errors add up
#else
  constexpr std::int64_t kSteps = 12;
#endif
  for (const GoldenCase& golden : test::golden_cases()) {
    CAPTURE(golden.title());
    const auto model = test::load_golden(golden);
    peft::PeftModel adapted(*model);
    test::add_peft_adapter(golden, adapted, "before");
    const io::ModelFiles batches(golden.model / "train_batches.safetensors"), expected(golden.expected());
    const nlohmann::json training = test::read_json(golden.training());
    const NamedTensors parameters = named(adapted.trainable_parameters());
    nn::AdamW optimizer({{parameters, 1.0, 0.01}});
    const nn::Schedule schedule = {nn::Schedule::Kind::cosine, 3e-3, 2, 12, 0.0};
    for (std::int64_t step = 0; step < kSteps; ++step) {
      CAPTURE(step);
      const auto at = static_cast<std::size_t>(step);
      const test::GoldenBatch batch = test::read_batch(batches, join(".", step));
      const Tensor loss = model->loss(batch.input, batch.targets, batch.tokens);
      loss.backward();
      model->finish_gradients();
      const double norm = nn::global_gradient_norm(parameters);
      CHECK(loss.item() == doctest::Approx(training["loss"][at].get<double>()).epsilon(1e-5));
      CHECK(norm == doctest::Approx(training["grad_norm"][at].get<double>()).epsilon(1e-5));
      CHECK(schedule.at(step) == doctest::Approx(training["lr"][at].get<double>()).epsilon(1e-12));
      optimizer.step(schedule.at(step), nn::clip_factor(norm, 1.0));
      optimizer.clear_gradients();
    }
    if (golden.is_full() || kSteps < 12)
      continue;
    const NoGrad no_grad;
    const test::GoldenBatch batch = test::read_batch(io::ModelFiles(golden.base()));
    CHECK(test::relative_error(model->logits(batch.input), test::read_tensor(expected, "logits_after", DType::f32)) <
          1e-4);
  }
}

TEST_CASE("golden: merging peft's trained adapter gives peft's merged weights") {
  for (const GoldenCase& golden : test::golden_cases()) {
    const fs::path file = golden.folder / "merged_layer0.safetensors";
    if (golden.is_full() || (!golden.whole && !fs::exists(file)))
      continue;
    CAPTURE(golden.title());
    const auto model = test::load_golden(golden);
    peft::PeftModel adapted(*model);
    test::add_peft_adapter(golden, adapted, "after");
    adapted.merge();
    const io::ModelFiles merged(file);
    const NamedTensors parameters = model->parameters();
    for (const std::string& name : merged.names()) {
      CAPTURE(name);
      const auto own =
          std::find_if(parameters.begin(), parameters.end(), [&](const auto& p) { return p.first == name; });
      REQUIRE(own != parameters.end());
      CHECK(test::relative_error(own->second, test::read_tensor(merged, name, DType::f32)) < 1e-6);
    }
  }
}
