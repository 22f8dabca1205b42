#include <doctest/doctest.h>
#include <map>
#include <memory>

#include "nn/io/pretrained.hpp"
#include "peft/model.hpp"
#include "peft/rwkv_format.hpp"
#include "test/golden_case.hpp"
#include "test/nn/temporary_folder.hpp"

using namespace osteon;
using osteon::test::relative_error;

namespace {

/// Sums in f32 are as near as their chains are short. With AVX-512 the worst of all cases is 6.5e-6; compiled without
/// optimisation LoRA's are 1.6e-5 from those in f64.
#if defined(__AVX512F__) && !defined(__SANITIZE_ADDRESS__)
constexpr double kGradientTolerance = 1e-5;
#else
constexpr double kGradientTolerance = 3e-5;
#endif

/// A version and a method: of the part in the repository (test/golden/rwkv/select_part.py), whose files hold the
/// adapter too, or of the whole set, which has it as RWKV-PEFT's files.
struct RwkvCase {
  std::filesystem::path folder;
  std::string method;
  bool whole = false;

  io::ModelFiles expected() const { return io::ModelFiles(folder / (method + ".safetensors")); }
  io::ModelFiles adapter() const { return whole ? io::ModelFiles(folder / (method + ".adapter.pth")) : expected(); }
  io::ModelFiles start() const { return whole ? io::ModelFiles(folder / "init_pissa.pth") : expected(); }
  std::string adapter_name(const std::string& name) const { return (whole ? "" : "adapter.") + name; }
  std::string start_name(const std::string& name) const { return (whole ? "model." : "init.") + name; }
};

/// Of each version every method; also of the whole set where it is found.
std::vector<RwkvCase> rwkv_cases() {
  std::vector<RwkvCase> all;
  const auto add = [&](const std::filesystem::path& root, bool whole) {
    for (const char* version : {"rwkv6", "rwkv7"})
      for (const char* method : {"lora", "pissa", "bone", "bone_ragged", "bat"})
        all.push_back({root / version, method, whole});
  };
  add(test::golden("rwkv"), false);
  if (const auto beside = test::shared(); beside && std::filesystem::exists(*beside / "golden/rwkv"))
    add(*beside / "golden/rwkv", true);
  else
    MESSAGE("the whole set of RWKV's golden cases is absent: only the part in the repository");
  return all;
}

/// The names of our adapters' parameters in RWKV-PEFT's files.
std::string name_in_file(const std::string& suffix) {
  const std::map<std::string, std::string> names = {
      {"lora_A.weight", "lora_A"}, {"lora_B.weight", "lora_B"}, {"bone_block", "disha"}, {"bat_row_block", "disha"}};
  return names.at(suffix);
}

/// W - B0 A0: what PiSSA trains on.
void take_start_out(const RwkvCase& golden, nn::Linear& linear) {
  const io::ModelFiles files = golden.start();
  const Tensor a = test::read_tensor(files, golden.start_name(linear.name() + ".init_lora_A"), DType::f64);
  const Tensor b = test::read_tensor(files, golden.start_name(linear.name() + ".init_lora_B"), DType::f64);
  const Tensor weight = converted(linear.weight, DType::f64);
  linear.weight = converted(add(weight, scale(matmul(b, a), -1.0)), linear.weight.dtype(), Category::weights);
}

/// The case's adapters on the layers' linears.
void adapt(peft::PeftModel& model, const RwkvCase& golden) {
  const std::string& method = golden.method;
  peft::AdapterConfig config;
  config.method = method.starts_with("bone") ? "bone" : method == "bat" ? "bat_row" : "lora";
  config.rank = method == "bone" || method == "bat" ? 8 : method == "bone_ragged" ? 7 : 4;
  config.alpha = method == "lora" ? 8 : 4;
  config.target_modules = {"all-linear"};
  config.target_is_pattern = true;
  if (method == "pissa")  // LoRA on what is left of the weight
    for (nn::Linear* linear : model.model().linears())
      if (linear->name() != "head")
        take_start_out(golden, *linear);
  const io::ModelFiles files = golden.adapter();
  for (const auto& [module, adapter] : model.add(config, "default", /*initialise=*/false).modules)
    for (const auto& [suffix, parameter] : adapter->parameters())
      nn::read_tensor(files, golden.adapter_name(join(module, ".", name_in_file(suffix))), parameter);
}

}  // namespace

TEST_CASE("golden: adapters on RWKV give the logits, loss, gradients and merged weights of the plain loops") {
  for (const RwkvCase& golden : rwkv_cases()) {
    CAPTURE(golden.folder.string());
    CAPTURE(golden.method);
    const io::ModelFiles full(golden.folder / "full.safetensors"), expected = golden.expected();
    const auto model = nn::load_rwkv(golden.folder / "model.safetensors", DType::f32);
    peft::PeftModel adapted(*model);
    adapt(adapted, golden);
    const Shape shape = full.info("input_ids").shape;
    const nn::TokenInput input = nn::token_input(test::read_ids(full, "input_ids"), shape[0], shape[1]);
    const Tensor targets = from_ids(nn::shifted_labels(test::read_ids(full, "labels"), shape[1]), shape);
    CHECK(relative_error(adapted.model().logits(input), test::read_tensor(expected, "logits", DType::f32)) <= 1e-5);
    const Tensor loss = adapted.model().loss(input, targets, static_cast<double>(shape[0] * (shape[1] - 1)));
    CHECK(loss.item() == doctest::Approx(test::read_tensor(expected, "loss", DType::f32).item()).epsilon(1e-5));
    loss.backward();
    const std::vector<peft::TrainableParameter> trainable = adapted.trainable_parameters();
    CHECK(trainable.size() >= 12);
    for (const auto& [module, adapter] : adapted.adapter().modules)
      for (const auto& [suffix, parameter] : adapter->parameters()) {
        const std::string name = join("grad.", module, ".", name_in_file(suffix));
        CAPTURE(name);
        CHECK(relative_error(parameter.grad(), test::read_tensor(expected, name, DType::f32)) <= kGradientTolerance);
      }
    adapted.merge();
    int merged = 0;
    for (const nn::Linear* linear : model->linears())
      if (const std::string name = "merged." + linear->name() + ".weight"; expected.contains(name)) {
        CHECK(relative_error(linear->weight, test::read_tensor(expected, name, DType::f32)) <= 1e-6);
        ++merged;
      }
    CHECK(merged > 0);
  }
}

TEST_CASE("golden: what is written of an adapter has RWKV-PEFT's names, shapes and numbers") {
  for (const RwkvCase& golden : rwkv_cases()) {
    CAPTURE(golden.folder.string());
    CAPTURE(golden.method);
    const test::TemporaryFolder folder;
    const io::ModelFiles expected = golden.adapter();
    const auto model = nn::load_rwkv(golden.folder / "model.safetensors", DType::f32);
    peft::PeftModel adapted(*model);
    adapt(adapted, golden);
    peft::save_rwkv_adapter(adapted, folder / "adapter.pth");
    const io::ModelFiles written(folder / "adapter.pth");
    std::size_t known = 0;
    for (const std::string& name : expected.names())
      known += golden.whole || name.starts_with("adapter.") ? 1 : 0;
    CHECK(written.names().size() == known);
    for (const std::string& name : written.names()) {
      CAPTURE(name);
      REQUIRE(expected.contains(golden.adapter_name(name)));
      CHECK(relative_error(test::read_tensor(written, name, DType::f32),
                           test::read_tensor(expected, golden.adapter_name(name), DType::f32)) == 0);
    }
  }
}
