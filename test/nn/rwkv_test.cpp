#include <algorithm>
#include <doctest/doctest.h>
#include <map>
#include <memory>

#include "nn/io/pretrained.hpp"
#include "nn/rwkv6.hpp"
#include "nn/rwkv7.hpp"
#include "test/backends/kernel_checks.hpp"
#include "test/golden_case.hpp"

using namespace osteon;
using osteon::test::relative_error;

namespace {

/// The models' folders: the part in the repository, and the whole set where it is found.
std::vector<std::filesystem::path> golden_rwkv() {
  std::vector<std::filesystem::path> roots = {test::golden("rwkv")}, all;
  if (const auto beside = test::shared(); beside && std::filesystem::exists(*beside / "golden/rwkv"))
    roots.push_back(*beside / "golden/rwkv");
  for (const auto& root : roots)
    for (const char* version : {"rwkv6", "rwkv7"})
      all.push_back(root / version);
  return all;
}

std::unique_ptr<nn::Rwkv> load(const std::filesystem::path& folder, DType dtype) {
  std::vector<std::string> warnings;
  auto model = nn::load_rwkv(folder / "model.safetensors", dtype, Device::cpu, &warnings);
  CHECK(warnings.empty());
  return model;
}

struct Batch {
  explicit Batch(const io::ModelFiles& files)
      : shape(files.info("input_ids").shape),
        all_ids(test::read_ids(files, "input_ids")),
        ids(from_ids(all_ids, shape)),
        targets(from_ids(nn::shifted_labels(test::read_ids(files, "labels"), shape[1]), shape)),
        tokens(static_cast<double>(shape[0] * (shape[1] - 1))) {}

  /// Tokens [begin, end) of each sequence.
  Tensor piece(std::int64_t begin, std::int64_t end) const {
    std::vector<std::int32_t> part;
    for (std::int64_t row = 0; row < shape[0]; ++row)
      for (std::int64_t t = begin; t < end; ++t)
        part.push_back(all_ids[static_cast<std::size_t>(row * shape[1] + t)]);
    return from_ids(part, {shape[0], end - begin});
  }

  Shape shape;
  std::vector<std::int32_t> all_ids;
  Tensor ids, targets;
  double tokens;
};

}  // namespace

TEST_CASE("golden: RWKV's logits, loss and gradients are those of the plain loops in f64") {
  for (const auto& folder : golden_rwkv())
    for (const DType dtype : {DType::f32, DType::f64}) {
      CAPTURE(folder.string());
      CAPTURE(dtype);
      const double tolerance = dtype == DType::f64 ? 1e-6 : 1e-5;  // what is stored is rounded to f32
      const auto model = load(folder, dtype);
      const io::ModelFiles full(folder / "full.safetensors");
      const Batch batch(full);
      CHECK(relative_error(model->logits(batch.ids), test::read_tensor(full, "logits", dtype)) <= tolerance);
      model->set_requires_grad(true);
      const Tensor loss = model->loss(batch.ids, batch.targets, batch.tokens);
      CHECK(loss.item() == doctest::Approx(test::read_tensor(full, "loss", dtype).item()).epsilon(tolerance));
      loss.backward();
      std::size_t compared = 0;
      for (const auto& [name, parameter] : model->parameters()) {
        CAPTURE(name);
        REQUIRE(parameter.grad().defined());
        if (!full.contains("grad." + name))
          continue;
        ++compared;
        CHECK(relative_error(parameter.grad(), test::read_tensor(full, "grad." + name, dtype)) <= tolerance);
      }
      CHECK(compared == full.names().size() - 4);
    }
}

TEST_CASE("RWKV: pieces that carry the state give the logits of the whole text, token by token too") {
  for (const auto& folder : golden_rwkv())
    for (const std::int64_t piece : {1, 5, 16}) {
      CAPTURE(folder.string());
      CAPTURE(piece);
      const NoGrad no_grad;
      const auto model = load(folder, DType::f64);
      const Batch batch(io::ModelFiles(folder / "full.safetensors"));
      const std::vector<double> whole = model->logits(batch.ids).to_doubles();
      const std::int64_t seq_len = batch.shape[1], vocab = model->linears().back()->out_features();
      nn::RwkvState state;
      double worst = 0;
      for (std::int64_t begin = 0; begin < seq_len; begin += piece) {
        const std::int64_t end = std::min(begin + piece, seq_len);
        const std::vector<double> part = model->logits(batch.piece(begin, end), &state).to_doubles();
        for (std::int64_t row = 0; row < batch.shape[0]; ++row)
          for (std::int64_t i = 0; i < (end - begin) * vocab; ++i)
            worst = std::max(worst, std::abs(part[static_cast<std::size_t>(row * (end - begin) * vocab + i)] -
                                             whole[static_cast<std::size_t>((row * seq_len + begin) * vocab + i)]));
      }
      CHECK(worst <= 1e-12);
    }
}

TEST_CASE("RWKV: loss and every gradient are the same bits for any number of threads") {
  for (const char* version : {"rwkv6", "rwkv7"})
    for (const DType dtype : {DType::f32, DType::bf16}) {
      CAPTURE(version);
      CAPTURE(dtype);
      const auto model = load(test::golden("rwkv") / version, dtype);
      model->set_requires_grad(true);
      const std::int64_t rows = 6, seq_len = 100;  // enough that every op is shared
      std::vector<std::int32_t> numbers;
      for (std::int32_t i = 0; i < rows * seq_len; ++i)
        numbers.push_back(i * i % 89);
      const Tensor ids = from_ids(numbers, {rows, seq_len});
      const test::ThreadCount restore(1);
      std::map<std::string, std::vector<double>> first;
      for (const int threads : {1, 2, 3}) {
        CAPTURE(threads);
        omp_set_num_threads(threads);
        const Tensor loss = model->loss(ids, ids, static_cast<double>(rows * seq_len));
        loss.backward();
        NamedTensors values = {{"loss", loss}};
        for (const auto& [name, parameter] : model->parameters()) {
          values.emplace_back(name, parameter.grad());
          parameter.clear_grad();
        }
        for (const auto& [name, value] : values)
          if (const auto [known, is_new] = first.emplace(name, value.to_doubles()); !is_new)
            CHECK_MESSAGE(known->second == value.to_doubles(), name);
      }
    }
}

TEST_CASE("RWKV: L2Wrap leaves the loss and adds 1e-4 of each position's largest logit to its gradient") {
  const auto model = load(test::golden("rwkv") / "rwkv7", DType::f64);
  const Batch batch(io::ModelFiles(test::golden("rwkv") / "rwkv7/full.safetensors"));
  nn::Linear* const head = model->linears().back();
  head->weight.set_requires_grad(true);
  const Tensor hidden = model->hidden(batch.ids), logits = model->logits(batch.ids).detach();
  const auto run = [&](bool wrapped) {
    head->weight.clear_grad();
    model->set_l2_wrap(wrapped);
    const Tensor loss = model->loss(batch.ids, batch.targets, batch.tokens);
    loss.backward();
    return std::pair(loss.item(), head->weight.grad().to_doubles());
  };
  const auto [plain_loss, plain] = run(false);
  const auto [loss, gradient] = run(true);
  CHECK(loss == doctest::Approx(plain_loss).epsilon(1e-12));
  const std::vector<double> x = hidden.to_doubles(), y = logits.to_doubles();
  std::vector<double> expected = plain;
  const std::size_t d = 64, vocab = 96, rows = y.size() / vocab;
  for (std::size_t row = 0; row < rows; ++row) {
    const auto first = y.begin() + static_cast<std::ptrdiff_t>(row * vocab);
    const auto largest = std::max_element(first, first + static_cast<std::ptrdiff_t>(vocab));
    for (std::size_t j = 0; j < d; ++j)
      expected[static_cast<std::size_t>(largest - first) * d + j] +=
          1e-4 * *largest / static_cast<double>(rows) * x[row * d + j];
  }
  for (std::size_t i = 0; i < expected.size(); ++i)
    CHECK(gradient[i] == doctest::Approx(expected[i]).epsilon(1e-9).scale(1e-3));
}

TEST_CASE("RWKV: L2Wrap over the passes of a window is that of the window in one pass") {
  for (const char* version : {"rwkv6", "rwkv7"}) {
    CAPTURE(version);
    const auto model = load(test::golden("rwkv") / version, DType::f64);
    model->set_l2_wrap(true);
    const Batch batch(io::ModelFiles(test::golden("rwkv") / version / "full.safetensors"));
    nn::Linear* const head = model->linears().back();
    head->weight.set_requires_grad(true);
    const std::int64_t rows = batch.shape[0], seq_len = batch.shape[1];
    model->loss(batch.ids, batch.targets, batch.tokens).backward();
    const std::vector<double> whole = head->weight.grad().to_doubles();
    head->weight.clear_grad();
    for (std::int64_t row = 0; row < rows; ++row)
      model->loss(batch.ids.slice(row, row + 1), batch.targets.slice(row, row + 1), {batch.tokens, rows * seq_len})
          .backward();
    const std::vector<double> parts = head->weight.grad().to_doubles();
    for (std::size_t i = 0; i < whole.size(); ++i)
      CHECK(parts[i] == doctest::Approx(whole[i]).epsilon(1e-9).scale(1e-6));
    const NoGrad no_grad;  // a score has no gradient to pull at
    const double wrapped = model->loss(batch.ids, batch.targets, batch.tokens).item();
    model->set_l2_wrap(false);
    CHECK(model->loss(batch.ids, batch.targets, batch.tokens).item() == wrapped);
  }
}

TEST_CASE("RWKV: the shapes of the tensors are the configuration, and what does not fit is named") {
  const io::ModelFiles six(test::golden("rwkv") / "rwkv6/model.safetensors");
  const io::ModelFiles seven(test::golden("rwkv") / "rwkv7/model.safetensors");
  const nn::Rwkv7Config config = nn::read_rwkv7_config(nn::shapes_of(seven));
  CHECK(config.vocab_size == 96);
  CHECK(config.hidden_size == 64);
  CHECK(config.intermediate_size == 256);
  CHECK(config.num_hidden_layers == 2);
  CHECK(config.head_size() == 16);
  CHECK(config.value_rank == 16);
  CHECK(nn::read_rwkv6_config(nn::shapes_of(six)).mix_rank == 8);
  CHECK_THROWS_WITH_AS(nn::read_rwkv7_config(nn::shapes_of(six)), "rwkv: expected a tensor blocks.0.att.r_k, got none",
                       FileError);
  CHECK_THROWS_WITH_AS(
      nn::load_rwkv(test::golden("rwkv") / "rwkv7/bone.safetensors", DType::f32),
      doctest::Contains("bone.safetensors: expected blocks.0.att.r_k (RWKV-7) or blocks.0.att.time_faaaa (RWKV-6)"),
      FileError);
  const auto model = load(test::golden("rwkv") / "rwkv7", DType::f32);
  CHECK(model->linears().size() == 2 * 6 + 1);
  CHECK(model->linears()[0]->name() == "blocks.0.att.receptance");
  CHECK_THROWS_AS(model->logits(from_ids(std::vector<std::int32_t>{1, 2}, {2})), ShapeError);
}
