#include <doctest/doctest.h>

#include "backends/kernels/decompose.hpp"
#include "peft/convert.hpp"
#include "peft/hf_format.hpp"
#include "test/nn/io_messages.hpp"
#include "test/nn/temporary_folder.hpp"
#include "test/peft/tiny_model.hpp"

namespace osteon::test {
namespace {

Values singular_values(const Tensor& weight) {
  const std::int64_t q = std::min(weight.dim(0), weight.dim(1));
  const Tensor u = empty({weight.dim(0), q}, DType::f64), s = empty({q}, DType::f64),
               vt = empty({q, weight.dim(1)}, DType::f64);
  on_device(weight.device(),
            [&](auto dev) { kernels::svd(dev, converted(weight, DType::f64).view(), u.mut(), s.mut(), vt.mut()); });
  return s.to_doubles();
}

double squares(const Values& values, std::size_t from = 0) {
  double sum = 0;
  for (std::size_t i = from; i < values.size(); ++i)
    sum += values[i] * values[i];
  return sum;
}

TEST_CASE("PiSSA's and OLoRA's parts add up to the weight; PiSSA leaves the tail of the spectrum") {
  for (const auto& [dtype, tolerance] : {std::pair(DType::f64, 1e-12), {DType::f32, 1e-6}, {DType::bf16, 0x1p-8}})
    for (const auto& [in, out] : {std::pair<std::int64_t, std::int64_t>{24, 16}, {16, 24}, {17, 17}, {5, 40}})
      for (const auto& [method, init] :
           {std::pair("pissa", "true"), {"pissa", "pissa_niter_0"}, {"pissa", "pissa_niter_4"}, {"olora", "true"}})
        for (const std::int64_t rank : {1, 4, 5}) {
          const AdapterCase one = {method, in, out, rank, 1, false, 0, {}, init, 5};
          CAPTURE(one.title());
          CAPTURE(init);
          const Tensor weight = AdaptedLinear({"lora", in, out, rank, 1, false, 0, {}, "true", 5}, dtype).base.weight;
          const AdaptedLinear linear(one, dtype, /*fresh=*/true);
          CHECK(largest_error(linear.adapter->merged_weight(linear.base), weight) <= tolerance);
          if (method != std::string("pissa") || dtype != DType::f64)
            continue;
          const double tail = squares(singular_values(weight), static_cast<std::size_t>(rank));
          const double rest = squares(linear.base.weight.to_doubles());
          if (init == std::string("true"))
            CHECK(rest == doctest::Approx(tail).epsilon(1e-10));
          else
            CHECK(rest >= tail - 1e-10);  // no rank-r part leaves less than the exact SVD's
        }
}

TEST_CASE("randomised PiSSA tends to the exact one as its rounds grow") {
  const auto residual = [](const std::string& init) {
    const AdaptedLinear linear({"pissa", 30, 20, 4, 1, false, 0, {}, init, 5}, DType::f64, true);
    return linear.base.weight.to_doubles();
  };
  const Values exact = residual("pissa");
  const double rough = largest_error(residual("pissa_niter_0"), exact),
               some = largest_error(residual("pissa_niter_8"), exact),
               many = largest_error(residual("pissa_niter_400"), exact);
  CHECK(rough > some);
  CHECK(some > many);
  CHECK(many <= 1e-6);
}

TEST_CASE("unknown initialisations and too large a rank are refused") {
  const auto with = [](const std::string& method, const std::string& init, std::int64_t rank) {
    return message_of([&] {
      peft::AdapterConfig config = tiny_adapter(method);
      config.init = init;
      config.rank = rank;
      const auto model = tiny_model();
      peft::PeftModel(*model).add(config);
    });
  };
  for (const char* init : {"pissa_niter_", "pissa_niter_x", "pissa_niter_-1", "pissa_niter_4x", "olora"})
    CHECK(contains(with("pissa", init, 4),
                   join("init_lora_weights: expected true, pissa or pissa_niter_<n>, got \"", init, "\"")));
  CHECK(
      contains(with("pissa", "true", 9), "rank: expected at most min(in, out) = 8, got 9 (model.layers.0.self_attn.k"));
  CHECK(with("pissa", "pissa_niter_0", 4) == "no error");
}

TEST_CASE("a trained PiSSA or OLoRA saved as LoRA does the same on the original base") {
  for (const char* method : {"pissa", "olora"}) {
    CAPTURE(method);
    const auto model = tiny_model();
    peft::PeftModel adapted(*model);
    peft::AdapterConfig config = tiny_adapter(method);
    config.rank_pattern = {{"q_proj", 3}};
    config.alpha_pattern = {{"k_proj", 5.0}};
    config.modules_to_save = {"norm", "embed_tokens"};
    config.bias = "all";
    peft::ModelAdapter& adapter = adapted.add(config);
    NamedTensors start;
    for (const auto& [name, tensor] : peft::adapter_tensors(adapted))
      start.emplace_back(name, converted(tensor, tensor.dtype()));
    disturb(adapter, 3);
    for (const auto& [name, tensor] : peft::adapter_tensors(adapted))
      if (name.find("lora_") == std::string::npos)  // trained whole
        set_values(tensor, grid_values(tensor.numel(), 7));
    const Values expected = logits_of(*model);
    const TemporaryFolder folder;
    peft::save_residual_as_lora(adapted, start, folder.path());

    const auto original = tiny_model();
    peft::PeftModel loaded(*original);
    const peft::ModelAdapter& lora = peft::load_adapter(loaded, folder.path());
    CHECK(lora.config.method == "lora");
    CHECK(lora.config.rank == 8);
    CHECK(largest_error(logits_of(*original), expected) <= 2e-5);
  }
}

TEST_CASE("exact conversions give the same logits") {
  struct Pair {
    const char *from, *to;
  };
  for (const Pair& pair : {Pair{"bone", "miss"}, Pair{"miss", "bone"}, Pair{"bone", "lora"}, Pair{"miss", "lora"},
                           Pair{"miss_mini", "lora"}}) {
    CAPTURE(pair.from);
    CAPTURE(pair.to);
    const auto model = tiny_model();
    peft::PeftModel adapted(*model);
    peft::AdapterConfig config = tiny_adapter(pair.from);
    config.rank = 5;  // ragged
    disturb(adapted.add(config, "old"), 3);
    const Values expected = logits_of(*model);
    peft::convert_adapter(adapted, pair.to, "new");
    CHECK(adapted.active() == "new");
    CHECK(largest_error(logits_of(*model), expected) <= (pair.to == std::string("lora") ? 1e-5 : 0.0));
    adapted.activate("old");
    CHECK(logits_of(*model) == expected);
  }
  CHECK(peft::conversions().size() == 7);
  const auto model = tiny_model();
  peft::PeftModel adapted(*model);
  adapted.add(tiny_adapter("bat"));
  CHECK(contains(message_of([&] { peft::convert_adapter(adapted, "lora", "new"); }),
                 "convert: from bat to lora: no exact conversion; there are: bone -> miss"));
}

TEST_CASE("Bat's two layouts are converted where a module's matrices are one and the same, and else told apart") {
  for (const char* from : {"bat", "bat_row"}) {
    CAPTURE(from);
    const std::string to = from == std::string("bat") ? "bat_row" : "bat";
    const auto model = tiny_model();
    peft::PeftModel adapted(*model);
    peft::ModelAdapter& old = adapted.add(tiny_adapter(from), "old");
    disturb(old, 3);
    const std::string first = old.modules.begin()->first;
    CHECK(contains(
        message_of([&] { peft::convert_adapter(adapted, to, "new"); }),
        join("convert: ", first, ": Bat's layouts are equal only where all matrices of a module are; matrix 1 ",
             "differs from matrix 0 in element 0: ")));
    CHECK(adapted.adapter_names() == std::vector<std::string>{"old"});
    for (const auto& [module, adapter] : old.modules) {
      const Tensor blocks = adapter->parameters()[0].second;
      const Values one = blocks.slice(0, 1).to_doubles();
      for (std::int64_t i = 1; i < blocks.dim(0); ++i)
        set_values(blocks.slice(i, i + 1), one);
    }
    const Values expected = logits_of(*model);
    const peft::ModelAdapter& made = peft::convert_adapter(adapted, to, "new");
    CHECK(largest_error(logits_of(*model), expected) <= 1e-5);
    bool other_count = false;
    for (const auto& [module, adapter] : made.modules)
      other_count = other_count ||
                    adapter->parameters()[0].second.dim(0) != old.modules.at(module)->parameters()[0].second.dim(0);
    CHECK(other_count);
  }
}

}  // namespace
}  // namespace osteon::test
