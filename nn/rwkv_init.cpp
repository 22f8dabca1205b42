#include <algorithm>
#include <cmath>
#include <functional>
#include <map>

#include "backends/kernels/decompose.hpp"
#include "backends/kernels/elementwise.hpp"
#include "backends/kernels/gemm.hpp"
#include "backends/kernels/random.hpp"
#include "nn/rwkv.hpp"

// The initial values of RWKV's authors, as their trainers write them to rwkv-init.pth: BlinkDL/RWKV-LM,
// RWKV-v7/train_temp/src/model.py for RWKV-7 and RWKV-v5/src/model.py for RWKV-6 (RWKV_Tmix_x070, RWKV_CMix_x070,
// RWKV_Tmix_x060, RWKV_CMix_x060, and generate_init_weight, which has the last word on matrices).

namespace osteon::nn {
namespace {

/// One channel of one layer, as the formulas see it.
struct Channel {
  double i, channels, head_size;
  double layer, layers;

  double depth() const { return layers > 1 ? layer / (layers - 1) : 0; }  ///< 0 in the first layer, 1 in the last
  double height() const { return 1 - layer / layers; }  ///< 1 in the first layer, almost 0 in the last
  double share() const { return channels > 1 ? i / (channels - 1) : 0; }  ///< 0 to 1 over the channels
  double linear() const { return share() - 0.5; }
  /// 1 - (i / channels)^power: how much a channel takes of the token before.
  double shift(double power) const { return 1 - std::pow(i / channels, power); }
  /// -1 to 1 over each head, flat in its middle.
  double zigzag() const {
    const double middle = (head_size - 1) / 2;
    const double z = middle > 0 ? (std::fmod(i, head_size) - middle) / middle : 0;
    return z * std::abs(z);
  }
};

using Formula = std::function<double(const Channel&)>;

/// The vectors of a layer, by what stands behind its name.
const std::map<std::string, Formula>& formulas() {
  static const std::map<std::string, Formula> all = {
      {"att.ln_x.weight", [](const Channel& c) { return std::pow((c.layer + 1) / c.layers, 0.7); }},
      // RWKV-7
      {"att.x_r", [](const Channel& c) { return c.shift(0.2 * c.height()); }},
      {"att.x_w", [](const Channel& c) { return c.shift(0.9 * c.height()); }},
      {"att.x_k", [](const Channel& c) { return c.shift(0.7 * c.height()); }},
      {"att.x_v", [](const Channel& c) { return c.shift(0.7 * c.height()); }},
      {"att.x_a", [](const Channel& c) { return c.shift(0.9 * c.height()); }},
      {"att.x_g", [](const Channel& c) { return c.shift(0.2 * c.height()); }},
      {"att.w0",
       [](const Channel& c) {
         return -5.5 + 6 * std::pow(c.share(), 1 + std::pow(c.depth(), 0.3)) + 2.5 * c.zigzag();
       }},
      {"att.a0", [](const Channel& c) { return -0.19 + 0.3 * c.zigzag() + 0.4 * c.linear(); }},
      {"att.v0", [](const Channel& c) { return 0.73 - 0.4 * c.linear(); }},
      {"att.k_k", [](const Channel& c) { return 0.71 - 0.1 * c.linear(); }},
      {"att.k_a", [](const Channel&) { return 1.02; }},
      {"att.r_k", [](const Channel&) { return -0.04; }},
      {"ffn.x_k", [](const Channel& c) { return c.shift(std::pow(c.height(), 4)); }},
      // RWKV-6
      {"att.time_maa_x", [](const Channel& c) { return c.shift(c.height()); }},
      {"att.time_maa_w", [](const Channel& c) { return c.shift(c.height()); }},
      {"att.time_maa_k", [](const Channel& c) { return c.shift(c.height()); }},
      {"att.time_maa_v", [](const Channel& c) { return c.shift(c.height()) - 0.3 * c.depth(); }},
      {"att.time_maa_r", [](const Channel& c) { return c.shift(0.5 * c.height()); }},
      {"att.time_maa_g", [](const Channel& c) { return c.shift(0.5 * c.height()); }},
      {"att.time_decay", [](const Channel& c) { return -6 + 5 * std::pow(c.share(), 0.7 + 1.3 * c.depth()); }},
      {"att.time_faaaa",
       [](const Channel& c) { return c.depth() * (1 - c.share()) + 0.1 * (std::fmod(c.i + 1, 3) - 1); }},
      {"ffn.time_maa_k", [](const Channel& c) { return c.shift(c.height()); }},
      {"ffn.time_maa_r", [](const Channel& c) { return c.shift(c.height()); }},
  };
  return all;
}

Tensor workspace(const Shape& shape) { return empty(shape, DType::f32, Device::cpu, Category::workspace); }

/// The orthonormal columns of QR times `gain`, or these as rows, each with the sign that leaves the diagonal of R above
/// 0, else they were not uniform.
Tensor orthonormal(const Tensor& normal, double gain, bool as_rows, DType dtype) {
  const std::int64_t m = normal.dim(0), n = normal.dim(1);
  const Tensor q = workspace({m, n}), r = workspace({n, n});
  kernels::qr(Cpu{}, normal.view(), q.mut(), r.mut());
  const std::vector<double> factor = q.to_doubles(), triangle = r.to_doubles();
  std::vector<double> values(factor.size());
  for (std::int64_t i = 0; i < m; ++i)
    for (std::int64_t j = 0; j < n; ++j) {
      const double sign = triangle[static_cast<std::size_t>(j * n + j)] < 0 ? -1 : 1;
      values[static_cast<std::size_t>(as_rows ? j * m + i : i * n + j)] =
          gain * sign * factor[static_cast<std::size_t>(i * n + j)];
    }
  return from_values(values, as_rows ? Shape{n, m} : Shape{m, n}, dtype, Device::cpu);
}

/// The same of many more rows than columns, by products on all threads: normal R^-1 with normal^T normal = R^T R.
/// Random columns of such a length are nearly at right angles: from this ratio on the condition of normal^T normal is
/// below 3, so that its rounding in f32 is about what the columns are off by.
constexpr std::int64_t kTall = 16;
Tensor orthonormal_of_tall(const Tensor& normal, double gain, bool as_rows, DType dtype) {
  const std::int64_t m = normal.dim(0), n = normal.dim(1);
  const Tensor gram = workspace({n, n}), inverse = workspace({n, n});
  const Tensor columns = workspace(as_rows ? Shape{n, m} : Shape{m, n});
  kernels::gemm(Cpu{}, normal.view(), normal.view(), gram.mut(), {.transpose_a = true});
  kernels::inverse_cholesky(Cpu{}, gram.view(), inverse.mut());
  if (as_rows)
    kernels::gemm(Cpu{}, inverse.view(), normal.view(), columns.mut(),
                  {.transpose_a = true, .transpose_b = true, .alpha = gain});
  else
    kernels::gemm(Cpu{}, normal.view(), inverse.view(), columns.mut(), {.alpha = gain});
  return converted(columns, dtype, Category::workspace);
}

/// torch.nn.init.orthogonal_: the longer side's vectors are orthonormal times `gain`.
void fill_orthogonal(const Tensor& parameter, double gain, RandomKey key) {
  const auto [n, m] = std::minmax({parameter.dim(0), parameter.dim(1)});
  const Tensor normal = workspace({m, n});
  kernels::fill_normal(Cpu{}, normal.mut(), 0.0, 1.0, key);
  const auto& made = m >= kTall * n ? orthonormal_of_tall : orthonormal;
  copy_elements(made(normal, gain, parameter.dim(0) < parameter.dim(1), parameter.dtype()), parameter);
}

/// The gain of a linear of a layer; 0 where the layer must begin as the identity.
double linear_gain(const std::string& name) {
  if (name == "att.output.weight" || name == "ffn.value.weight" || name == "ffn.receptance.weight")
    return 0;
  return name == "att.key.weight" || name == "att.gate.weight" ? 0.1 : 1;
}

/// More rows than columns: as many times longer as the square root of their ratio.
double tall_gain(const Tensor& matrix) {
  const auto rows = static_cast<double>(matrix.dim(0)), columns = static_cast<double>(matrix.dim(1));
  return rows > columns ? std::sqrt(rows / columns) : 1;
}

}  // namespace

void Rwkv::initialize(std::uint64_t seed) {
  if (device() == Device::meta)
    return;
  const auto fill = [&](const Tensor& parameter, double value) {
    on_device(device(), [&](auto dev) { kernels::fill(dev, parameter.mut(), value); });
  };
  const auto uniform = [&](const Tensor& parameter, double range, RandomKey key) {
    on_device(device(), [&](auto dev) { kernels::fill_uniform(dev, parameter.mut(), -range, range, key); });
  };
  std::uint64_t index = 0;
  visit([&](const std::string& name, Tensor& parameter) {
    const RandomKey key = RandomKey{seed, 0}.split(index++);
    if (name == "emb.weight")
      return uniform(parameter, 1e-4, key);
    if (name == "head.weight")
      return fill_orthogonal(parameter, 0.5 * tall_gain(parameter), key);
    const bool in_layer = name.starts_with("blocks.");
    const std::size_t dot = in_layer ? name.find('.', 7) : 0;
    const std::string suffix = in_layer ? name.substr(dot + 1) : name;
    if (const auto formula = formulas().find(suffix); formula != formulas().end()) {
      std::vector<double> values(static_cast<std::size_t>(parameter.numel()));
      const double layer = std::stod(name.substr(7, dot - 7));
      for (std::size_t i = 0; i < values.size(); ++i)
        values[i] = formula->second({.i = static_cast<double>(i),
                                     .channels = static_cast<double>(values.size()),
                                     .head_size = static_cast<double>(head_size_),
                                     .layer = layer,
                                     .layers = static_cast<double>(layers_.size())});
      return copy_elements(from_values(values, parameter.shape(), parameter.dtype(), Device::cpu), parameter);
    }
    if (suffix.ends_with(".bias"))  // of norms
      return fill(parameter, 0);
    if (suffix.starts_with("ln"))
      return fill(parameter, 1);
    if (suffix.ends_with(".weight")) {
      const double gain = linear_gain(suffix);
      return gain > 0 ? fill_orthogonal(parameter, gain, key) : fill(parameter, 0);
    }
    // The small matrices: what goes into the low rank begins at 0.
    if (suffix.ends_with("1"))
      return fill(parameter, 0);
    if (suffix.starts_with("att.time_"))
      return uniform(parameter, 0.01, key);
    fill_orthogonal(parameter, 0.1 * tall_gain(parameter), key);
  });
}

}  // namespace osteon::nn
