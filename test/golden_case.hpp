#pragma once

#include <cmath>
#include <doctest/doctest.h>
#include <filesystem>
#include <fstream>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "nn/io/model_files.hpp"
#include "nn/llama.hpp"
#include "test/paths.hpp"

namespace osteon::test {

/// The folders with golden cases: the part in the repository, and the whole set where it is found.
inline std::vector<std::filesystem::path> golden_roots() {
  std::vector<std::filesystem::path> roots;
  if (std::filesystem::exists(golden("models/index.json")))
    roots.push_back(golden("models"));
  if (const auto beside = shared(); beside && std::filesystem::exists(*beside / "golden/index.json"))
    roots.push_back(*beside / "golden");
  return roots;
}

inline nlohmann::json read_json(const std::filesystem::path& path) {
  std::ifstream file(path);
  REQUIRE_MESSAGE(file.good(), path.string());
  return nlohmann::json::parse(file);
}

/// A tensor of a safetensors file in `dtype` (whole numbers as i32).
inline Tensor read_tensor(const io::ModelFiles& files, const std::string& name, DType dtype) {
  Tensor tensor = empty(files.info(name).shape, dtype);
  files.read_into(name, tensor.mut().data, dtype);
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
