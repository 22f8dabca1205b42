#include "experiments/training/trainer.hpp"

#include <cmath>
#include <doctest/doctest.h>
#include <limits>

#include "experiments/training/evaluation.hpp"
#include "test/peft/tiny_model.hpp"

namespace osteon::test {
namespace {

using namespace experiments;

/// Batches of random tokens: each window's lengths are the same unless `varied`, and other tokens count in each.
class Stream final : public BatchStream {
 public:
  explicit Stream(bool varied = false, std::int64_t batches = 2) : varied_(varied), batches_(batches) {}
  std::int64_t steps_in(double) const override { return 0; }

 private:
  StepData produce() override {
    StepData step;
    ++position_;
    for (std::int64_t i = 0; i < batches_; ++i) {
      std::vector<Example> rows(2);
      for (std::size_t row = 0; row < rows.size(); ++row)
        for (std::int64_t t = 0; t < length() - static_cast<std::int64_t>(row); ++t) {  // the second is padded
          rows[row].ids.push_back(static_cast<std::int32_t>((t * 7 + position_ * 5 + i) % 24));
          rows[row].labels.push_back(t < position_ % 3 ? kIgnored : rows[row].ids.back());
        }
      step.batches.push_back(pad_batch(rows, 0));
    }
    return step;
  }
  std::int64_t length() const { return varied_ ? 4 + position_ % 4 : 6; }
  StreamState place() const override { return {.position = position_}; }
  void go_to(const StreamState& state) override { position_ = state.position; }

  bool varied_;
  std::int64_t batches_, position_ = 0;
};

struct Run {
  LoadedModel loaded;
  RunConfig config;
  TrainerOptions options;

  explicit Run(const std::string& method, const std::string& cuda_graph, double dropout = 0) {
    loaded.model = tiny_model(DType::bf16);
    loaded.adapted = std::make_unique<peft::PeftModel>(*loaded.model);
    peft::AdapterConfig adapter = tiny_adapter(method);
    adapter.dropout = dropout;
    disturb(loaded.adapted->add(adapter), 3);
    options.quiet = true;
    config.method = method;
    config.steps = 12;
    config.lr = 1e-2;
    config.clip_norm = 0.5;
    config.cuda_graph = cuda_graph;
  }

  NamedTensors parameters() const {
    NamedTensors all;
    for (const peft::TrainableParameter& parameter : loaded.adapted->trainable_parameters())
      all.emplace_back(parameter.name, parameter.tensor);
    return all;
  }
  std::vector<Values> values() const {
    std::vector<Values> all;
    for (const auto& [name, parameter] : parameters())
      all.push_back(parameter.to_doubles());
    return all;
  }
  TrainingResult train(Stream stream = Stream()) {
    Trainer trainer(config, loaded, stream, options);
    const std::vector<EvaluationData> evaluation = {{"held out", Stream(true).next().batches, false}};
    return trainer.run(evaluation);
  }
};

bool on_gpu() { return default_device() == Device::cuda; }

void check_same(Run& captured, Run& eager, const Stream& stream = Stream()) {
  const TrainingResult a = captured.train(stream), b = eager.train(stream);
  CHECK(a.last_loss == b.last_loss);
  CHECK(a.steps == 12);
  CHECK(a.tokens == b.tokens);
  CHECK(a.batch_hash == b.batch_hash);
  CHECK(a.saved_tensors.size() == b.saved_tensors.size());
  CHECK(captured.values() == eager.values());
}

TEST_CASE("windows are captured on a GPU once two had the same shapes, and leave the same bits") {
  const Run run("bone", "auto");
  const NamedTensors parameters = run.parameters();
  TrainingWindow captured(*run.loaded.model, parameters, true), eager(*run.loaded.model, parameters, false);
  Stream stream;
  for (int i = 1; i <= 6; ++i) {
    CAPTURE(i);
    const StepData step = stream.next();
    const auto gradients_of = [&](TrainingWindow& window) {
      const TrainingWindow::Result result = window.run(step, "step");
      std::vector<Values> all = {{result.loss, result.norm}};
      for (const auto& [name, parameter] : parameters) {
        all.push_back(parameter.grad().to_doubles());
        parameter.clear_grad();
      }
      return all;
    };
    CHECK(gradients_of(captured) == gradients_of(eager));
    CHECK(captured.captured() == (on_gpu() && i > 2));
    CHECK(!eager.captured());
  }
  captured.reset();
  CHECK(!captured.captured());
  CHECK(captured.refusal().empty());
  CHECK(captured.saved_tensors().size() == eager.saved_tensors().size());
  StepData nothing = stream.next();
  for (TokenBatch& batch : nothing.batches)
    std::fill(batch.labels.begin(), batch.labels.end(), kIgnored);
  CHECK_THROWS_WITH_AS(captured.run(nothing, "step 8"), "step 8: the window has no token to learn", NumericError);
}

TEST_CASE("a run with graphs ends in the same bits as one without") {
  for (const char* method : {"lora", "bone", "bat", "full"})
    for (const std::int64_t eval_every : {0, 5}) {
      CAPTURE(method);
      Run captured(method, "auto"), eager(method, "off");
      captured.config.eval_every = eager.config.eval_every = eval_every;
      check_same(captured, eager);
    }
}

TEST_CASE("graphs keep the inputs of a window besides what its steps take, and no more") {
  const auto memory_of = [](const std::string& method, const std::string& cuda_graph) {
    release_idle_memory(default_device());
    const std::int64_t before = memory_report(default_device()).live.total();
    Run run(method, cuda_graph);
    release_idle_memory(default_device());
    reset_memory_peak(default_device());
    Stream stream;
    Trainer trainer(run.config, run.loaded, stream, run.options);
    trainer.run({});
    const MemoryReport report = memory_report(default_device());
    return std::pair(report.peak.total() - before, report.live.total() + report.pool_idle_bytes - before);
  };
  // Of two batches of 2 x 6 tokens, ids, positions, targets and ranges of keys; a normalizer, two losses and a norm.
  const std::int64_t kept = 2 * 12 * (3 + 2) * 4 + 8 + 2 * 4 + 8;
  for (const char* method : {"lora", "bone", "bat", "full"}) {
    CAPTURE(method);
    const auto [peak, held] = memory_of(method, "auto");
    const auto [eager_peak, eager_held] = memory_of(method, "off");
    CHECK(peak >= eager_peak);
    CHECK(peak <= eager_peak + (on_gpu() ? kept : 0));
    // 12 blocks, each with its padding and rounding: gradients and activations are blocks that the pool has.
    CHECK(held <= eager_held + (on_gpu() ? kept + 12 * 128 : 0));
  }
}

TEST_CASE("a run whose shapes vary, or that draws masks, ends in the same bits too") {
  Run captured("lora", "auto"), eager("lora", "off");
  check_same(captured, eager, Stream(true));
  Run drawn("lora", "auto", 0.3), drawn_eagerly("lora", "off", 0.3);
  check_same(drawn, drawn_eagerly);
}

TEST_CASE("where a replay's loss is no number the op that made it is named") {
  Run run("lora", "auto");
  int steps = 0;
  run.options.should_stop = [&] {
    if (++steps == 6)  // long after the capture
      set_values(run.parameters()[0].second, Values(static_cast<std::size_t>(run.parameters()[0].second.numel()),
                                                    std::numeric_limits<double>::quiet_NaN()));
    return false;
  };
  CHECK_THROWS_WITH_AS(run.train(), doctest::Contains("step 6: loss nan, gradient norm nan: linear"), NumericError);
}

}  // namespace
}  // namespace osteon::test
