#include "experiments/measure/planner.hpp"

#include <doctest/doctest.h>

#include "backends/gpu_workspace.hpp"
#include "nn/io/pretrained.hpp"
#include "peft/methods.hpp"
#include "test/nn/temporary_folder.hpp"

using namespace osteon;
using namespace osteon::experiments;
namespace fs = std::filesystem;

namespace {

constexpr std::int64_t kRank = 4;

/// Two layers, wide enough that the products of a batch take several paths.
nn::LlamaConfig plain_shape() {
  nn::LlamaConfig config;
  config.vocab_size = 96;
  config.hidden_size = 32;
  config.intermediate_size = 48;
  config.num_hidden_layers = 2;
  config.num_attention_heads = 4;
  config.num_key_value_heads = 4;
  config.head_dim = 8;
  config.max_position_embeddings = 64;
  return config;
}

struct NamedShape {
  const char* name;
  nn::LlamaConfig config;
};

std::vector<NamedShape> shapes() {
  NamedShape plain{"plain", plain_shape()}, tied{"grouped, tied", plain_shape()}, biased{"biases", plain_shape()},
      ragged{"ragged", plain_shape()};
  tied.config.num_key_value_heads = 2;
  tied.config.tie_word_embeddings = true;
  biased.config.attention_bias = biased.config.attention_output_bias = biased.config.mlp_bias = true;
  biased.config.head_dim = 12;  // not hidden_size / heads
  ragged.config.intermediate_size = 50;
  ragged.config.num_key_value_heads = 1;
  return {plain, tied, biased, ragged};
}

class Models {
 public:
  fs::path folder_of(const NamedShape& shape) const {
    const fs::path folder = folder_.path() / shape.name;
    if (!fs::exists(folder)) {
      nn::Llama model(shape.config, DType::f32);
      model.initialize(5);
      nn::save_llama(model, folder);
    }
    return folder;
  }

 private:
  test::TemporaryFolder folder_;
};

RunConfig small_run(const fs::path& model, const std::string& method) {
  RunConfig config;
  config.model = model.string();
  config.method = method;
  config.rank = kRank;
  config.mini_r = kRank;
  config.batch_size = 3;
  config.seq_len = 10;
  config.accumulate = 1;
  config.threads = 2;
  return config;
}

void compare(const RunConfig& config) {
  CAPTURE(config.method);
  CAPTURE(config.dtype);
  CAPTURE(config.adapter_dtype);
  CAPTURE(config.accumulate);
  CAPTURE(config.memory_policy);
  CAPTURE(config.checkpoint_layers);
  const Plan planned = plan(config);
  const StepCost measured = measure(config);
  for (const Category category : kCategories) {
    CAPTURE(name_of(category));
    CHECK(planned.peak[category] == measured.peak[category]);
    CHECK(planned.peak_each[category] == measured.peak_each[category]);
  }
  CHECK(planned.flops == measured.flops);
  CHECK(planned.ops == measured.ops);
  CHECK(planned.peak_place == measured.peak_place);
  CHECK(planned.pool_bytes == measured.pool_bytes);
}

}  // namespace

TEST_CASE("planner: every byte and every FLOP is the run's, for each method, policy and kind of model") {
  const Models models;
  for (const NamedShape& shape : shapes())
    for (const auto& method : peft::methods()) {
      if ((method->name() == "bitfit" && !shape.config.attention_bias) || method->name() == "state")
        continue;  // nothing would train
      CAPTURE(shape.name);
      RunConfig config = small_run(models.folder_of(shape), method->name());
      if (shape.config.intermediate_size % kRank != 0 &&
          (method->name().starts_with("bat") || method->name() == "miss_mini"))
        config.exclude_modules.names = {"gate_proj", "up_proj", "down_proj"};
      for (const char* dtype : {"f32", "bf16"})
        for (const std::int64_t accumulate : {1, 2}) {
          config.dtype = dtype;
          config.accumulate = accumulate;
          for (const nn::MemoryPolicy policy : nn::kMemoryPolicies) {
            config.memory_policy = name_of(policy);
            compare(config);
          }
          config.memory_policy = "recompute_cheap";
          config.checkpoint_layers = 1;
          compare(config);
          config.checkpoint_layers = 0;
        }
    }
}

TEST_CASE("planner: a GPU is planned for on any machine, with the working memory of its kernels") {
  const Models models;
  for (const char* method : {"lora", "bone", "full"}) {
    CAPTURE(method);
    RunConfig config = small_run(models.folder_of(shapes()[0]), method);
    config.device = "cpu";
    const Plan cpu = plan(config);
    config.device = "cuda:1";
    config.cuda_graph = "off";
    const Plan gpu = plan(config);
    CHECK(cpu.device == Device::cpu);
    CHECK(gpu.device == Device::cuda);
    CHECK(gpu.peak_each[Category::workspace] >= kernels::product_workspace());
    CHECK(gpu.peak_each[Category::workspace] < kernels::product_workspace() + (1 << 20));
    CHECK(gpu.flops == cpu.flops);
    for (const Category category : kCategories)
      if (category != Category::workspace)
        CHECK(gpu.peak_each[category] == cpu.peak_each[category]);
    // A graph keeps ids and targets of each batch, and a normalizer.
    const std::int64_t batch_bytes = config.batch_size * config.seq_len * 2 * 4;
    config.accumulate = 5;
    const std::int64_t eager = plan(config).peak.total();
    config.cuda_graph = "auto";
    const std::int64_t captured = plan(config).peak.total();
    CHECK(captured >= eager + 4 * batch_bytes + 8);
    CHECK(captured <= eager + 5 * batch_bytes + 8);
    config.accumulate = 1;
    config.device = "cpu";
    CHECK(plan(config).peak_each.total() == cpu.peak_each.total());  // the plan before leaves nothing behind
    config.device = "gpu";
    CHECK_THROWS_WITH_AS(plan(config), "device: expected auto, cpu, cuda or cuda:N, got gpu", ConfigError);
  }
}

TEST_CASE("planner: rows of a task are as long as the task makes them") {
  const Models models;
  RunConfig config = small_run(models.folder_of(shapes()[0]), "bone"), same = config;
  config.data = "down";
  same.seq_len = 24;
  CHECK(plan(config).tokens_per_step == 3 * 24);
  CHECK(plan(config).peak.total() == plan(same).peak.total());
  CHECK(plan(config).flops == plan(same).flops);
  compare(config);
}

TEST_CASE("planner: settings of the run that change what lives when") {
  const Models models;
  for (const char* method : {"full", "lora", "dora", "bone", "bat"})
    for (const char* dtype : {"f32", "bf16"}) {
      RunConfig config = small_run(models.folder_of(shapes()[0]), method);
      config.dtype = dtype;
      const auto with = [&](auto&& change) {
        RunConfig changed = config;
        change(changed);
        compare(changed);
      };
      with([](RunConfig& run) { run.clip_norm = 0; });
      with([](RunConfig& run) { run.seq_len = 40; });
      with([](RunConfig& run) { run.threads = 1; });
      if (std::string(method) == "full")
        continue;
      with([](RunConfig& run) { run.adapter_dtype = "bf16"; });
      with([](RunConfig& run) { run.modules_to_save = {"lm_head"}; });
      with([](RunConfig& run) { run.bias = "all"; });
      if (std::string(method) != "bat" && std::string(method) != "dora")
        for (const char* policy : {"save", "recompute_cheap"})
          with([&](RunConfig& run) { run.dropout = 0.1, run.memory_policy = policy; });
    }
}

namespace {

/// Products of a layer's linears, summed: features in, out, and weights.
struct Linears {
  double in = 0, out = 0, weights = 0;
  Linears& operator+=(const Linears& other) {
    in += other.in;
    out += other.out;
    weights += other.weights;
    return *this;
  }
};

Linears one(std::int64_t in, std::int64_t out) {
  const auto i = static_cast<double>(in), o = static_cast<double>(out);
  return {i, o, i * o};
}

/// What the hand formulas are made of: all linears but the head, and those that read the embedding, which takes no
/// gradient where it is frozen.
struct Sizes {
  Linears all, first;
  double tokens, passes, head, attention;

  Sizes(const nn::LlamaConfig& c, const RunConfig& run) {
    first += one(c.hidden_size, c.num_attention_heads * c.head_dim);
    for (int i = 0; i < 2; ++i)
      first += one(c.hidden_size, c.num_key_value_heads * c.head_dim);
    Linears layer = first;
    layer += one(c.num_attention_heads * c.head_dim, c.hidden_size);
    for (int i = 0; i < 2; ++i)
      layer += one(c.hidden_size, c.intermediate_size);
    layer += one(c.intermediate_size, c.hidden_size);
    for (std::int64_t i = 0; i < c.num_hidden_layers; ++i)
      all += layer;
    passes = static_cast<double>(run.accumulate);
    tokens = static_cast<double>(run.batch_size * run.seq_len) * passes;
    head = static_cast<double>(c.vocab_size * c.hidden_size);
    attention = static_cast<double>(c.num_hidden_layers * c.num_attention_heads * c.head_dim) * tokens *
                static_cast<double>(run.seq_len + 1) / 2;
  }
};

}  // namespace

TEST_CASE("planner: FLOPs are those of the hand formulas") {
  const Models models;
  for (const NamedShape& shape : shapes())
    for (const char* method : {"full", "lora", "bone", "bat"}) {
      CAPTURE(shape.name);
      CAPTURE(method);
      const std::string name = method;
      if (name == "bat" && shape.config.intermediate_size % kRank != 0)
        continue;
      RunConfig config = small_run(models.folder_of(shape), method);
      config.accumulate = 3;  // of which two are run
      const Sizes s(shape.config, config);
      const FlopCount flops = plan(config).flops;
      const double r = kRank;

      CHECK(flops.of(Pass::forward, Work::base) == 2 * s.all.weights * s.tokens);
      CHECK(flops.of(Pass::forward, Work::head) == 2 * s.head * s.tokens);
      CHECK(flops.of(Pass::forward, Work::attention) == 4 * s.attention);
      CHECK(flops.of(Pass::backward, Work::attention) == 10 * s.attention);
      if (name == "full") {
        // 6 a weight and token; the head's logits are computed a second time beside a gradient that is there already.
        CHECK(flops.of(Pass::backward, Work::base) == 4 * s.all.weights * s.tokens);
        CHECK(flops.of(Pass::backward, Work::head) == (4 + 6 * (s.passes - 1)) * s.head * s.tokens / s.passes);
        CHECK(flops.of(Pass::forward, Work::adapter) == 0);
        CHECK(flops.of(Pass::backward, Work::adapter) == 0);
        continue;
      }
      // 4 a weight and token: the gradient of inputs only, and not of the embedding.
      CHECK(flops.of(Pass::backward, Work::base) == 2 * (s.all.weights - s.first.weights) * s.tokens);
      CHECK(flops.of(Pass::backward, Work::head) == 2 * s.head * s.tokens);
      double forward = 0, backward = 0;
      if (name == "lora") {
        forward = 2 * r * (s.all.in + s.all.out) * s.tokens;
        backward = 2 * r * (2 * s.all.in + 2 * s.all.out - s.first.in) * s.tokens;
      } else if (name == "bone") {
        forward = 2 * r * s.all.out * s.tokens;
        backward = 2 * r * (2 * s.all.out - s.first.out) * s.tokens;
      } else {
        // W' and its blocks' gradient once a pass: r a weight; dW' costs what a trained weight does.
        forward = 2 * r * s.all.weights * s.passes;
        backward = 2 * r * (2 * s.all.weights - s.first.weights) * s.passes + 2 * s.all.weights * s.tokens;
      }
      CHECK(flops.of(Pass::forward, Work::adapter) == forward);
      CHECK(flops.of(Pass::backward, Work::adapter) == backward);
      config.batch_invariant = true;  // the blocks' gradient once a sequence
      const double more =
          name == "bat" ? 2 * r * s.all.weights * s.passes * static_cast<double>(config.batch_size - 1) : 0;
      CHECK(plan(config).flops.of(Pass::backward, Work::adapter) == backward + more);
    }
}

TEST_CASE("planner: what checkpointing computes again counts as backward") {
  const Models models;
  const NamedShape shape = shapes()[0];
  RunConfig config = small_run(models.folder_of(shape), "lora");
  const FlopCount once = plan(config).flops;
  config.memory_policy = "checkpoint";
  const FlopCount again = plan(config).flops;
  for (const Work work : {Work::base, Work::adapter, Work::attention}) {
    CHECK(again.of(Pass::forward, work) == once.of(Pass::forward, work));
    CHECK(again.of(Pass::backward, work) == once.of(Pass::backward, work) + once.of(Pass::forward, work));
  }
}

TEST_CASE("planner: FLOPs by op add up, and are where the ops are") {
  const Models models;
  for (const char* policy : {"save", "checkpoint"}) {
    RunConfig config = small_run(models.folder_of(shapes()[0]), "lora");
    config.memory_policy = policy;
    const Plan planned = plan(config);
    double forward = 0, backward = 0;
    const auto op = [&](const std::string& name) {
      for (const OpCost& cost : planned.ops)
        if (cost.op == name)
          return cost;
      return OpCost{};
    };
    for (const OpCost& cost : planned.ops) {
      forward += cost.forward;
      backward += cost.backward;
    }
    CHECK(forward == planned.flops.total(Pass::forward));
    CHECK(backward == planned.flops.total(Pass::backward));
    CHECK(op("attention").forward == planned.flops.of(Pass::forward, Work::attention));
    CHECK(op("linear_cross_entropy").forward == planned.flops.of(Pass::forward, Work::head));
    CHECK(op("linear_cross_entropy").backward == planned.flops.of(Pass::backward, Work::head));
    CHECK(op("rms_norm").forward + op("rms_norm").backward == 0);
    CHECK(op("linear_plus").backward > 0);
  }
}

TEST_CASE("planner: the peak is where it must be") {
  const Models models;
  NamedShape shape{"wide", plain_shape()};
  shape.config.intermediate_size = 256;
  RunConfig config = small_run(models.folder_of(shape), "lora");
  config.seq_len = 60;
  // Everything is still kept when the last layer's backward begins, and its MLP needs most beside.
  CHECK(plan(config).peak_place == OpPlace{Pass::backward, "swiglu", "model.layers.1"});
  NamedShape more_words{"more_words", plain_shape()};
  more_words.config.vocab_size = 1000;
  config.model = models.folder_of(more_words).string();
  CHECK(plan(config).peak_place == OpPlace{Pass::forward, "linear_cross_entropy", ""});
  // Weights, gradients and moments: from the second step's last gradient on.
  NamedShape many_words{"many_words", plain_shape()};
  many_words.config.vocab_size = 20000;
  config.model = models.folder_of(many_words).string();
  config.method = "full";
  config.seq_len = 2;
  config.batch_size = 1;
  CHECK(plan(config).peak_place == OpPlace{Pass::backward, "embedding", ""});
}
