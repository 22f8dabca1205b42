#include <doctest/doctest.h>
#include <map>
#include <memory>

#include "nn/rwkv6.hpp"
#include "nn/rwkv7.hpp"
#include "peft/methods.hpp"
#include "test/golden_case.hpp"

using namespace osteon;
using osteon::test::relative_error;

namespace {

struct RwkvCase {
  const char *version, *method;
};
// The cases of test/golden/rwkv/select_part.py.
constexpr RwkvCase kCases[] = {
    {"rwkv6", "bone_ragged"}, {"rwkv7", "lora"}, {"rwkv7", "pissa"}, {"rwkv7", "bone"}, {"rwkv7", "bone_ragged"}};

/// The names of our adapters' parameters in RWKV-PEFT's files.
std::string name_in_file(const std::string& suffix) {
  const std::map<std::string, std::string> names = {
      {"lora_A.weight", "lora_A"}, {"lora_B.weight", "lora_B"}, {"bone_block", "disha"}};
  return names.at(suffix);
}

std::unique_ptr<nn::Rwkv> load(const std::filesystem::path& folder, bool seven) {
  const io::ModelFiles files(folder / "model.safetensors");
  std::unique_ptr<nn::Rwkv> model;
  if (seven)
    model = std::make_unique<nn::Rwkv7>(nn::read_rwkv7_config(nn::shapes_of(files)), DType::f32);
  else
    model = std::make_unique<nn::Rwkv6>(nn::read_rwkv6_config(nn::shapes_of(files)), DType::f32);
  nn::load_tensors(files, model->parameters());
  return model;
}

/// W - B0 A0: what PiSSA trains on.
void take_start_out(const io::ModelFiles& files, nn::Linear& linear) {
  const Tensor a = test::read_tensor(files, "init." + linear.name() + ".init_lora_A", DType::f64);
  const Tensor b = test::read_tensor(files, "init." + linear.name() + ".init_lora_B", DType::f64);
  const Tensor weight = converted(linear.weight, DType::f64);
  linear.weight = converted(add(weight, scale(matmul(b, a), -1.0)), linear.weight.dtype(), Category::weights);
}

/// The file's adapters on the layers' linears.
std::map<std::string, std::unique_ptr<peft::Adapter>> adapt(nn::Rwkv& model, const io::ModelFiles& files,
                                                            const std::string& method) {
  peft::AdapterConfig config;
  config.method = method.starts_with("bone") ? "bone" : "lora";  // PiSSA is LoRA on what is left of the weight
  config.rank = method == "bone" ? 8 : method == "bone_ragged" ? 7 : 4;
  config.alpha = method == "lora" ? 8 : 4;
  std::map<std::string, std::unique_ptr<peft::Adapter>> adapters;
  for (nn::Linear* linear : model.linears()) {
    if (linear->name() == "head")
      continue;
    if (method == "pissa")
      take_start_out(files, *linear);
    auto adapter = peft::find_method(config.method).make({config, *linear, RandomKey{1, 1}, /*initialise=*/false});
    for (const auto& [suffix, parameter] : adapter->parameters())
      nn::read_tensor(files, join("adapter.", linear->name(), ".", name_in_file(suffix)), parameter);
    linear->set_override(adapter.get());
    adapters[linear->name()] = std::move(adapter);
  }
  return adapters;
}

}  // namespace

TEST_CASE("golden: adapters on RWKV give the logits, loss, gradients and merged weights of the plain loops") {
  for (const RwkvCase& golden : kCases) {
    CAPTURE(golden.version);
    CAPTURE(golden.method);
    const std::filesystem::path folder = test::golden("rwkv") / golden.version;
    const io::ModelFiles full(folder / "full.safetensors"), expected(folder / join(golden.method, ".safetensors"));
    const auto model = load(folder, std::string(golden.version) == "rwkv7");
    const auto adapters = adapt(*model, expected, golden.method);
    const Shape shape = full.info("input_ids").shape;
    const Tensor ids = from_ids(test::read_ids(full, "input_ids"), shape);
    const Tensor targets = from_ids(nn::shifted_labels(test::read_ids(full, "labels"), shape[1]), shape);
    CHECK(relative_error(model->logits(ids), test::read_tensor(expected, "logits", DType::f32)) <= 1e-5);
    const Tensor loss = model->loss(ids, targets, static_cast<double>(shape[0] * (shape[1] - 1)));
    CHECK(loss.item() == doctest::Approx(test::read_tensor(expected, "loss", DType::f32).item()).epsilon(1e-5));
    loss.backward();
    std::size_t compared = 0;
    for (const auto& [module, adapter] : adapters)
      for (const auto& [suffix, parameter] : adapter->parameters()) {
        const std::string name = join("grad.", module, ".", name_in_file(suffix));
        CAPTURE(name);
        CHECK(relative_error(parameter.grad(), test::read_tensor(expected, name, DType::f32)) <= 1e-5);
        ++compared;
      }
    CHECK(compared >= 12);
    for (const nn::Linear* linear : model->linears())
      if (const std::string name = "merged." + linear->name() + ".weight"; expected.contains(name))
        CHECK(relative_error(adapters.at(linear->name())->merged_weight(*linear),
                             test::read_tensor(expected, name, DType::f32)) <= 1e-6);
    for (nn::Linear* linear : model->linears())
      linear->set_override(nullptr);
  }
}
