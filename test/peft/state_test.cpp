#include <doctest/doctest.h>

#include "nn/io/pretrained.hpp"
#include "peft/hf_format.hpp"
#include "peft/rwkv_format.hpp"
#include "test/golden_case.hpp"
#include "test/nn/io_messages.hpp"
#include "test/nn/temporary_folder.hpp"
#include "test/nn/tiny_rwkv.hpp"
#include "test/peft/tiny_model.hpp"

namespace osteon::test {
namespace {

constexpr std::int64_t kBatch = 2, kLength = 21, kVocab = 24, kLayers = 2, kHeads = 2, kHeadSize = 16;

struct Text {
  std::vector<std::int32_t> all_ids, all_targets;

  Text() {
    for (std::int32_t i = 0; i < kBatch * kLength; ++i) {
      all_ids.push_back((i * 7 + 1) % static_cast<std::int32_t>(kVocab));
      all_targets.push_back((i * 5 + 3) % static_cast<std::int32_t>(kVocab));
    }
  }
  /// Tokens [begin, end) of each row.
  static Tensor piece(const std::vector<std::int32_t>& all, std::int64_t begin, std::int64_t end) {
    std::vector<std::int32_t> part;
    for (std::int64_t row = 0; row < kBatch; ++row)
      for (std::int64_t t = begin; t < end; ++t)
        part.push_back(all[static_cast<std::size_t>(row * kLength + t)]);
    return from_ids(part, {kBatch, end - begin});
  }
  Tensor loss(const nn::Rwkv& model, std::int64_t begin, std::int64_t end, nn::RwkvState* state) const {
    return model.loss(piece(all_ids, begin, end), piece(all_targets, begin, end), kBatch * kLength, state);
  }
};

peft::AdapterConfig state_config() {
  peft::AdapterConfig config;
  config.method = "state";
  return config;
}

/// Adds the method and gives its states numbers of the size that texts leave behind.
std::vector<peft::TrainableParameter> add_states(peft::PeftModel& adapted) {
  adapted.add(state_config());
  std::vector<peft::TrainableParameter> states = adapted.trainable_parameters();
  std::uint64_t seed = 3;
  for (const peft::TrainableParameter& one : states)
    set_values(one.tensor, grid_values(one.tensor.numel(), ++seed));
  return states;
}

TEST_CASE("state tuning: a state of each layer trains and nothing else, and zero is the model without it") {
  for (const int version : {6, 7})
    for (const DType dtype : {DType::f32, DType::bf16}) {
      CAPTURE(version);
      const Text text;
      const auto model = tiny_rwkv(version, kVocab, kLayers, dtype);
      const double plain = text.loss(*model, 0, kLength, nullptr).item();
      const std::size_t parameters = model->parameters().size();
      peft::PeftModel adapted(*model);
      adapted.add(state_config());
      CHECK(text.loss(*model, 0, kLength, nullptr).item() == plain);
      const auto trained = adapted.trainable_parameters();
      REQUIRE(trained.size() == kLayers);
      for (std::int64_t i = 0; i < kLayers; ++i) {
        const peft::TrainableParameter& one = trained[static_cast<std::size_t>(i)];
        CHECK(one.name == join("blocks.", i, ".att.time_state"));
        CHECK(one.tensor.shape() == Shape{kHeads, kHeadSize, kHeadSize});
        CHECK(one.tensor.dtype() == DType::f32);
      }
      CHECK(adapted.trainable_count() == kLayers * kHeads * kHeadSize * kHeadSize);
      CHECK(model->parameters().size() == parameters + kLayers);
      CHECK(model->on_meta()->parameters().size() == parameters + kLayers);
    }
}

TEST_CASE("state tuning: gradients agree with central differences in double") {
  for (const int version : {6, 7})
    for (const nn::MemoryPolicy policy : {nn::MemoryPolicy::save, nn::MemoryPolicy::checkpoint}) {
      CAPTURE(version);
      const Text text;
      const auto model = tiny_rwkv(version, kVocab, kLayers, DType::f64);
      peft::PeftModel adapted(*model);
      const auto states = add_states(adapted);
      model->set_memory_policy(policy);
      text.loss(*model, 0, kLength, nullptr).backward();
      const NoGrad no_grad;
      for (const peft::TrainableParameter& one : states) {
        CAPTURE(one.name);
        const Values analytic = one.tensor.grad().to_doubles(), at = one.tensor.to_doubles();
        double largest = 0;
        for (const double value : analytic)
          largest = std::max(largest, std::abs(value));
        CHECK(largest > 1e-6);
        for (std::size_t i = 0; i < at.size(); i += 13) {
          const auto moved = [&](double by) {
            Values values = at;
            values[i] += by;
            set_values(one.tensor, values);
            return text.loss(*model, 0, kLength, nullptr).item();
          };
          constexpr double kStep = 1e-4;
          const double numeric = (moved(kStep) - moved(-kStep)) / (2 * kStep);
          CAPTURE(i);
          CHECK(std::abs(analytic[i] - numeric) <= 1e-6 * largest);
        }
        set_values(one.tensor, at);
      }
    }
}

TEST_CASE("state tuning: a text begins with [heads, value, key] as if the pieces before it had left that") {
  for (const int version : {6, 7}) {
    CAPTURE(version);
    const Text text;
    const auto model = tiny_rwkv(version, kVocab, kLayers, DType::f64);
    nn::RwkvState carried(kLayers);
    {
      peft::PeftModel adapted(*model);
      const auto states = add_states(adapted);
      const double tuned = text.loss(*model, 0, kLength, nullptr).item();
      for (std::size_t layer = 0; layer < states.size(); ++layer) {
        const Values own = states[layer].tensor.to_doubles();
        Values all;
        for (std::int64_t b = 0; b < kBatch; ++b)
          for (std::int64_t h = 0; h < kHeads; ++h)
            for (std::int64_t i = 0; i < kHeadSize; ++i)
              for (std::int64_t j = 0; j < kHeadSize;
                   ++j) {  // RWKV-6's state has a row for each key, RWKV-7's for each value
                const std::int64_t value = version == 6 ? j : i, key = version == 6 ? i : j;
                all.push_back(own[static_cast<std::size_t>((h * kHeadSize + value) * kHeadSize + key)]);
              }
        carried[layer] = {zeros({kBatch, 32}, DType::f64), zeros({kBatch, 32}, DType::f64),
                          from_values(all, {kBatch, kHeads, kHeadSize, kHeadSize}, DType::f64)};
      }
      adapted.activate("");
      CHECK(text.loss(*model, 0, kLength, nullptr).item() != tuned);
      CHECK(text.loss(*model, 0, kLength, &carried).item() == doctest::Approx(tuned).epsilon(1e-12));
    }
  }
}

TEST_CASE("state tuning: two pieces that carry the state are one text") {
  for (const int version : {6, 7})
    for (const std::int64_t cut : {5, 16}) {
      CAPTURE(version);
      CAPTURE(cut);
      const Text text;
      const auto model = tiny_rwkv(version, kVocab, kLayers, DType::f64);
      peft::PeftModel adapted(*model);
      const auto states = add_states(adapted);
      const double whole = text.loss(*model, 0, kLength, nullptr).item();
      nn::RwkvState state;
      const Tensor first = text.loss(*model, 0, cut, &state);
      const double second = text.loss(*model, cut, kLength, &state).item();
      CHECK(first.item() + second == doctest::Approx(whole).epsilon(1e-12));
      first.backward();
      std::vector<Tensor> gradients;
      for (const auto& one : states) {
        gradients.push_back(one.tensor.grad());
        one.tensor.clear_grad();
      }
      // What a piece carries on is a constant: the gradient is that of the first piece's targets.
      Text seen = text;
      for (std::int64_t row = 0; row < kBatch; ++row)
        std::fill_n(seen.all_targets.begin() + row * kLength + cut, kLength - cut, -100);
      seen.loss(*model, 0, kLength, nullptr).backward();
      for (std::size_t i = 0; i < states.size(); ++i)
        CHECK(relative_error(states[i].tensor.grad(), gradients[i]) <= 1e-10);
    }
}

TEST_CASE("state tuning: folders, RWKV-PEFT's files and merged models give the trained states back") {
  const Text text;
  for (const int version : {6, 7}) {
    CAPTURE(version);
    const TemporaryFolder folder;
    const auto model = tiny_rwkv(version, kVocab, kLayers, DType::bf16);
    nn::save_rwkv(*model, folder / "base.pth");
    peft::PeftModel adapted(*model);
    add_states(adapted);
    const double tuned = text.loss(*model, 0, kLength, nullptr).item();
    peft::save_adapter(adapted, folder / "adapter");
    peft::save_rwkv_adapter(adapted, folder / "state.pth");
    const io::TensorFile file(folder / "state.pth");
    REQUIRE(file.tensors().size() == kLayers);
    CHECK(file.info("blocks.1.att.time_state").shape == Shape{kHeads, kHeadSize, kHeadSize});
    CHECK(peft::read_rwkv_adapter(file).kind == peft::RwkvKind::state);

    const auto loss_with = [&](const auto& load) {
      const auto base = nn::load_rwkv(folder / "base.pth", DType::bf16);
      peft::PeftModel other(*base);
      load(other);
      return text.loss(*base, 0, kLength, nullptr).item();
    };
    CHECK(loss_with([&](auto& other) { peft::load_adapter(other, folder / "adapter"); }) == tuned);
    CHECK(loss_with([&](auto& other) { peft::load_rwkv_adapter(other, folder / "state.pth", 16); }) == tuned);
    CHECK(loss_with([](auto&) {}) != tuned);

    peft::merge_rwkv(io::TensorFile(folder / "base.pth"), file, nullptr, peft::RwkvKind::state, 16,
                     folder / "by-file.pth");
    adapted.merge();
    nn::save_rwkv(*model, folder / "by-model.pth");
    for (const char* merged : {"by-file.pth", "by-model.pth"}) {
      CAPTURE(merged);
      CHECK(io::TensorFile(folder / merged).info("blocks.0.att.time_state").dtype == io::FileDType::f32);
      std::vector<std::string> warnings;
      const auto back = nn::load_rwkv(folder / merged, DType::bf16, default_device(), &warnings);
      CHECK(warnings.empty());
      CHECK(text.loss(*back, 0, kLength, nullptr).item() == tuned);
      // A model that begins with a state is tuned on from there.
      peft::PeftModel again(*back);
      again.add(state_config());
      CHECK(text.loss(*back, 0, kLength, nullptr).item() == tuned);
      CHECK(again.trainable_count() == kLayers * kHeads * kHeadSize * kHeadSize);
    }
    adapted.unmerge();
    adapted.activate("");
    CHECK(text.loss(*model, 0, kLength, nullptr).item() == loss_with([](auto&) {}));
  }
}

TEST_CASE("state tuning: models and files that cannot have it are refused") {
  const TemporaryFolder folder;
  const auto llama = tiny_model();
  peft::PeftModel of_llama(*llama);
  CHECK(message_of([&] { of_llama.add(state_config()); }) ==
        "state: expected an RWKV model, whose texts begin with a state");
  const auto model = tiny_rwkv(7, kVocab, kLayers), longer = tiny_rwkv(7, kVocab, kLayers + 1);
  nn::save_rwkv(*model, folder / "base.pth");
  peft::PeftModel adapted(*longer);
  adapted.add(state_config());
  peft::save_rwkv_adapter(adapted, folder / "longer.pth");
  const io::TensorFile base(folder / "base.pth"), state(folder / "longer.pth");
  CHECK(contains(
      message_of([&] { peft::merge_rwkv(base, state, nullptr, peft::RwkvKind::state, 16, folder / "out.pth"); }),
      "neither blocks.2.att.r_k (RWKV-7) nor blocks.2.att.time_faaaa (RWKV-6), to which blocks.2.att.time_state of "));
  CHECK(contains(
      message_of([&] { peft::merge_rwkv(base, state, nullptr, peft::RwkvKind::lora, 16, folder / "out.pth"); }),
      "--kind: expected the file's own, state, got lora"));
  peft::PeftModel shorter(*model);
  CHECK(contains(message_of([&] { peft::load_rwkv_adapter(shorter, folder / "longer.pth", 16); }),
                 "expected 0 adapted linears and 3 whole parameters in the model, found 0 and 2"));
  const Values other(static_cast<std::size_t>(kHeads * 8 * 8));
  nn::write_tensors(folder / "narrow.pth",
                    {{"blocks.0.att.time_state", from_values(other, {kHeads, 8, 8}, DType::f32)}});
  CHECK(contains(message_of([&] {
                   peft::merge_rwkv(base, io::TensorFile(folder / "narrow.pth"), nullptr, peft::RwkvKind::state, 16,
                                    folder / "out.pth");
                 }),
                 "tensor blocks.0.att.time_state: expected [heads, n, n] of the base's blocks.0.att.r_k [2, 16], found "
                 "[2, 8, 8]"));
}

}  // namespace
}  // namespace osteon::test
