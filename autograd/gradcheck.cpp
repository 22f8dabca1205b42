#include "autograd/gradcheck.hpp"

#include <algorithm>
#include <cmath>
#include <limits>

#include "backends/random.hpp"

namespace osteon {
namespace {

using Values = std::vector<double>;

/// Uniform in [-1, 1) with 32 bits.
double random_number(RandomKey key, std::size_t i) { return philox(key, i)[0] * 0x1p-31 - 1.0; }

Values random_values(RandomKey key, std::size_t count) {
  Values values(count);
  for (std::size_t i = 0; i < count; ++i)
    values[i] = random_number(key, i);
  return values;
}

/// "(1, 0, 2)": the place of a flat index.
std::string place(const Shape& shape, std::int64_t flat) {
  std::string text = ")";
  for (std::int64_t d = shape.rank() - 1; d >= 0; --d) {
    text = join(flat % shape[d], d == shape.rank() - 1 ? "" : ", ", text);
    flat /= shape[d];
  }
  return "(" + text;
}

/// f along one input: what a derivative in some direction is made of.
class Differences {
 public:
  Differences(const TensorFunction& f, const std::vector<Tensor>& inputs, const Values& projection, double eps)
      : f_(f), inputs_(inputs), projection_(projection), eps_(eps) {}

  /// The derivative of projection * f along `direction` of input i at `at`, whose largest change is about 1.
  double along(std::size_t i, const Values& at, const Values& direction, double scale) {
    Values ahead = at, behind = at;
    const double step = eps_ * scale;
    for (std::size_t j = 0; j < at.size(); ++j) {
      ahead[j] += step * direction[j];
      behind[j] -= step * direction[j];
    }
    const Values high = evaluate(i, ahead), low = evaluate(i, behind);
    write(i, at);
    double sum = 0, square = 0;
    for (std::size_t j = 0; j < high.size(); ++j) {
      sum += projection_[j] * (high[j] - low[j]);
      square += projection_[j] * projection_[j] * (high[j] * high[j] + low[j] * low[j]);
    }
    // Each output is off by about an ulp, however little it changed.
    rounding_ = std::max(rounding_, std::numeric_limits<double>::epsilon() * std::sqrt(square) / (2 * step));
    return sum / (2 * step);
  }

  /// What rounding alone puts into a derivative, estimated.
  double rounding() const { return rounding_; }

 private:
  void write(std::size_t i, const Values& at) {
    copy_elements(from_values(at, inputs_[i].shape(), DType::f64, Device::cpu), inputs_[i]);
  }

  Values evaluate(std::size_t i, const Values& at) {
    write(i, at);
    const NoGrad no_grad;
    return f_(inputs_).to_doubles();
  }

  const TensorFunction& f_;
  const std::vector<Tensor>& inputs_;
  const Values& projection_;
  double eps_, rounding_ = 0;
};

struct Comparison {
  std::string where;
  double analytic, numeric;
};

/// The elements to check: all, or the largest analytic gradient's and a random choice.
std::vector<std::size_t> elements(const Values& analytic, const GradcheckOptions& options, RandomKey key) {
  std::vector<std::size_t> chosen(analytic.size());
  for (std::size_t j = 0; j < chosen.size(); ++j)
    chosen[j] = j;
  if (static_cast<std::int64_t>(analytic.size()) <= options.every_element_up_to)
    return chosen;
  const auto larger = [](double a, double b) { return std::abs(a) < std::abs(b); };
  chosen = {static_cast<std::size_t>(std::max_element(analytic.begin(), analytic.end(), larger) - analytic.begin())};
  while (static_cast<std::int64_t>(chosen.size()) < options.elements)
    chosen.push_back(philox(key, chosen.size())[0] % analytic.size());
  return chosen;
}

std::vector<Comparison> compare(Differences& differences, std::size_t i, const Tensor& input, const Values& analytic,
                                const GradcheckOptions& options) {
  const Values at = input.to_doubles();
  const RandomKey key = RandomKey{options.seed, 1}.split(i);
  std::vector<Comparison> all;
  Values direction(at.size(), 0.0);
  const std::vector<std::size_t> chosen = elements(analytic, options, key);
  for (const std::size_t j : chosen) {
    direction[j] = 1;
    const double numeric = differences.along(i, at, direction, std::max(1.0, std::abs(at[j])));
    direction[j] = 0;
    all.push_back({"at " + place(input.shape(), static_cast<std::int64_t>(j)), analytic[j], numeric});
  }
  if (chosen.size() == at.size())
    return all;
  for (std::int64_t n = 0; n < options.directions; ++n) {
    direction = random_values(key.split(static_cast<std::uint64_t>(n)), at.size());
    double square = 0, product = 0;
    for (const double d : direction)
      square += d * d;
    for (std::size_t j = 0; j < at.size(); ++j) {
      direction[j] /= std::sqrt(square);
      product += direction[j] * analytic[j];
    }
    all.push_back({join("along direction ", n), product, differences.along(i, at, direction, 1.0)});
  }
  return all;
}

std::vector<Tensor> copies(const std::vector<Tensor>& inputs) {
  const bool all = std::none_of(inputs.begin(), inputs.end(), [](const Tensor& x) { return x.requires_grad(); });
  std::vector<Tensor> own;
  for (std::size_t i = 0; i < inputs.size(); ++i) {
    const Tensor& x = inputs[i];
    own.push_back(x.defined() ? converted(x, x.dtype(), x.storage().category()) : Tensor{});
    if (!x.defined() || !is_floating(x.dtype()) || !(all || x.requires_grad()))
      continue;
    check(x.dtype() == DType::f64, "gradcheck: input ", i, ": expected f64, got ", x);
    own.back().set_requires_grad(true);
  }
  return own;
}

}  // namespace

GradReport gradcheck(const TensorFunction& f, const std::vector<Tensor>& inputs, const GradcheckOptions& options) {
  const std::vector<Tensor> own = copies(inputs);
  const Tensor y = f(own);
  check(y.dtype() == DType::f64, "gradcheck: result: expected f64, got ", y);
  check<Error>(y.requires_grad(), "gradcheck: result: expected one that depends on an input that requires a gradient");
  const Values projection = random_values({options.seed, 0}, static_cast<std::size_t>(y.numel()));
  y.backward(from_values(projection, y.shape(), DType::f64, y.device()));

  GradReport report;
  Differences differences(options.numeric ? options.numeric : f, own, projection, options.eps);
  for (std::size_t i = 0; i < own.size(); ++i) {
    if (!own[i].requires_grad())
      continue;
    const Tensor gradient = own[i].grad();  // undefined if f does not depend on the input: zero
    const Values analytic =
        gradient.defined() ? gradient.to_doubles() : Values(static_cast<std::size_t>(own[i].numel()), 0.0);
    const std::vector<Comparison> all = compare(differences, i, own[i], analytic, options);
    double unit = 1e6 * differences.rounding();
    for (const Comparison& one : all)
      unit = std::max(unit, std::abs(one.numeric));
    for (const Comparison& one : all) {
      const double difference = std::abs(one.analytic - one.numeric);
      const double error = std::isfinite(difference) ? (unit > 0 ? difference / unit : difference)
                                                     : std::numeric_limits<double>::infinity();
      ++report.compared;
      if (report.worst.empty() || error > report.max_error) {
        report.max_error = error;
        report.worst = join("input ", i, " ", own[i].shape(), " ", one.where, ": analytic ", one.analytic, ", numeric ",
                            one.numeric);
      }
    }
  }
  return report;
}

}  // namespace osteon
