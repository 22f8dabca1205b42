#include "autograd/captured_step.hpp"

#include <doctest/doctest.h>
#include <optional>

#include "autograd/random_state.hpp"
#include "backends/open_device.hpp"
#include "backends/trace.hpp"
#include "nn/io/pretrained.hpp"
#include "nn/optim/adamw.hpp"
#include "test/golden_case.hpp"
#include "test/peft/tiny_model.hpp"

namespace osteon::test {
namespace {

constexpr std::int64_t kRows = 2;

/// Another batch for each number: ids, padding and how many targets count.
struct Batch {
  nn::TokenInput input;
  Tensor targets, inverse;

  Batch(std::int32_t number, std::int64_t length, std::int32_t first_id = 1) {
    std::vector<std::int32_t> ids, mask, labels;
    for (std::int32_t i = 0; i < kRows * length; ++i) {
      const bool real = i % length < length - number % 3;
      ids.push_back((i * 7 + number * 5) % 24);
      mask.push_back(real ? 1 : 0);
      labels.push_back(real && i % length > number % 2 ? (i * 3 + number) % 24 : -100);
    }
    ids[0] = first_id;
    mask[mask.size() - 1] = 0;  // all have a key_range
    input = nn::token_input(ids, mask, kRows, length);
    targets = from_ids(nn::shifted_labels(labels, length), {kRows, length});
    double counted = 0;
    for (const double target : targets.to_doubles())
      counted += target >= 0 ? 1 : 0;
    inverse = from_values(Values{1.0 / counted}, {1}, DType::f64);
  }
};

/// Trains a tiny model, all in one with a captured step or each step by itself.
class Training {
 public:
  explicit Training(const std::string& method, DType dtype = DType::f32, double dropout = 0,
                    nn::MemoryPolicy policy = nn::MemoryPolicy::save)
      : Training(with_policy(tiny_model(dtype), policy), with_dropout(tiny_adapter(method), dropout)) {}
  Training(std::unique_ptr<nn::LanguageModel> model, const peft::AdapterConfig& config)
      : model_(std::move(model)), adapted_(*model_) {
    disturb(adapted_.add(config), 3);
    std::vector<Tensor> tensors;
    for (const peft::TrainableParameter& parameter : adapted_.trainable_parameters()) {
      parameters_.emplace_back(parameter.name, parameter.tensor);
      tensors.push_back(parameter.tensor);
    }
    optimizer_.emplace(std::vector<nn::ParameterGroup>{{parameters_, 1.0, 0.01}});
    captured_.emplace(tensors);
  }

  double step(bool capture, std::int64_t length = 6, std::int32_t first_id = 1) {
    Batch next(++steps_, length, first_id);
    if (!capture || !batch_ || batch_->input.ids.shape() != next.input.ids.shape()) {
      batch_ = next;
    } else {
      copy_elements(next.input.ids, batch_->input.ids);
      copy_elements(next.input.key_range, batch_->input.key_range);
      copy_elements(next.targets, batch_->targets);
      copy_elements(next.inverse, batch_->inverse);
    }
    random_state() = {RandomKey{1, static_cast<std::uint64_t>(steps_)}, 0};
    const auto forward_backward = [&] {
      const Tensor loss = model_->loss(batch_->input, batch_->targets, Normalizer(batch_->inverse));
      loss.backward();
      model_->finish_gradients();
      return std::vector<Tensor>{loss.detach()};
    };
    const double loss =
        capture ? captured_->run(join(length), forward_backward)[0].item() : forward_backward()[0].item();
    adapted_.before_optimizer_step();
    optimizer_->step(1e-2 / steps_, nn::clip_factor(nn::global_gradient_norm(parameters_), 0.5));
    optimizer_->clear_gradients();
    return loss;
  }

  CapturedStep& captured() { return *captured_; }
  Values logits() const {
    const NoGrad no_grad;
    return model_->logits(tiny_input()).to_doubles();
  }
  std::vector<Values> parameters() const {
    std::vector<Values> all;
    for (const auto& [name, parameter] : parameters_)
      all.push_back(parameter.to_doubles());
    return all;
  }

 private:
  static std::unique_ptr<nn::Llama> with_policy(std::unique_ptr<nn::Llama> model, nn::MemoryPolicy policy) {
    model->set_memory_policy(policy);
    return model;
  }
  static peft::AdapterConfig with_dropout(peft::AdapterConfig config, double dropout) {
    config.dropout = dropout;
    return config;
  }

  std::unique_ptr<nn::LanguageModel> model_;
  peft::PeftModel adapted_;
  NamedTensors parameters_;
  std::optional<nn::AdamW> optimizer_;
  std::optional<CapturedStep> captured_;
  std::optional<Batch> batch_;
  std::int32_t steps_ = 0;
};

bool on_gpu() { return default_device() == Device::cuda; }

/// 8 steps of both; evaluations in between must neither see old copies of parameters nor leave some.
void check_bit_equal(Training& eager, Training& replayed) {
  for (int i = 1; i <= 8; ++i) {
    CAPTURE(i);
    CHECK(replayed.step(true) == eager.step(false));
    CHECK(replayed.captured().captured() == (on_gpu() && i > 2));
    if (i == 4 || i == 6)
      CHECK(replayed.logits() == eager.logits());
  }
  CHECK(replayed.parameters() == eager.parameters());
  CHECK(replayed.captured().refusal().empty());
}

TEST_CASE("replayed steps are bit-equal to eager ones, whatever the method") {
  for (const std::string& method : training_methods())
    for (const DType dtype : {DType::f32, DType::bf16}) {
      CAPTURE(method);
      CAPTURE(dtype);
      Training eager(method, dtype), replayed(method, dtype);
      check_bit_equal(eager, replayed);
    }
}

TEST_CASE("replayed steps are bit-equal under each memory policy") {
  for (const nn::MemoryPolicy policy : nn::kMemoryPolicies)
    for (const char* method : {"lora", "bone"}) {
      CAPTURE(method);
      Training eager(method, DType::bf16, 0, policy), replayed(method, DType::bf16, 0, policy);
      check_bit_equal(eager, replayed);
    }
}

TEST_CASE("replayed steps of recurrent models are bit-equal to eager ones") {
  for (const char* version : {"rwkv6", "rwkv7"})
    for (const DType dtype : {DType::f32, DType::bf16}) {
      CAPTURE(version);
      CAPTURE(dtype);
      peft::AdapterConfig config = tiny_adapter("bone");
      config.target_modules = {"all-linear"};
      config.target_is_pattern = true;
      const auto model = [&] { return nn::load_rwkv(golden("rwkv") / version / "model.safetensors", dtype); };
      Training eager(model(), config), replayed(model(), config);
      check_bit_equal(eager, replayed);
    }
}

TEST_CASE("a step whose numbers are drawn by the host runs eagerly, and says why") {
  Training eager("lora", DType::bf16, 0.3), other("lora", DType::bf16, 0.3);
  for (int i = 0; i < 5; ++i)
    CHECK(other.step(true) == eager.step(false));
  CHECK(other.parameters() == eager.parameters());
  CHECK(!other.captured().captured());
  CHECK(other.captured().refusal() == (on_gpu() ? "dropout draws other masks in each step" : ""));
}

TEST_CASE("other shapes give up the graph, and shapes that keep changing are not captured again") {
  Training eager("bone"), replayed("bone");
  const auto both = [&](std::int64_t length, int steps) {
    for (int i = 0; i < steps; ++i)
      CHECK(replayed.step(true, length) == eager.step(false, length));
  };
  both(6, 12);  // used often enough
  for (const std::int64_t length : {5, 6, 5}) {
    both(length, 2);
    CHECK(!replayed.captured().captured());
    both(length, 2);
    CHECK(replayed.captured().captured() == on_gpu());
  }
  CHECK(replayed.captured().refusal().empty());
  both(6, 4);
  CHECK(!replayed.captured().captured());
  CHECK(replayed.captured().refusal().empty() != on_gpu());
  CHECK(replayed.parameters() == eager.parameters());
}

TEST_CASE("a trace gives up the graph for steps that it can look into") {
  Training training("lora");
  for (int i = 0; i < 4; ++i)
    training.step(true);
  CHECK(training.captured().captured() == on_gpu());
  const TraceRecorder trace;
  training.step(true);
  CHECK(!training.captured().captured());
  CHECK(trace.events().size() > 10);
}

TEST_CASE("a token id that a replay cannot use is an error as in an eager step") {
  Training training("lora");
  for (int i = 0; i < 4; ++i)
    training.step(true);
  CHECK_THROWS_AS(training.step(true, 6, 24), IndexError);
}

}  // namespace
}  // namespace osteon::test
