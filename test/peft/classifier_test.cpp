#include <doctest/doctest.h>

#include "autograd/gradcheck.hpp"
#include "nn/classification.hpp"
#include "nn/io/atomic_file.hpp"
#include "test/nn/temporary_folder.hpp"
#include "test/peft/golden_adapter.hpp"
#include "test/peft/tiny_model.hpp"

using namespace osteon;
using osteon::test::TemporaryFolder;
using osteon::test::Values;
namespace fs = std::filesystem;

// Classification heads beside adapters, as transformers and peft (task_type SEQ_CLS) have them.

namespace {

struct Case {
  std::string name;
  std::int64_t labels;
};
const std::vector<Case> kCases = {{"lora", 3}, {"miss_regression", 1}};

fs::path folder_of(const Case& one) { return test::golden("classifier") / one.name; }

std::unique_ptr<nn::Llama> golden_classifier(const Case& one) {
  return nn::load_llama(test::golden("models") / "llama-gqa/model", DType::f32, default_device(), nullptr, one.labels);
}

/// The batch of a case, and each row's last token from its mask.
struct Batch {
  nn::TokenInput input;
  Tensor targets;
};
Batch batch_of(const io::ModelFiles& expected, const Case& one) {
  const Shape shape = expected.info("input_ids").shape;
  const std::vector<std::int32_t> mask = test::read_ids(expected, "attention_mask");
  Batch batch;
  batch.input = nn::token_input(test::read_ids(expected, "input_ids"), mask, shape[0], shape[1]);
  std::vector<std::int32_t> last;
  for (std::int64_t row = 0; row < shape[0]; ++row)
    for (std::int64_t t = shape[1] - 1; static_cast<std::int64_t>(last.size()) == row; --t)
      if (mask[static_cast<std::size_t>(row * shape[1] + t)] == 1)
        last.push_back(static_cast<std::int32_t>(row * shape[1] + t));
  batch.input.last = from_ids(last, {shape[0]});
  batch.targets = one.labels == 1 ? test::read_tensor(expected, "targets", DType::f32)
                                  : from_ids(test::read_ids(expected, "targets"), {shape[0]});
  return batch;
}

/// "grad.base_model.model.score.modules_to_save.default.weight" -> "base_model.model.score.weight"
std::string file_name_of(std::string gradient) {
  gradient = gradient.substr(5);
  if (const auto at = gradient.find(".modules_to_save"); at != std::string::npos)
    gradient.erase(at, 16);
  return test::name_in_file(gradient);
}

void check_close(const Tensor& got, const Tensor& expected, double tolerance) {
  const std::vector<double> a = got.to_doubles(), b = expected.to_doubles();
  REQUIRE(a.size() == b.size());
  double largest = 0, worst = 0;
  for (std::size_t i = 0; i < a.size(); ++i) {
    largest = std::max(largest, std::abs(b[i]));
    worst = std::max(worst, std::abs(a[i] - b[i]));
  }
  CHECK(worst <= tolerance * std::max(largest, 1e-3));
}

nn::LlamaConfig classifier_config(std::int64_t labels) {
  nn::LlamaConfig config = test::tiny_llama_config();
  config.num_labels = labels;
  return config;
}

peft::AdapterConfig classifier_adapter(const std::string& method) {
  peft::AdapterConfig config = test::tiny_adapter(method);
  config.task_type = peft::kSequenceClassification;
  config.modules_to_save = {"classifier", "score"};
  return config;
}

}  // namespace

TEST_CASE("golden: a classifier has transformers' logits, loss and gradients") {
  for (const Case& one : kCases) {
    CAPTURE(one.name);
    const auto model = golden_classifier(one);
    peft::PeftModel adapted(*model);
    std::vector<std::string> warnings;
    peft::load_adapter(adapted, folder_of(one), "default", &warnings);
    CHECK(warnings.empty());
    const io::ModelFiles expected(folder_of(one) / "expected.safetensors");
    const Batch batch = batch_of(expected, one);
    const auto rows = static_cast<double>(batch.targets.numel());
    const Tensor loss = model->loss(batch.input, batch.targets, rows);
    check_close(model->logits(batch.input), test::read_tensor(expected, "logits", DType::f32), 2e-6);
    check_close(loss, test::read_tensor(expected, "loss", DType::f32), 2e-6);
    loss.backward();
    const NamedTensors own = peft::adapter_tensors(adapted);
    std::size_t checked = 0;
    for (const std::string& name : expected.names()) {
      if (!name.starts_with("grad."))
        continue;
      CAPTURE(name);
      for (const auto& [key, tensor] : own)
        if (key == file_name_of(name)) {
          check_close(tensor.grad(), test::read_tensor(expected, name, DType::f32), 2e-5);
          ++checked;
        }
    }
    CHECK(checked == own.size());
  }
}

TEST_CASE("golden: peft's SEQ_CLS folder, loaded and saved, is the same bytes") {
  for (const Case& one : kCases) {
    CAPTURE(one.name);
    const auto model = golden_classifier(one);
    peft::PeftModel adapted(*model);
    peft::load_adapter(adapted, folder_of(one));
    const TemporaryFolder folder;
    peft::save_adapter(adapted, folder.path());
    for (const char* file : {"adapter_model.safetensors", "adapter_config.json"})
      CHECK_MESSAGE((io::read_file(folder / file) == io::read_file(folder_of(one) / file)), file);
  }
}

TEST_CASE("the head's gradients agree with central differences") {
  const Tensor last = from_ids(std::vector<std::int32_t>{2, 9, 9}, {3});  // a row that is taken twice adds up
  const auto numbers = [](const Shape& shape, std::uint64_t seed) {
    return from_values(test::grid_values(shape.numel(), seed), shape, DType::f64);
  };
  for (const std::int64_t labels : {1, 2, 5}) {
    CAPTURE(labels);
    const Tensor targets = labels == 1 ? from_values(std::vector<double>{0.7, -1.2, 3}, {3}, DType::f64)
                                       : from_ids(std::vector<std::int32_t>{1, 0, 1}, {3});
    const GradReport report = gradcheck(
        [&](const std::vector<Tensor>& in) {
          const Tensor logits = linear(nn::last_tokens(in[0], last), in[1]);
          return nn::classification_loss(reshape(logits, {3, labels}), targets, 3.0);
        },
        {numbers({3, 4, 6}, 1), numbers({labels, 6}, 2)});
    CHECK_MESSAGE(report.max_error <= 1e-6, report.worst);
  }
}

TEST_CASE("a classifier's gradients agree with central differences through the whole model") {
  constexpr double kStep = 1e-5;
  for (const std::int64_t labels : {1, 3})
    for (const char* method : {"lora", "bone", "bat"}) {
      CAPTURE(method);
      CAPTURE(labels);
      nn::Llama model(classifier_config(labels), DType::f64);
      model.initialize(5);
      peft::PeftModel adapted(model);
      peft::AdapterConfig config = classifier_adapter(method);
      config.dtype = DType::f64;
      test::disturb(adapted.add(config), 7);
      nn::TokenInput input = test::tiny_input();
      input.last = from_ids(std::vector<std::int32_t>{3, 11}, {2});
      const Tensor targets = labels == 1 ? from_values(std::vector<double>{0.7, -1.2}, {2}, DType::f64)
                                         : from_ids(std::vector<std::int32_t>{2, 0}, {2});
      model.loss(input, targets, 2.0).backward();
      for (const peft::TrainableParameter& parameter : adapted.trainable_parameters()) {
        CAPTURE(parameter.name);
        const Values gradient = parameter.tensor.grad().to_doubles(), values = parameter.tensor.to_doubles();
        double largest = 1e-3;
        for (const double element : gradient)
          largest = std::max(largest, std::abs(element));
        const NoGrad no_grad;
        for (std::size_t i = 0; i < values.size(); i += values.size() / 3 + 1) {
          const auto loss_at = [&](double step) {
            Values moved = values;
            moved[i] += step;
            test::set_values(parameter.tensor, moved);
            return model.loss(input, targets, 2.0).item();
          };
          const double numeric = (loss_at(kStep) - loss_at(-kStep)) / (2 * kStep);
          CHECK(std::abs(gradient[i] - numeric) <= 1e-6 * largest);
          test::set_values(parameter.tensor, values);
        }
      }
    }
}

TEST_CASE("a captured step's normalizer, which only the device knows, divides loss and gradient alike") {
  const Tensor inverse = from_values(std::vector<double>{0.25}, {1}, DType::f64);
  const Tensor target = from_values(std::vector<double>{1, 0, 2, 5}, {4}, DType::f32);
  const auto trained = [&](const Normalizer& normalizer) {
    const Tensor prediction = from_values(std::vector<double>{0.5, -1, 2, 3}, {4}, DType::f32);
    prediction.set_requires_grad(true);
    const Tensor loss = squared_error(prediction, target, normalizer);
    loss.backward();
    std::vector<double> all = prediction.grad().to_doubles();
    all.push_back(loss.item());
    return all;
  };
  CHECK(trained(Normalizer(inverse)) == std::vector<double>{-0.25, -0.5, 0, -1, (0.25 + 1 + 4) / 4});
  CHECK(trained(Normalizer(inverse)) == trained(4.0));
}

TEST_CASE("a row's logits do not depend on the padding or the rows beside it") {
  nn::Llama model(classifier_config(3), DType::f32);
  model.initialize(5);
  const NoGrad no_grad;
  const auto logits_of = [&](const std::vector<std::int32_t>& ids, const std::vector<std::int32_t>& mask,
                             const std::vector<std::int32_t>& last) {
    const auto rows = static_cast<std::int64_t>(last.size()), columns = static_cast<std::int64_t>(ids.size()) / rows;
    nn::TokenInput input = nn::token_input(ids, mask, rows, columns);
    input.last = from_ids(last, {rows});
    Values all = model.logits(input).to_doubles();
    REQUIRE(all.size() == last.size() * 3);
    all.resize(3);
    return all;
  };
  const Values first = logits_of({5, 9, 2, 0, 0, 7, 7, 1, 3, 4}, {1, 1, 1, 0, 0, 1, 1, 1, 1, 1}, {2, 9});
  CHECK(logits_of({5, 9, 2, 8, 1, 6, 2, 4, 0, 0}, {1, 1, 1, 0, 0, 1, 1, 1, 0, 0}, {2, 7}) == first);
  const Values alone = logits_of({5, 9, 2}, {1, 1, 1}, {2});
  // How many rows a product has decides the order of a GPU's sums.
  const double rounded = default_device() == Device::cpu ? 0 : 1e-6;
  for (std::size_t i = 0; i < first.size(); ++i)
    CHECK(std::abs(alone[i] - first[i]) <= rounded * std::max(1.0, std::abs(first[i])));
}

TEST_CASE("the head is trained whole and never adapted; a tied base has one of its own") {
  nn::LlamaConfig tied = classifier_config(2);
  tied.tie_word_embeddings = true;
  for (const nn::LlamaConfig& config : {classifier_config(2), tied}) {
    nn::Llama model(config, DType::f32);
    model.initialize(5);
    CHECK(model.parameters().back().first == "score.weight");
    peft::PeftModel adapted(model);
    peft::AdapterConfig all = classifier_adapter("lora");
    all.target_modules = {"all-linear"};
    all.target_is_pattern = true;
    const peft::ModelAdapter& adapter = adapted.add(all);
    CHECK(!adapter.modules.contains("score"));
    CHECK(adapter.modules.size() == static_cast<std::size_t>(7 * config.num_hidden_layers));
    CHECK(adapter.saved_modules.at("score.weight").shape() == Shape{2, config.hidden_size});
  }
}

TEST_CASE("a classification head and its adapter belong together") {
  nn::Llama classifier(classifier_config(2), DType::f32), language(test::tiny_llama_config(), DType::f32);
  peft::PeftModel with_head(classifier), without(language);
  CHECK_THROWS_WITH_AS(without.add(classifier_adapter("lora")),
                       "task_type: SEQ_CLS: expected a model with a classification head, got a language model",
                       ConfigError);
  CHECK_THROWS_WITH_AS(with_head.add(test::tiny_adapter("lora")),
                       "task_type: expected SEQ_CLS for a model with a classification head, got CAUSAL_LM",
                       ConfigError);
  CHECK_THROWS_AS(peft::load_adapter(without, folder_of(kCases[0])), FileError);
  const auto two = nn::load_llama(test::golden("models") / "llama-gqa/model", DType::f32, default_device(), nullptr, 2);
  peft::PeftModel other(*two);
  CHECK_THROWS_WITH_AS(peft::load_adapter(other, folder_of(kCases[0])),
                       doctest::Contains("score.weight: expected shape [2, 64], found [3, 64]"), FileError);
}

TEST_CASE("classifiers refuse what is no row's last token, no class, no score") {
  nn::Llama model(classifier_config(2), DType::f32);
  model.initialize(5);
  nn::TokenInput input = test::tiny_input();
  CHECK_THROWS_WITH_AS(model.logits(input), "last_tokens: last: expected i32 [2], got nothing", ShapeError);
  input.last = from_ids(std::vector<std::int32_t>{5, 12}, {2});
  CHECK_THROWS_AS(model.logits(input).to_doubles(), IndexError);
  input.last = from_ids(std::vector<std::int32_t>{5, 11}, {2});
  const auto loss = [&](const Tensor& targets) { return model.loss(input, targets, 2.0).item(); };
  CHECK_THROWS_WITH_AS(loss(from_ids(std::vector<std::int32_t>{0, 2}, {2})),
                       "cross_entropy: targets: expected ids in [0, 2) or -100, got 2 at 1", IndexError);
  CHECK_THROWS_WITH_AS(loss(from_values(std::vector<double>{1, 2}, {2}, DType::f32)),
                       "classification_loss: targets: expected classes as i32 for 2 labels, got f32", ShapeError);
  CHECK_THROWS_WITH_AS(model.last_logits(input), "llama: a model with a classification head has no next token",
                       ShapeError);
}
