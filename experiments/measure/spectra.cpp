#include "experiments/measure/spectra.hpp"

#include <algorithm>
#include <array>
#include <cmath>
#include <map>
#include <nlohmann/json.hpp>
#include <set>
#include <string_view>

#include "backends/kernels/decompose.hpp"
#include "backends/kernels/gemm.hpp"
#include "backends/kernels/random.hpp"
#include "experiments/config/json_fields.hpp"
#include "nn/io/atomic_file.hpp"

namespace osteon::experiments {

template <class Fields>
void describe(Fields& field, Spectrum& spectrum) {
  field("module", spectrum.module);
  field("norm", spectrum.norm);
  field("stable_rank", spectrum.stable_rank);
  field("values", spectrum.values);
}

namespace {

constexpr int kRounds = 4;  // of subspace iteration: value 64 of 128 columns is then wrong by (s_129 / s_64)^9
constexpr std::array<std::string_view, 2> kKinds = {"q_proj", "down_proj"};

Tensor workspace(const Shape& shape) { return empty(shape, DType::f32, Device::cpu, Category::workspace); }

Tensor orthonormal(const Tensor& x) {
  const Tensor q = workspace({x.dim(0), std::min(x.dim(0), x.dim(1))}), r = workspace({q.dim(1), x.dim(1)});
  kernels::qr(Cpu{}, x.view(), q.mut(), r.mut());
  return q;
}

Tensor product(const Tensor& a, bool transpose_a, const Tensor& b) {
  const Tensor y = workspace({transpose_a ? a.dim(1) : a.dim(0), b.dim(1)});
  kernels::gemm(Cpu{}, a.view(), b.view(), y.mut(), {.transpose_a = transpose_a});
  return y;
}

/// The linears to look at, of those that train: first, middle and last of each kind.
std::vector<nn::Linear*> chosen(const std::vector<nn::Linear*>& trained) {
  std::vector<nn::Linear*> found;
  const auto add_kind = [&](std::string_view kind) {
    std::vector<nn::Linear*> all;
    for (nn::Linear* linear : trained)
      if (("." + linear->name()).ends_with(join(".", kind)))
        all.push_back(linear);
    for (const std::size_t place : std::set<std::size_t>{0, all.size() / 2, all.size() - 1})
      if (!all.empty())
        found.push_back(all[place]);
  };
  for (const std::string_view kind : kKinds)
    add_kind(kind);
  if (found.empty() && !trained.empty())
    add_kind(Spectrum{.module = trained.front()->name(), .values = {}}.kind());
  return found;
}

/// What to subtract the start from: an adapter's change of the base, or the weight itself.
Tensor value_now(const nn::Linear& linear, const peft::Adapter* adapter) {
  const NoGrad no_grad;
  const Tensor value = adapter != nullptr ? adapter->delta_weight(linear) : linear.weight;
  return converted(to_device(value, Device::cpu), DType::f32, Category::workspace);
}

}  // namespace

Spectrum spectrum_of(const std::string& module, const Tensor& change) {
  Spectrum spectrum{.module = module, .values = {}};
  for (const double value : change.to_doubles())
    spectrum.norm += value * value;
  spectrum.norm = std::sqrt(spectrum.norm);
  check<NumericError>(std::isfinite(spectrum.norm), "spectra: ", module, ": expected a finite change, got NaN or ",
                      "infinity");
  const std::int64_t smaller = std::min(change.dim(0), change.dim(1));
  const std::int64_t columns = std::min(smaller, 2 * kSpectrumValues);
  const Tensor start = workspace({change.dim(1), columns});
  kernels::fill_normal(Cpu{}, start.mut(), 0.0, 1.0, RandomKey{0, 0});
  Tensor q = orthonormal(product(change, false, start));
  for (int round = 0; round < kRounds && columns < smaller; ++round)
    q = orthonormal(product(change, false, orthonormal(product(change, true, q))));
  const Tensor small = product(q, true, change);
  const Tensor u = workspace({columns, columns}), s = workspace({columns}), vt = workspace({columns, change.dim(1)});
  kernels::svd(Cpu{}, small.view(), u.mut(), s.mut(), vt.mut());
  spectrum.values = s.to_doubles();
  spectrum.values.resize(static_cast<std::size_t>(std::min(columns, kSpectrumValues)));
  if (const double largest = spectrum.values.front(); largest > 0)
    spectrum.stable_rank = (spectrum.norm / largest) * (spectrum.norm / largest);
  return spectrum;
}

SpectrumProbe::SpectrumProbe(LoadedModel& loaded) {
  const peft::ModelAdapter& adapter = loaded.adapted->adapter();
  std::vector<nn::Linear*> trained;
  for (nn::Linear* linear : loaded.model->linears())
    if (adapter.modules.contains(linear->name()) || linear->weight.requires_grad())
      trained.push_back(linear);
  for (nn::Linear* linear : chosen(trained)) {
    const auto found = adapter.modules.find(linear->name());
    Weight weight{linear, found == adapter.modules.end() ? nullptr : found->second.get(), {}};
    const std::vector<double> start = value_now(*linear, weight.adapter).to_doubles();
    if (std::any_of(start.begin(), start.end(), [](double value) { return value != 0; }))
      weight.start.assign(start.begin(), start.end());
    weights_.push_back(std::move(weight));
  }
}

std::vector<Spectrum> SpectrumProbe::spectra() const {
  std::vector<Spectrum> spectra;
  for (const Weight& weight : weights_) {
    Tensor change = value_now(*weight.linear, weight.adapter);
    if (!weight.start.empty()) {
      std::vector<double> values = change.to_doubles();
      for (std::size_t i = 0; i < values.size(); ++i)
        values[i] -= static_cast<double>(weight.start[i]);
      change = from_values(values, change.shape(), DType::f32, Device::cpu, Category::workspace);
    }
    spectra.push_back(spectrum_of(weight.linear->name(), change));
  }
  return spectra;
}

void write_spectra(const std::filesystem::path& folder, const std::vector<Spectrum>& spectra) {
  std::string text = "[";
  for (const Spectrum& spectrum : spectra)
    text += (text.size() > 1 ? ",\n " : "\n ") + JsonWriter::write(spectrum).dump();
  io::write_file_atomically(folder / "spectra.json", text + "\n]\n");
}

std::vector<Spectrum> read_spectra(const std::filesystem::path& folder) {
  const std::string path = (folder / "spectra.json").string();
  nlohmann::json json;
  try {
    json = nlohmann::json::parse(io::read_file(path));
  } catch (const nlohmann::json::exception& error) {
    fail<FileError>(path, ": expected JSON, got ", error.what());
  }
  check<FileError>(json.is_array(), path, ": expected an array of spectra, got ", json.type_name());
  std::vector<Spectrum> spectra;
  for (const nlohmann::json& one : json) {
    JsonReader reader(one, path, join("[", spectra.size(), "]."));
    reader.require("module");
    describe(reader, spectra.emplace_back());
  }
  return spectra;
}

}  // namespace osteon::experiments
