#include <algorithm>
#include <doctest/doctest.h>

#include "nn/io/pretrained.hpp"
#include "nn/optim/adamw.hpp"
#include "nn/optim/schedule.hpp"
#include "peft/hf_config.hpp"
#include "peft/hf_format.hpp"
#include "test/golden_case.hpp"

using namespace osteon;
namespace fs = std::filesystem;

// What PyTorch, transformers and peft compute, for every model and method (test/golden/README.md).

namespace {

struct Case {
  fs::path model, folder;
  std::string method;
  bool is_full() const { return method == "full"; }
  bool is_residual() const { return method == "pissa" || method == "olora"; }
  std::string title() const { return model.filename().string() + "/" + method; }
  fs::path expected() const { return is_full() ? model / "full.safetensors" : folder / "expected.safetensors"; }
  fs::path training() const { return is_full() ? model / "full.train.json" : folder / "train.json"; }
};

std::vector<Case> cases() {
  std::vector<Case> all;
  for (const fs::path& root : test::golden_roots()) {
    const nlohmann::json index = test::read_json(root / "index.json");
    for (const auto& [model, methods] : index.items())
      for (const auto& method : methods)
        all.push_back({root / model, root / model / method, method});
  }
  return all;
}

std::unique_ptr<nn::Llama> base_model(const Case& golden) { return nn::load_llama(golden.model / "model", DType::f32); }

/// peft's name of a parameter in PyTorch, without the adapter's name: "base_model.model.<...>.lora_A.weight".
std::string without_adapter_name(std::string name) {
  if (const auto at = name.find(".default"); at != std::string::npos)
    name.erase(at, 8);
  // A module of its own inside PyTorch, a bare parameter in the file.
  if (const auto at = name.find("_magnitude_vector.weight"); at != std::string::npos)
    name.erase(name.rfind(".weight"));
  return name;
}

/// Sets the adapter's factors from `trainable_before` and the base's weights to the residual ones.
void set_residual_start(const Case& golden, nn::Llama& model, peft::PeftModel& adapted, const std::string& which) {
  const fs::path residual = golden.folder / "residual_base.safetensors";
  if (fs::exists(residual)) {
    const io::ModelFiles files(residual);
    model.visit([&](const std::string& name, Tensor& parameter) {
      std::string key = name;
      if (const auto at = key.rfind(".weight"); at != std::string::npos)
        key.insert(at, ".base_layer");
      if (files.contains(key))
        files.read_into(key, parameter.mut().data, parameter.dtype());
    });
  }
  const io::ModelFiles files(golden.folder / which);
  for (const std::string& name : files.names())
    for (const auto& [own, tensor] : peft::adapter_tensors(adapted))
      if (own == without_adapter_name(name))
        files.read_into(name, tensor.mut().data, tensor.dtype());
}

peft::AdapterConfig residual_config(const std::string& method) {
  peft::AdapterConfig config;
  config.method = method;
  config.rank = 4;
  config.alpha = 4;
  config.target_modules = {"q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"};
  return config;
}

void add_adapter(const Case& golden, nn::Llama& model, peft::PeftModel& adapted) {
  if (golden.is_full()) {
    peft::AdapterConfig config;
    config.method = "full";
    adapted.add(config);
  } else if (golden.is_residual()) {
    // OLoRA's residual base is not stored: it follows from the factors, whose signs are LAPACK's.
    adapted.add(residual_config(golden.method), "default", golden.method == "olora");
    set_residual_start(golden, model, adapted, "trainable_before.safetensors");
  } else {
    peft::load_adapter(adapted, golden.folder / "adapter_before");
  }
}

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
  const auto all = cases();
  if (all.empty())
    MESSAGE("skipped: no golden cases found");
  for (const Case& golden : all) {
    CAPTURE(golden.title());
    const auto model = base_model(golden);
    peft::PeftModel adapted(*model);
    add_adapter(golden, *model, adapted);
    const io::ModelFiles base(golden.model / "full.safetensors"), expected(golden.expected());
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

    std::size_t compared = 0;
    const auto parameters = adapted.trainable_parameters();
    for (const std::string& name : expected.names()) {
      if (!name.starts_with("grad."))
        continue;
      const std::string plain = without_adapter_name(name.substr(5));
      const auto same = std::find_if(parameters.begin(), parameters.end(), [&](const auto& p) {
        return p.name == plain || "base_model.model." + p.name == plain;
      });
      REQUIRE_MESSAGE(same != parameters.end(), name);
      CAPTURE(name);
      CHECK(test::relative_error(same->tensor.grad(), test::read_tensor(expected, name, DType::f32)) <
            gradient_tolerance(golden.method));
      ++compared;
    }
    CHECK(compared == parameters.size());
  }
}

TEST_CASE("golden: twelve training steps follow PyTorch's loss and gradient norm") {
  for (const Case& golden : cases()) {
    CAPTURE(golden.title());
    const auto model = base_model(golden);
    peft::PeftModel adapted(*model);
    add_adapter(golden, *model, adapted);
    const io::ModelFiles batches(golden.model / "train_batches.safetensors"), expected(golden.expected());
    const nlohmann::json training = test::read_json(golden.training());
    const NamedTensors parameters = named(adapted.trainable_parameters());
    nn::AdamW optimizer({{parameters, 1.0, 0.01}});
    const nn::Schedule schedule = {nn::Schedule::Kind::cosine, 3e-3, 2, 12, 0.0};
    for (std::int64_t step = 0; step < 12; ++step) {
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
    if (golden.is_full())
      continue;
    const NoGrad no_grad;
    const test::GoldenBatch batch = test::read_batch(io::ModelFiles(golden.model / "full.safetensors"));
    CHECK(test::relative_error(model->logits(batch.input), test::read_tensor(expected, "logits_after", DType::f32)) <
          1e-4);
  }
}

TEST_CASE("golden: merging peft's trained adapter gives peft's merged weights") {
  for (const Case& golden : cases()) {
    if (golden.is_full())
      continue;
    CAPTURE(golden.title());
    const auto model = base_model(golden);
    peft::PeftModel adapted(*model);
    if (golden.is_residual()) {
      adapted.add(residual_config(golden.method), "default", golden.method == "olora");
      set_residual_start(golden, *model, adapted, "trainable_after.safetensors");
    } else {
      peft::load_adapter(adapted, golden.folder / "adapter_after");
    }
    adapted.merge();
    const io::ModelFiles merged(golden.folder / "merged_layer0.safetensors");
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
