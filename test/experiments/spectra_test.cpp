#include "experiments/measure/spectra.hpp"

#include <algorithm>
#include <cmath>
#include <doctest/doctest.h>
#include <limits>

#include "backends/error.hpp"
#include "experiments/training/run.hpp"
#include "nn/io/atomic_file.hpp"
#include "test/experiments/small_run.hpp"
#include "test/nn/io_messages.hpp"

using namespace osteon;
using namespace osteon::experiments;
using doctest::Approx;

namespace {

/// [rows, columns] with these on the diagonal: its singular values, in another order.
Tensor diagonal(std::int64_t rows, std::int64_t columns, const std::vector<double>& values) {
  std::vector<double> all(static_cast<std::size_t>(rows * columns), 0);
  for (std::size_t i = 0; i < values.size(); ++i)
    all[i * static_cast<std::size_t>(columns + 1)] = values[i];
  return from_values(all, {rows, columns}, DType::f32, Device::cpu, Category::workspace);
}

std::size_t rank_of(const Spectrum& spectrum) {
  return static_cast<std::size_t>(std::count_if(spectrum.values.begin(), spectrum.values.end(),
                                                [&](double value) { return value > 1e-5 * spectrum.values.front(); }));
}

}  // namespace

TEST_CASE("spectra: the singular values of a matrix, its norm and its stable rank") {
  for (const auto& [rows, columns] : {std::pair<std::int64_t, std::int64_t>{3, 5}, {5, 3}, {3, 3}}) {
    const Spectrum spectrum = spectrum_of("layers.0.q_proj", diagonal(rows, columns, {-2, 0, 4}));
    CHECK(spectrum.kind() == "q_proj");
    REQUIRE(spectrum.values.size() == 3);
    CHECK(spectrum.values[0] == Approx(4));
    CHECK(spectrum.values[1] == Approx(2));
    CHECK(std::abs(spectrum.values[2]) < 1e-6);
    CHECK(spectrum.norm == Approx(std::sqrt(20.0)));
    CHECK(spectrum.stable_rank == Approx(20.0 / 16));
  }
  const Spectrum none = spectrum_of("x", diagonal(3, 4, {}));
  CHECK(none.stable_rank == 0);
  CHECK(none.values == std::vector<double>{0, 0, 0});
  CHECK_THROWS_WITH_AS(spectrum_of("x", diagonal(2, 2, {std::numeric_limits<double>::quiet_NaN()})),
                       "spectra: x: expected a finite change, got NaN or infinity", NumericError);
}

TEST_CASE("spectra: of a large matrix the leading values, by subspace iteration") {
  std::vector<double> values;
  for (int i = 0; i < 260; ++i)
    values.push_back(std::pow(0.97, i));
  for (const auto& [rows, columns] : {std::pair<std::int64_t, std::int64_t>{260, 300}, {300, 260}}) {
    const Spectrum spectrum = spectrum_of("x", diagonal(rows, columns, values));
    REQUIRE(spectrum.values.size() == kSpectrumValues);
    for (std::size_t i = 0; i < spectrum.values.size(); ++i)
      CHECK(spectrum.values[i] == Approx(values[i]).epsilon(1e-4));
  }
}

TEST_CASE("spectra: a run leaves those of its weights' change, of the rank that its method can reach") {
  const test::TemporaryFolder folder;
  test::make_model(folder / "model");
  for (const auto& [method, most] :
       {std::pair<std::string, std::size_t>{"lora", 4}, {"bone", 4}, {"pissa", 8}, {"bat", 16}, {"full", 16}}) {
    CAPTURE(method);
    RunConfig config = test::small_run(folder / "model", folder / method, method);
    config.spectra = true;
    run(config, test::silent());
    const std::vector<Spectrum> spectra = read_spectra(folder / method);
    REQUIRE(spectra.size() == 4);  // two layers: the middle one is the last
    CHECK(spectra[0].module == "model.layers.0.self_attn.q_proj");
    CHECK(spectra[3].module == "model.layers.1.mlp.down_proj");
    for (const Spectrum& spectrum : spectra) {
      CHECK(spectrum.norm > 0);
      CHECK(spectrum.stable_rank >= 1);
      CHECK(rank_of(spectrum) <= most);
      CHECK(rank_of(spectrum) > most / 4);
    }
  }
  // the same run without it: nothing else changes
  const RunConfig plain = test::small_run(folder / "model", folder / "plain", "pissa");
  run(plain, test::silent());
  CHECK_FALSE(std::filesystem::exists(folder / "plain/spectra.json"));
  CHECK(io::read_file(folder / "plain/adapter/adapter_model.safetensors") ==
        io::read_file(folder / "pissa/adapter/adapter_model.safetensors"));
}

TEST_CASE("spectra: full fine-tuning's change is the difference of the model files") {
  const test::TemporaryFolder folder;
  test::make_model(folder / "model");
  RunConfig config = test::small_run(folder / "model", folder / "full", "full");
  config.spectra = true;
  run(config, test::silent());
  RunConfig after = config;
  after.model = (folder / "full/model").string();
  LoadedModel before = load_weights(config), trained = load_weights(after);
  const Tensor now = trained.model->linears().front()->weight, then = before.model->linears().front()->weight;
  std::vector<double> change = now.to_doubles(), start = then.to_doubles();
  for (std::size_t i = 0; i < change.size(); ++i)
    change[i] -= start[i];
  const Spectrum expected =
      spectrum_of("x", from_values(change, now.shape(), DType::f32, Device::cpu, Category::workspace));
  const Spectrum got = read_spectra(folder / "full").front();
  REQUIRE(got.values.size() == expected.values.size());
  for (std::size_t i = 0; i < got.values.size(); ++i)
    CHECK(got.values[i] == Approx(expected.values[i]));
}

TEST_CASE("spectra: where neither q_proj nor down_proj trains, the first kind that does is looked at") {
  const test::TemporaryFolder folder;
  test::make_model(folder / "model");
  RunConfig config = test::small_run(folder / "model", folder / "run", "lora");
  config.spectra = true;
  config.target_modules = {{"v_proj", "up_proj"}, ""};
  run(config, test::silent());
  const std::vector<Spectrum> spectra = read_spectra(folder / "run");
  REQUIRE(spectra.size() == 2);
  CHECK(spectra[0].kind() == "v_proj");
}

TEST_CASE("spectra: a file that is none is refused with what is wrong in it") {
  const test::TemporaryFolder folder;
  const std::string path = (folder / "spectra.json").string();
  const auto message = [&](const std::string& text) {
    io::write_file_atomically(path, text);
    return test::message_of([&] { read_spectra(folder.path()); });
  };
  CHECK(test::contains(message("{"), path + ": expected JSON, got"));
  CHECK(message("{}") == path + ": expected an array of spectra, got object");
  CHECK(message("[{}]") == path + ": [0].module: expected a value, got none");
  CHECK(message(R"([{"module": "q", "values": [1, "x"]}])") == path + ": [0].values[1]: expected a number, got \"x\"");
}
