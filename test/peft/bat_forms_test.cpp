#include <doctest/doctest.h>

#include "autograd/ops.hpp"
#include "autograd/weight_rewrite.hpp"
#include "peft/hf_format.hpp"
#include "test/backends/threads.hpp"
#include "test/nn/io_messages.hpp"
#include "test/nn/temporary_folder.hpp"
#include "test/peft/tiny_model.hpp"

// The forms of Bat's update, element by element in plain loops, and what they have in common. Their gradients are
// checked against central differences with all others' (gradient_test.cpp).

namespace osteon::test {
namespace {

std::size_t at(std::int64_t row, std::int64_t column, std::int64_t columns) {
  return static_cast<std::size_t>(row * columns + column);
}

/// W'[o, i] of a form: what stands in its file's first lines.
Values adapted_weight(const AdapterCase& one, const AdaptedLinear& linear) {
  const Values w = linear.base.weight.to_doubles();
  std::vector<Values> p;
  for (const auto& [name, tensor] : linear.adapter->parameters())
    p.push_back(tensor.to_doubles());
  const std::int64_t r = one.rank;
  Values adapted = w;
  for (std::int64_t o = 0; o < one.out; ++o)
    for (std::int64_t i = 0; i < one.in; ++i) {
      const std::int64_t a = o / r, b = i / r, j = i % r;
      const std::int64_t m = one.method == "bat_tile" ? a % one.tile_rows * one.tile_columns + b % one.tile_columns : a;
      const auto block = [&](const Values& of, std::int64_t row) { return of[at(m * r + row, j, r)]; };
      double& element = adapted[at(o, i, one.in)];
      if (one.method == "bat_hadamard") {
        element += (w[at(o, i, one.in)] + 1) * block(p[0], o % r);
        continue;
      }
      for (std::int64_t l = 0; l < r; ++l)
        element += w[at(o, b * r + l, one.in)] * block(p[0], l);
      if (one.method != "bat_product")
        element += block(p.back(), o % r);
    }
  return adapted;
}

/// Of `method` with other values, as plain numbers: the output, dx and the parameters' gradients.
std::vector<Values> results(const AdaptedLinear& linear, const AdapterCase& one) {
  const Tensor x = grid_tensor(one.x, DType::f64, one.seed + 50).set_requires_grad(true);
  const Tensor y = linear(x);
  y.backward(grid_tensor(y.shape(), DType::f64, 99));
  std::vector<Values> all = {y.to_doubles(), x.grad().to_doubles()};
  for (const auto& [name, tensor] : linear.adapter->parameters())
    all.push_back(tensor.grad().to_doubles());
  return all;
}

Values sum_of(const Values& a, const Values& b) {
  Values sum = a;
  for (std::size_t i = 0; i < sum.size(); ++i)
    sum[i] += b[i];
  return sum;
}

TEST_CASE("each form of Bat is what its formula says, in plain loops") {
  int count = 0;
  with_threads(1, [&] {
    for (const AdapterCase& one : adapter_cases()) {
      if (one.method != "bat_product" && one.method != "bat_hadamard" && one.method != "bat_ab" &&
          one.method != "bat_tile")
        continue;
      CAPTURE(one.title());
      ++count;
      const AdaptedLinear linear(one, DType::f64);
      const Values expected = adapted_weight(one, linear);
      CHECK(largest_error(linear.adapter->merged_weight(linear.base).to_doubles(), expected, 1.0) <= 1e-13);
      const Tensor x = grid_tensor(one.x, DType::f64, one.seed + 50);
      const Tensor w = from_values(expected, {one.out, one.in}, DType::f64);
      CHECK(largest_error(linear(x), osteon::linear(x, w, linear.base.bias), 1.0) <= 1e-12);
    }
  });
  CHECK(count >= 160);
}

TEST_CASE("a tile of all output blocks is Bat, one of all input blocks is bat_row, gradients too") {
  for (const char* same : {"bat", "bat_row"}) {
    AdapterCase one = {same, 12, 8, 2, 1, true, 0, {2, 3, 12}};
    const AdaptedLinear other(one, DType::f64);
    one.method = "bat_tile";
    one.tile_rows = same == std::string("bat") ? 4 : 1;
    one.tile_columns = same == std::string("bat") ? 1 : 6;
    const AdaptedLinear tile(one, DType::f64);
    const std::vector<Values> expected = results(other, one), got = results(tile, one);
    for (std::size_t i = 0; i < got.size(); ++i)
      CHECK(largest_error(got[i], expected[i], 1.0) <= 1e-12);
  }
}

TEST_CASE("Bat AB is Bat where A = B, Bat product where B = 0, and Bone where A = 0") {
  const AdapterCase one = {"bat_ab", 12, 8, 2, 1, true, 0, {2, 3, 12}};
  const auto of = [&](const char* method) {
    AdapterCase other = one;
    other.method = method;
    return AdaptedLinear(other, DType::f64);
  };
  const AdaptedLinear ab = of("bat_ab");
  const Tensor a = ab.parameter("bat_ab_product"), b = ab.parameter("bat_ab_sum");
  const Values blocks = grid_values(a.numel(), 5, -0.5, 0.5), none(blocks.size(), 0);
  const auto ab_results = [&](const Values& product, const Values& sum) {
    set_values(a, product);
    set_values(b, sum);
    a.clear_grad();
    b.clear_grad();
    return results(ab, one);
  };
  const auto same = [](const Values& got, const Values& expected) { CHECK(largest_error(got, expected) <= 1e-12); };

  const AdaptedLinear bat = of("bat");
  set_values(bat.adapter->parameters()[0].second, blocks);
  std::vector<Values> got = ab_results(blocks, blocks), expected = results(bat, one);
  same(got[0], expected[0]);
  same(got[1], expected[1]);
  same(sum_of(got[2], got[3]), expected[2]);  // B stands in both places

  const AdaptedLinear product = of("bat_product");
  set_values(product.adapter->parameters()[0].second, blocks);
  got = ab_results(blocks, none);
  expected = results(product, one);
  for (std::size_t i = 0; i < expected.size(); ++i)
    same(got[i], expected[i]);

  const AdaptedLinear bone = of("bone");  // D[j, o] = B[o, j] with B seen as [out, rank]
  Values d(blocks.size());
  const auto transposed = [&](const Values& from, std::int64_t rows, std::int64_t columns) {
    Values to(from.size());
    for (std::int64_t i = 0; i < rows; ++i)
      for (std::int64_t j = 0; j < columns; ++j)
        to[at(j, i, rows)] = from[at(i, j, columns)];
    return to;
  };
  set_values(bone.parameter("bone_block"), transposed(blocks, one.out, one.rank));
  got = ab_results(none, blocks);
  expected = results(bone, one);
  same(got[0], expected[0]);
  same(got[1], expected[1]);
  same(got[3], transposed(expected[2], one.rank, one.out));
}

TEST_CASE("forms of Bat refuse to unmerge what cannot be had back") {
  const AdapterCase one = {"bat_hadamard", 4, 4, 2, 1, false, 0, {3, 4}};
  const auto refusal = [&](const char* method, double value) {
    AdapterCase other = one;
    other.method = method;
    const AdaptedLinear linear(other, DType::f32);
    set_values(linear.adapter->parameters()[0].second, Values(8, value));
    return message_of([&] { (void)linear.adapter->unmerged_weight(linear.base); });
  };
  CHECK(refusal("bat_hadamard", -1) ==
        "bat_hadamard: unmerge: linear: expected 1 + B of at least 1e-6 from zero, got 0; merge with a backup instead");
  for (const char* method : {"bat_product", "bat_ab"})
    CHECK(contains(refusal(method, -0.5), "unmerge: block 0 of linear: expected a reciprocal condition"));
}

TEST_CASE("a folder keeps the tile, and forms refuse dropout") {
  const auto model = tiny_model();
  const TemporaryFolder folder;
  peft::AdapterConfig config = tiny_adapter("bat_tile");
  config.tile_rows = 2;
  config.tile_columns = 4;
  config.target_modules = {"q_proj", "o_proj"};
  peft::PeftModel adapted(*model), loaded(*model);
  adapted.add(config);
  peft::save_adapter(adapted, folder.path());
  const peft::AdapterConfig& read = peft::load_adapter(loaded, folder.path()).config;
  CHECK(read.tile_rows == 2);
  CHECK(read.tile_columns == 4);
  for (const char* method : {"bat_row", "bat_product", "bat_hadamard", "bat_ab", "bat_tile"}) {
    peft::AdapterConfig dropped = tiny_adapter(method);
    dropped.dropout = 0.1;
    CHECK(message_of([&] { adapted.add(dropped, "other"); }) == join(method, ": dropout: expected 0, got 0.1"));
  }
}

/// W' = p W for the errors of the op.
class Scaled final : public WeightRewrite {
 public:
  void apply(const Tensor& weight, const std::vector<Tensor>&, const Tensor& rewritten) const override {
    on_device(weight.device(), [&](auto dev) { kernels::copy(dev, weight.view(), rewritten.mut()); });
  }
  void gradient(const Tensor&, const std::vector<Tensor>&, const Tensor&, const std::vector<Sink>&) const override {}
};

TEST_CASE("rewritten_linear says what it expected") {
  const auto rewrite = std::make_shared<Scaled>();
  const Tensor x = grid_tensor({3, 4}, DType::f32, 1), w = grid_tensor({6, 4}, DType::f32, 2), p = w;
  const auto refusal = [&](const Tensor& of, const Tensor& weight, const Tensor& bias, std::vector<Tensor> parameters) {
    return message_of([&] { (void)rewritten_linear(of, weight, bias, parameters, rewrite); });
  };
  CHECK(refusal(x, w, {}, {}) == "rewritten_linear: parameters: expected one or two, got 0");
  CHECK(refusal(x, grid_tensor({6, 4}, DType::bf16, 2), {}, {p}) == "rewritten_linear: weight: expected f32, got bf16");
  CHECK(refusal(x, grid_tensor({6, 4}, DType::f32, 2).set_requires_grad(true), {}, {p}) ==
        "rewritten_linear: weight: expected a frozen base weight, got a trainable one");
  CHECK(refusal(x, grid_tensor({6, 3}, DType::f32, 2), {}, {p}) ==
        "rewritten_linear: weight: expected [out, 4], got [6, 3]");
  CHECK(contains(refusal(x, w, grid_tensor({5}, DType::f32, 3), {p}), "rewritten_linear: bias: expected [6], got "));
  CHECK(refusal(grid_tensor({}, DType::f32, 1), w, {}, {p}) ==
        "rewritten_linear: x: expected [..., in_features], got a scalar");
}

}  // namespace
}  // namespace osteon::test
