#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <doctest/doctest.h>
#include <fstream>
#include <memory>

#include "nn/io/checkpoint.hpp"
#include "nn/rwkv6.hpp"
#include "nn/rwkv7.hpp"
#include "test/nn/temporary_folder.hpp"
#include "test/paths.hpp"

using namespace osteon;
namespace fs = std::filesystem;

namespace {

/// The logits after the bytes `"in` of a model that tools/ggml_to_safetensors.py converts, and those that its authors
/// expect of the FP32 model.
struct Logits {
  std::vector<double> got, expected;
};

std::vector<double> read_expected(const fs::path& path) {
  std::vector<float> logits(256);
  std::ifstream file(path, std::ios::binary);
  file.read(reinterpret_cast<char*>(logits.data()), static_cast<std::streamsize>(logits.size() * sizeof(float)));
  REQUIRE(file.good());
  return {logits.begin(), logits.end()};
}

template <class Model>
std::vector<double> last_logits(const Model& model) {
  const NoGrad no_grad;
  nn::RwkvState state;
  std::vector<double> last;
  for (const std::int32_t byte : {0x22, 0x69, 0x6e})
    last = model.logits(from_ids(std::vector<std::int32_t>{byte}, {1, 1}), &state).to_doubles();
  return last;
}

/// Empty where there is no folder of these models.
Logits logits_of(const std::string& model_name, const std::string& expected_name) {
  const auto shared = test::shared();
  const fs::path data = shared ? *shared / "data/tiny-rwkv" : fs::path();
  if (!fs::exists(data / model_name)) {
    MESSAGE("left out: no shared/data/tiny-rwkv");
    return {};
  }
  const auto tool = test::find_upward("tools/ggml_to_safetensors.py");
  REQUIRE(tool);
  const test::TemporaryFolder folder;
  const fs::path converted = folder / "model.safetensors";
  const std::string command = join("python3 '", tool->string(), "' '", (data / model_name).string(), "' '",
                                   converted.string(), "' > '", (folder / "out").string(), "'");
  REQUIRE(std::system(command.c_str()) == 0);
  const io::ModelFiles files(converted);
  const nn::ShapeOf shapes = nn::shapes_of(files);
  const auto load = [&](const auto& model) {
    CHECK(nn::load_tensors(files, model.parameters()).empty());
    return last_logits(model);
  };
  const std::vector<double> expected = read_expected(data / expected_name);
  if (files.contains("blocks.0.att.r_k"))
    return {load(nn::Rwkv7(nn::read_rwkv7_config(shapes), DType::f32)), expected};
  return {load(nn::Rwkv6(nn::read_rwkv6_config(shapes), DType::f32)), expected};
}

double correlation(const std::vector<double>& x, const std::vector<double>& y) {
  const auto n = static_cast<double>(x.size());
  double sx = 0, sy = 0, sxx = 0, syy = 0, sxy = 0;
  for (std::size_t i = 0; i < x.size(); ++i) {
    sx += x[i], sy += y[i];
    sxx += x[i] * x[i], syy += y[i] * y[i], sxy += x[i] * y[i];
  }
  return (sxy - sx * sy / n) / std::sqrt((sxx - sx * sx / n) * (syy - sy * sy / n));
}

}  // namespace

TEST_CASE("RWKV-7: a trained model in rwkv.cpp's file has the logits that come with it") {
  const Logits logits = logits_of("tiny-rwkv-7v0-834K-FP32.bin", "expected-logits-7v0-834K.bin");
  for (std::size_t i = 0; i < logits.got.size(); ++i) {
    CAPTURE(i);
    CHECK(std::abs(logits.got[i] - logits.expected[i]) <= 1e-5);
  }
}

TEST_CASE("RWKV-6: a trained model of Q5_1 in rwkv.cpp's file has nearly the logits of its FP32 model") {
  const Logits logits = logits_of("tiny-rwkv-6v0-3m-Q5_1.bin", "expected-logits-6v0-3m.bin");
  if (logits.got.empty())
    return;
  const double like = correlation(logits.got, logits.expected);
  CAPTURE(like);
  CHECK(like > 0.9999);
  const auto largest = [](const std::vector<double>& x) { return std::max_element(x.begin(), x.end()) - x.begin(); };
  CHECK(largest(logits.got) == largest(logits.expected));
}
