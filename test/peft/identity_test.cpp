#include <doctest/doctest.h>

#include "autograd/audit.hpp"
#include "autograd/ops.hpp"
#include "autograd/ops/dora.hpp"
#include "backends/memory.hpp"
#include "test/backends/threads.hpp"
#include "test/peft/adapter_case.hpp"

// What must be equal by the methods' own algebra, on one linear.

namespace osteon::test {
namespace {

/// For every case of the methods in `names`, or of all.
void for_cases(const std::vector<std::string>& names, const std::function<void(const AdapterCase&)>& test) {
  int count = 0;
  with_threads(1, [&] {
    for (const AdapterCase& one : adapter_cases())
      if (names.empty() || std::find(names.begin(), names.end(), one.method) != names.end()) {
        CAPTURE(one.title());
        test(one);
        ++count;
      }
  });
  CHECK(count >= 40);
}

Tensor input_of(const AdapterCase& one, DType dtype) {
  return grid_tensor(one.x, dtype, one.seed + 50).set_requires_grad(true);
}

/// Back-propagates fixed random numbers.
void backward(const Tensor& y) { y.backward(grid_tensor(y.shape(), y.dtype(), 99)); }

Tensor transposed(const Tensor& x) {
  Values from = x.to_doubles(), to(from.size());
  for (std::int64_t i = 0; i < x.dim(0); ++i)
    for (std::int64_t j = 0; j < x.dim(1); ++j)
      to[static_cast<std::size_t>(j * x.dim(0) + i)] = from[static_cast<std::size_t>(i * x.dim(1) + j)];
  return from_values(to, {x.dim(1), x.dim(0)}, x.dtype());
}

/// [i mod rank = j] as [rank, in].
Values binary_factor(std::int64_t rank, std::int64_t in) {
  Values a(static_cast<std::size_t>(rank * in));
  for (std::int64_t i = 0; i < in; ++i)
    a[static_cast<std::size_t>((i % rank) * in + i)] = 1;
  return a;
}

TEST_CASE("a fresh adapter that begins as the base gives its output bit for bit") {
  for (const DType dtype : {DType::f64, DType::f32, DType::bf16})
    for_cases({"lora", "rslora", "lora_plus", "lora_fa", "bone", "miss", "miss_mini", "bat", "bat_row", "bat_product",
               "bat_hadamard", "bat_ab", "bat_tile"},
              [&](const AdapterCase& one) {
                const AdaptedLinear linear(one, dtype, /*fresh=*/true);
                const Tensor x = input_of(one, dtype);
                random_state() = {};
                CHECK(linear(x).to_doubles() == linear.base.base(x).to_doubles());
              });
}

TEST_CASE("DoRA, PiSSA and OLoRA begin as the base but for rounding") {
  for (const auto& [dtype, tolerance] : {std::pair(DType::f64, 1e-12), {DType::f32, 1e-5}, {DType::bf16, 0.02}})
    for_cases({"dora", "pissa", "olora"}, [&, dtype = dtype, tolerance = tolerance](AdapterCase one) {
      one.dropout = 0;  // PiSSA's adapter carries part of the weight: dropping some of it is not the base
      const Tensor weight = AdaptedLinear(one, dtype).base.weight;
      const AdaptedLinear linear(one, dtype, /*fresh=*/true);
      const Tensor x = input_of(one, dtype);
      CHECK(largest_error(linear(x), osteon::linear(x, weight, linear.base.bias), 1.0) <= tolerance);
    });
}

TEST_CASE("other initialisations do not begin as the base") {
  for (const char* method : {"lora", "bone", "miss"}) {
    const AdapterCase one = {method, 6, 9, 4, 1, true, 0, {3, 6}, "false"};
    const AdaptedLinear linear(one, DType::f32, /*fresh=*/true);
    const Tensor x = input_of(one, DType::f32);
    CHECK(largest_error(linear(x), linear.base.base(x)) > 1e-3);
  }
  const AdapterCase gaussian = {"lora", 6, 9, 4, 1, true, 0, {3, 6}, "gaussian"};
  const AdaptedLinear linear(gaussian, DType::f32, /*fresh=*/true);
  const Tensor x = input_of(gaussian, DType::f32);
  CHECK(linear(x).to_doubles() == linear.base.base(x).to_doubles());
  CHECK(largest_error(linear.parameter("lora_A.weight").to_doubles(), Values(24, 0.0), 1.0) > 0.01);
}

TEST_CASE("the same seed gives the same fresh adapter, another one another") {
  for (const char* method : {"lora", "dora"}) {
    AdapterCase one = {method, 6, 9, 4};
    const auto fresh = [&] { return AdaptedLinear(one, DType::f32, true).parameter("lora_A.weight").to_doubles(); };
    const Values first = fresh();
    CHECK(first == fresh());
    one.seed = 2;
    CHECK(first != fresh());
  }
}

TEST_CASE("Bone is LoRA with A[j,i] = [i mod r = j] and B = D^T, gradients too") {
  for_cases({"bone", "miss"}, [](const AdapterCase& one) {
    const AdaptedLinear bone(one, DType::f64);
    AdapterCase as_lora = one;
    as_lora.method = "lora";
    AdaptedLinear lora(as_lora, DType::f64);
    const Tensor block = bone.adapter->parameters()[0].second, b = lora.parameter("lora_B.weight");
    set_values(lora.parameter("lora_A.weight"), binary_factor(one.rank, one.in));
    // The case's scaling is 2.
    set_values(b, scale(transposed(block), 0.5).to_doubles());
    const Tensor x1 = input_of(one, DType::f64), x2 = input_of(one, DType::f64);
    random_state() = {};
    const Tensor y1 = bone(x1);
    random_state() = {};
    const Tensor y2 = lora(x2);
    CHECK(largest_error(y1, y2, 1.0) <= 1e-12);
    backward(y1);
    backward(y2);
    CHECK(largest_error(x1.grad(), x2.grad(), 1.0) <= 1e-12);
    CHECK(largest_error(transposed(block.grad()), scale(b.grad(), 0.5), 1.0) <= 1e-12);
    CHECK(largest_error(bone.adapter->delta_weight(bone.base), lora.adapter->delta_weight(lora.base), 1.0) <= 1e-12);
  });
}

TEST_CASE("Bone's first gradient is the full one, its columns added by their place in a block") {
  for_cases({"bone"}, [](AdapterCase one) {
    one.dropout = 0;
    const AdaptedLinear bone(one, DType::f64, /*fresh=*/true);
    const Tensor w = converted(bone.base.weight, DType::f64).set_requires_grad(true);
    backward(bone(input_of(one, DType::f64)));
    backward(linear(input_of(one, DType::f64), w, bone.base.bias));
    const Tensor folded = block_sum(w.grad(), one.rank);
    CHECK(largest_error(transposed(bone.parameter("bone_block").grad()), folded, 1.0) <= 1e-12);
  });
}

TEST_CASE("mini is Bone with its block repeated, and Bone itself where mini_r is out_features") {
  for_cases({"miss_mini"}, [](const AdapterCase& given) {
    for (const std::int64_t mini_rank : {given.mini_rank, given.out}) {
      AdapterCase one = given;
      one.mini_rank = mini_rank;
      const AdaptedLinear mini(one, DType::f64);
      one.method = "miss";
      const AdaptedLinear bone(one, DType::f64);
      const Values small = mini.parameter("miss_block").to_doubles();
      Values whole(static_cast<std::size_t>(one.rank * one.out));
      for (std::int64_t j = 0; j < one.rank; ++j)
        for (std::int64_t o = 0; o < one.out; ++o)
          whole[static_cast<std::size_t>(j * one.out + o)] =
              small[static_cast<std::size_t>(j * mini_rank + o % mini_rank)];
      set_values(bone.parameter("miss_block"), whole);
      const Tensor x1 = input_of(one, DType::f64), x2 = input_of(one, DType::f64);
      random_state() = {};
      const Tensor y1 = mini(x1);
      random_state() = {};
      const Tensor y2 = bone(x2);
      CHECK(largest_error(y1, y2, 1.0) <= 1e-12);
      backward(y1);
      backward(y2);
      CHECK(largest_error(x1.grad(), x2.grad(), 1.0) <= 1e-12);
      CHECK(largest_error(mini.adapter->delta_weight(mini.base), bone.adapter->delta_weight(bone.base), 1.0) <= 1e-12);
    }
  });
}

TEST_CASE("Bat with one block is W (I + B) + B") {
  for (const std::int64_t n : {1, 2, 5, 8, 17}) {
    const AdapterCase one = {"bat", n, n, n, 1, false, 0, {3, n}};
    const AdaptedLinear bat(one, DType::f64);
    const Tensor b = reshape(bat.adapter->parameters()[0].second.detach(), {n, n});
    const Tensor expected = add(add(bat.base.weight, matmul(bat.base.weight, b)), b);
    CHECK(largest_error(bat.adapter->merged_weight(bat.base), expected) <= 1e-14);
    const Tensor x = input_of(one, DType::f64);
    CHECK(largest_error(bat(x), linear(x, expected)) <= 1e-13);
  }
}

TEST_CASE("Bat with a matrix per input block is W_ab (I + B_b) + B_b, in plain loops") {
  for_cases({"bat_row"}, [](const AdapterCase& one) {
    const AdaptedLinear bat(one, DType::f64);
    const std::vector<double> w = bat.base.weight.to_doubles(), b = bat.adapter->parameters()[0].second.to_doubles();
    std::vector<double> expected = w;
    for (std::int64_t o = 0; o < one.out; ++o)
      for (std::int64_t i = 0; i < one.in; ++i)
        for (std::int64_t l = 0; l < one.rank; ++l) {
          const std::int64_t block = i / one.rank, guide = o * one.in + block * one.rank + l;
          const double times = w[static_cast<std::size_t>(guide)] + (l == o % one.rank ? 1 : 0);
          expected[static_cast<std::size_t>(o * one.in + i)] +=
              times * b[static_cast<std::size_t>((block * one.rank + l) * one.rank + i % one.rank)];
        }
    const Tensor adapted = from_values(expected, {one.out, one.in}, DType::f64);
    CHECK(largest_error(bat.adapter->merged_weight(bat.base), adapted) <= 1e-13);
    const Tensor x = input_of(one, DType::f64);
    CHECK(largest_error(bat(x), linear(x, adapted, bat.base.bias), 1.0) <= 1e-12);
  });
}

TEST_CASE("DoRA with m = |W + s B A| is LoRA, and doubling m doubles y - b") {
  for_cases({"dora"}, [](AdapterCase one) {
    one.dropout = 0;
    const AdaptedLinear dora(one, DType::f64);
    one.method = "lora";
    const AdaptedLinear lora(one, DType::f64);
    const Tensor a = dora.parameter("lora_A.weight"), b = dora.parameter("lora_B.weight");
    const Tensor m = dora.parameter("lora_magnitude_vector");
    const Values weight = lora.adapter->merged_weight(lora.base).to_doubles();
    Values norms;
    for (std::int64_t o = 0; o < one.out; ++o) {
      double squares = 0;
      for (std::int64_t i = 0; i < one.in; ++i)
        squares += weight[static_cast<std::size_t>(o * one.in + i)] * weight[static_cast<std::size_t>(o * one.in + i)];
      norms.push_back(std::sqrt(squares));
    }
    set_values(m, norms);
    REQUIRE(a.to_doubles() == lora.parameter("lora_A.weight").to_doubles());
    const Tensor x = input_of(one, DType::f64);
    const Tensor y = dora(x);
    CHECK(largest_error(y, lora(x), 1.0) <= 1e-10);
    for (double& norm : norms)
      norm *= 2;
    set_values(m, norms);
    const Tensor zero = scale(y.detach(), 0.0), bias = one.bias ? dora.base.bias : Tensor{};
    const Tensor only_bias = linear(scale(x.detach(), 0.0), dora.base.weight, bias);
    const Tensor expected = add(scale(y.detach(), 2.0), scale(only_bias, -1.0));
    CHECK(largest_error(dora(x), expected, 1.0) <= 1e-12);
  });
}

TEST_CASE("merging gives the adapted output, and unmerging the weight") {
  const double rounded = default_device() == Device::cpu ? 0x1p-7 : 0x1p-6;  // cuBLAS rounds before it adds, too
  for (const auto& [dtype, tolerance] : {std::pair(DType::f64, 1e-13), {DType::f32, 1e-5}, {DType::bf16, rounded}})
    for_cases({}, [&, dtype = dtype, tolerance = tolerance](AdapterCase one) {
      one.dropout = 0;
      AdaptedLinear linear(one, dtype);
      const Tensor x = input_of(one, dtype);
      const Tensor before = linear.base.weight, y = linear(x);
      linear.base.weight = converted(linear.adapter->merged_weight(linear.base), dtype, Category::weights);
      // Sums of a few terms near 1: of one that cancels, the terms count.
      CHECK(largest_error(linear.base.base(x), y, 4.0) <= tolerance);
      if (one.method.starts_with("bat") || one.method == "dora")
        return;  // their error grows with a condition: see below
      const double step = dtype == DType::f64 ? 1e-15 : dtype == DType::f32 ? 1e-6 : 0x1p-7;
      CHECK(largest_error(linear.adapter->unmerged_weight(linear.base), before, 1.0) <= step * 4);
    });
}

TEST_CASE("Bat and DoRA unmerge as well as their condition lets them") {
  for_cases({"bat", "bat_row", "bat_product", "bat_hadamard", "bat_ab", "bat_tile", "dora"}, [](AdapterCase one) {
    one.dropout = 0;
    AdaptedLinear linear(one, DType::f32);
    if (one.method.starts_with("bat")) {  // |B| <= 1/2 in every norm: I + B is well conditioned
      const Tensor blocks = linear.adapter->parameters()[0].second;
      set_values(blocks, scale(blocks.detach(), 1.0 / static_cast<double>(one.rank)).to_doubles());
    }
    const Tensor before = linear.base.weight;
    linear.base.weight = converted(linear.adapter->merged_weight(linear.base), DType::f32, Category::weights);
    CHECK(largest_error(linear.adapter->unmerged_weight(linear.base), before, 1.0) <= 1e-5);
  });
}

TEST_CASE("LoRA-FA keeps no input and makes no gradient of A") {
  const AdapterCase one = {"lora_fa", 24, 16, 3, 1, false, 0, {5, 24}};
  const AdaptedLinear linear(one, DType::f32);
  const Tensor x = input_of(one, DType::f32);
  const SavedAudit audit;
  const Tensor y = linear(x);
  CHECK(audit.bytes() == 5 * 3 * 4);
  const std::int64_t before = memory_report(default_device()).live[Category::gradient];
  backward(y);
  CHECK_FALSE(linear.parameter("lora_A.weight").grad().defined());
  CHECK(linear.parameter("lora_B.weight").grad().defined());
  CHECK(memory_report(default_device()).live[Category::gradient] - before == 16 * 3 * 4 + x.bytes());
}

TEST_CASE("LoRA-FA's gradient of B is multiplied by (A A^T)^-1 / s^2") {
  const AdapterCase one = {"lora_fa", 7, 5, 3, 1, false, 0, {4, 7}};
  const AdaptedLinear linear(one, DType::f64);
  const Tensor a = linear.parameter("lora_A.weight").detach(), b = linear.parameter("lora_B.weight");
  backward(linear(input_of(one, DType::f64)));
  const Tensor plain = converted(b.grad(), DType::f64);
  linear.adapter->before_optimizer_step();
  // Multiplied back: the scaling is 2, and 1e-8 on the diagonal is all that differs.
  const Tensor back = scale(matmul(b.grad(), matmul(a, transposed(a))), 4.0);
  CHECK(largest_error(back, plain) <= 1e-6);
}

}  // namespace
}  // namespace osteon::test
