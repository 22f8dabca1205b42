#pragma once

#include <cmath>
#include <doctest/doctest.h>
#include <filesystem>
#include <fstream>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "nn/io/checkpoint.hpp"
#include "nn/io/pretrained.hpp"
#include "test/paths.hpp"

namespace osteon::test {

inline nlohmann::json read_json(const std::filesystem::path& path) {
  std::ifstream file(path);
  REQUIRE_MESSAGE(file.good(), path.string());
  return nlohmann::json::parse(file);
}

/// A method on a model; "full" is the model itself. test/golden/models/README.md says what the files hold.
struct GoldenCase {
  std::filesystem::path model, folder;
  std::string method;
  bool whole;  ///< of a full set; the part in the repository lacks some files

  bool is_full() const { return method == "full"; }
  std::string title() const { return model.filename().string() + "/" + method + (whole ? "" : " (part)"); }
  std::filesystem::path base() const { return model / "full.safetensors"; }
  std::filesystem::path expected() const { return is_full() ? base() : folder / "expected.safetensors"; }
  /// Whether the file holds the gradient of a parameter: in the part, full fine-tuning has those of vectors only.
  bool has_gradient(const Tensor& parameter) const { return whole || !is_full() || parameter.shape().rank() == 1; }
  std::filesystem::path training() const { return is_full() ? model / "full.train.json" : folder / "train.json"; }
};

/// The cases of the part in the repository, and those of the whole set where it is found.
inline std::vector<GoldenCase> golden_cases() {
  std::vector<GoldenCase> all;
  const auto add = [&](const std::filesystem::path& root, bool whole) {
    const nlohmann::json index = read_json(root / "index.json");
    for (const auto& [model, methods] : index.items())
      for (const auto& method : methods)
        all.push_back({root / model, root / model / method, method, whole});
  };
  add(golden("models"), false);
  if (const auto beside = shared())
    add(*beside / "golden", true);
  return all;
}

/// The models among them, as the cases of full fine-tuning.
inline std::vector<GoldenCase> golden_models() {
  std::vector<GoldenCase> models = golden_cases();
  std::erase_if(models, [](const GoldenCase& golden) { return !golden.is_full(); });
  return models;
}

inline std::unique_ptr<nn::Llama> load_golden(const GoldenCase& golden, DType dtype = DType::f32) {
  return nn::load_llama(golden.model / "model", dtype);
}

/// A tensor of a safetensors file in `dtype` (whole numbers as i32).
inline Tensor read_tensor(const io::ModelFiles& files, const std::string& name, DType dtype) {
  Tensor tensor = empty(files.info(name).shape, dtype);
  nn::read_tensor(files, name, tensor);
  return tensor;
}

inline std::vector<std::int32_t> read_ids(const io::ModelFiles& files, const std::string& name) {
  std::vector<std::int32_t> ids(static_cast<std::size_t>(files.info(name).shape.numel()));
  files.read_into(name, ids.data(), DType::i32);
  return ids;
}

struct GoldenBatch {
  nn::TokenInput input;
  Tensor targets;
  double tokens = 0;  ///< targets that count
};

/// The batch `input_ids<suffix>`, `labels<suffix>`, `attention_mask<suffix>` of a file.
inline GoldenBatch read_batch(const io::ModelFiles& files, const std::string& suffix = "") {
  const Shape shape = files.info("input_ids" + suffix).shape;
  const auto labels = read_ids(files, "labels" + suffix);
  const std::vector<std::int32_t> targets = nn::shifted_labels(labels, shape[1]);
  GoldenBatch batch;
  batch.input = nn::token_input(read_ids(files, "input_ids" + suffix), read_ids(files, "attention_mask" + suffix),
                                shape[0], shape[1]);
  batch.targets = from_ids(targets, shape);
  for (const std::int32_t target : targets)
    batch.tokens += target == -100 ? 0 : 1;
  return batch;
}

/// Largest difference between two tensors, relative to the largest value expected.
inline double relative_error(const Tensor& got, const Tensor& expected) {
  REQUIRE(got.shape() == expected.shape());
  const std::vector<double> a = got.to_doubles(), b = expected.to_doubles();
  double largest = 0, difference = 0;
  for (std::size_t i = 0; i < b.size(); ++i) {
    largest = std::max(largest, std::abs(b[i]));
    // A NaN must not hide behind a comparison.
    difference = std::isfinite(a[i]) ? std::max(difference, std::abs(a[i] - b[i])) : INFINITY;
  }
  return difference / std::max(largest, 1e-30);
}

}  // namespace osteon::test
