#include <doctest/doctest.h>

#include "autograd/ops.hpp"
#include "autograd/ops/dora.hpp"

namespace osteon::test {
namespace {

Tensor f(const Shape& shape, DType dtype = DType::f32) { return zeros(shape, dtype); }

Tensor i(const Shape& shape, std::int32_t value = 0) {
  return from_ids(std::vector<std::int32_t>(static_cast<std::size_t>(shape.numel()), value), shape);
}

const Tensor kScalar = f({});
constexpr RandomKey kKey = {1, 1};

TEST_CASE("elementwise ops name the argument that does not fit") {
  CHECK_THROWS_WITH_AS(add(f({2, 3}), f({3, 2})), "add: b: expected [2, 3], got [3, 2]", ShapeError);
  CHECK_THROWS_WITH_AS(add(f({2}), f({2}, DType::bf16)), "add: b: expected f32, got bf16", ShapeError);
  CHECK_THROWS_WITH_AS(mul(f({2}), f({})), "mul: b: expected [2], got []", ShapeError);
  CHECK_THROWS_WITH_AS(mul(f({2}), f({2}, DType::f64)), "mul: b: expected f32, got f64", ShapeError);
  CHECK_THROWS_WITH_AS(swiglu(f({2}), f({3})), "swiglu: up: expected [2], got [3]", ShapeError);
  CHECK_THROWS_WITH_AS(swiglu(f({2}), f({2}, DType::bf16)), "swiglu: up: expected f32, got bf16", ShapeError);
  CHECK_THROWS_WITH_AS(scale_columns(f({2, 3}), f({2})), "scale_columns: factors: expected [3], got [2]", ShapeError);
  CHECK_THROWS_WITH_AS(scale_columns(kScalar, f({1})), "scale_columns: x: expected [..., d], got a scalar", ShapeError);
  CHECK_THROWS_WITH_AS(reshape(f({2, 3}), {5}), "reshape: expected 6 elements, got [5]", ShapeError);
  CHECK_THROWS_WITH_AS(cast(f({2}), DType::i32), "cast: dtype: expected a floating dtype, got i32", ShapeError);
  CHECK_THROWS_WITH_AS(dropout(f({2}), 1.0, kKey), "dropout: p: expected a number in [0, 1), got 1", ConfigError);
  CHECK_THROWS_WITH_AS(dropout(f({2}), -0.1, kKey), "dropout: p: expected a number in [0, 1), got -0.1", ConfigError);
  CHECK_THROWS_WITH_AS(add(Tensor{}, f({2})), "tensor: used before it was given a value", Error);
}

TEST_CASE("products name the argument that does not fit") {
  CHECK_THROWS_WITH_AS(matmul(f({2, 3}), f({2, 3})), "matmul: b: expected [3, n], got [2, 3]", ShapeError);
  CHECK_THROWS_WITH_AS(matmul(f({2, 3}), f({3})), "matmul: b: expected [3, n], got [3]", ShapeError);
  CHECK_THROWS_WITH_AS(linear(kScalar, f({1, 1})), "linear: x: expected [..., in_features], got a scalar", ShapeError);
  CHECK_THROWS_WITH_AS(linear(f({2, 3}), f({4, 2})), "linear: weight: expected [out, 3], got [4, 2]", ShapeError);
  CHECK_THROWS_WITH_AS(linear(f({2, 3}), f({3})), "linear: weight: expected [out, 3], got [3]", ShapeError);
  CHECK_THROWS_WITH_AS(linear(f({2, 3}), f({4, 3}), f({3})), "linear: bias: expected [4], got f32 [3]", ShapeError);
  CHECK_THROWS_WITH_AS(dropout_linear(kScalar, f({1, 1}), 0.5, kKey),
                       "dropout_linear: x: expected [..., in_features], got a scalar", ShapeError);
  CHECK_THROWS_WITH_AS(dropout_linear(f({2, 3}), f({4, 2}), 0.5, kKey),
                       "dropout_linear: weight: expected [out, 3], got [4, 2]", ShapeError);
  CHECK_THROWS_WITH_AS(dropout_linear(f({2, 3}), f({4, 3}), 1.5, kKey),
                       "dropout_linear: p: expected a number in [0, 1), got 1.5", ConfigError);
}

TEST_CASE("Llama's ops name the argument that does not fit") {
  CHECK_THROWS_WITH_AS(embedding(f({5}), i({2})), "embedding: table: expected [vocab_size, hidden_size], got [5]",
                       ShapeError);
  CHECK_THROWS_WITH_AS(embedding(f({5, 2}), f({2})), "embedding: ids: expected i32, got f32", ShapeError);
  CHECK_THROWS_WITH_AS(embedding(f({5, 2}), i({2, 2}, 5)).to_doubles(),
                       "embedding: ids: expected ids in [0, 5), got 5 at position 0", IndexError);
  CHECK_THROWS_WITH_AS(embedding(f({5, 2}), i({2}, -1)).to_doubles(),
                       "embedding: ids: expected ids in [0, 5), got -1 at position 0", IndexError);
  CHECK_THROWS_WITH_AS(rms_norm(kScalar, f({1}), 1e-5), "rms_norm: x: expected [..., hidden_size], got a scalar",
                       ShapeError);
  CHECK_THROWS_WITH_AS(rms_norm(f({2, 3}), f({2}), 1e-5), "rms_norm: weight: expected [3], got [2]", ShapeError);

  const Tensor x = f({1, 4, 2, 6}), table = f({4, 2, 3});
  CHECK_THROWS_WITH_AS(rotary(f({1, 4, 2, 5}), table),
                       "rotary: x: expected [batch, seq_len, heads, even head_dim], got [1, 4, 2, 5]", ShapeError);
  CHECK_THROWS_WITH_AS(rotary(x, kScalar), "rotary: table: expected [max_positions, 2, head_dim / 2], got []",
                       ShapeError);
  CHECK_THROWS_WITH_AS(rotary(x, f({4, 2, 2})), "rotary: table: expected [4, 2, 3], got [4, 2, 2]", ShapeError);
  CHECK_THROWS_WITH_AS(rotary(x, f({3, 2, 3})), "rotary: seq_len: expected at most 3, got 4", ShapeError);
  CHECK_THROWS_WITH_AS(rotary(x, table, i({4})), "rotary: positions: expected i32 [1, 4], got i32 [4]", ShapeError);
  CHECK_THROWS_WITH_AS(rotary(x, table, f({1, 4})), "rotary: positions: expected i32 [1, 4], got f32 [1, 4]",
                       ShapeError);
  CHECK_THROWS_WITH_AS(rotary(x, table, i({1, 4}, 4)).to_doubles(),
                       "rotary: positions: expected positions in [0, 4), got 4 at 0", IndexError);
}

TEST_CASE("attention names the argument that does not fit") {
  const Tensor q = f({1, 3, 4, 2}), k = f({1, 3, 2, 2});
  CHECK_THROWS_WITH_AS(attention(f({3, 4, 2}), k, k, {}, 1),
                       "attention: q: expected [batch, queries, heads, head_dim], got [3, 4, 2]", ShapeError);
  CHECK_THROWS_WITH_AS(attention(q, f({1, 3, 3, 2}), k, {}, 1),
                       "attention: k: expected [1, keys, a divisor of 4, 2], got [1, 3, 3, 2]", ShapeError);
  CHECK_THROWS_WITH_AS(attention(q, f({2, 3, 2, 2}), k, {}, 1),
                       "attention: k: expected [1, keys, a divisor of 4, 2], got [2, 3, 2, 2]", ShapeError);
  CHECK_THROWS_WITH_AS(attention(q, k, f({1, 3, 4, 2}), {}, 1), "attention: v: expected [1, 3, 2, 2], got [1, 3, 4, 2]",
                       ShapeError);
  CHECK_THROWS_WITH_AS(attention(q, k, f({1, 3, 2, 2}, DType::bf16), {}, 1),
                       "attention: k, v: expected the dtype of q, got f32, f32, bf16", ShapeError);
  CHECK_THROWS_WITH_AS(attention(q, f({1, 2, 2, 2}), f({1, 2, 2, 2}), {}, 1),
                       "attention: keys: expected at least 3, got 2", ShapeError);
  CHECK_THROWS_WITH_AS(attention(q, k, k, i({1, 3}), 1), "attention: key_range: expected i32 [1, 3, 2], got i32 [1, 3]",
                       ShapeError);
  CHECK_THROWS_WITH_AS(attention(q, k, k, f({1, 3, 2}), 1),
                       "attention: key_range: expected i32 [1, 3, 2], got f32 [1, 3, 2]", ShapeError);
  const Tensor beyond = from_ids(std::vector<std::int32_t>{0, 1, 0, 4, 0, 3}, {1, 3, 2});
  CHECK_THROWS_WITH_AS(attention(q, k, k, beyond, 1).to_doubles(),
                       "attention: key_range: expected a range within [0, 3), got [0, 4) at query 1", IndexError);
}

TEST_CASE("losses name the argument that does not fit") {
  const Tensor x = f({2, 3}), w = f({5, 3});
  CHECK_THROWS_WITH_AS(squared_error(x, f({3, 2}), 1), "squared_error: target: expected [2, 3], got [3, 2]",
                       ShapeError);
  CHECK_THROWS_WITH_AS(squared_error(x, i({2, 3}), 1), "squared_error: target: expected a floating dtype, got i32",
                       ShapeError);
  CHECK_THROWS_WITH_AS(squared_error(x, x, 0),
                       "squared_error: normalizer: expected a number above 0 (a loss over no rows?), got 0",
                       NumericError);
  CHECK_THROWS_WITH_AS(cross_entropy(kScalar, i({}), 1),
                       "cross_entropy: logits: expected [..., vocab_size], got a scalar", ShapeError);
  CHECK_THROWS_WITH_AS(cross_entropy(x, i({3}), 1), "cross_entropy: targets: expected [2], got [3]", ShapeError);
  CHECK_THROWS_WITH_AS(cross_entropy(x, f({2}), 1), "cross_entropy: targets: expected i32, got f32", ShapeError);
  CHECK_THROWS_WITH_AS(cross_entropy(x, i({2}), 0),
                       "cross_entropy: normalizer: expected a number above 0 (a loss over no tokens?), got 0",
                       NumericError);
  CHECK_THROWS_WITH_AS(cross_entropy(x, i({2}, 3), 1).to_doubles(),
                       "cross_entropy: targets: expected ids in [0, 3) or -100, got 3 at 0", IndexError);
  CHECK_THROWS_WITH_AS(linear_cross_entropy(kScalar, w, i({}), 1),
                       "linear_cross_entropy: x: expected [..., in_features], got a scalar", ShapeError);
  CHECK_THROWS_WITH_AS(linear_cross_entropy(x, f({5, 2}), i({2}), 1),
                       "linear_cross_entropy: weight: expected [vocab_size, 3], got [5, 2]", ShapeError);
  CHECK_THROWS_WITH_AS(linear_cross_entropy(x, w, i({3}), 1), "linear_cross_entropy: targets: expected [2], got [3]",
                       ShapeError);
  CHECK_THROWS_WITH_AS(linear_cross_entropy(x, w, i({2}), -1),
                       "linear_cross_entropy: normalizer: expected a number above 0 (a loss over no tokens?), got -1",
                       NumericError);
  CHECK_THROWS_WITH_AS(linear_cross_entropy(x, w, i({2}, -1), 1).to_doubles(),
                       "cross_entropy: targets: expected ids in [0, 5) or -100, got -1 at 0", IndexError);
}

TEST_CASE("the adapters' ops name the argument that does not fit") {
  const Tensor x = f({2, 4}), w = f({6, 4});
  const auto bone = RightFactor::rank_by_out, lora = RightFactor::out_by_rank;
  CHECK_THROWS_WITH_AS(linear_plus(x, f({6, 3}), {}, f({2, 2}), f({2, 6}), bone, 1),
                       "linear_plus: weight: expected [out, 4], got [6, 3]", ShapeError);
  CHECK_THROWS_WITH_AS(linear_plus(x, w, f({4}), f({2, 2}), f({2, 6}), bone, 1),
                       "linear_plus: bias: expected [6], got f32 [4]", ShapeError);
  CHECK_THROWS_WITH_AS(linear_plus(x, w, {}, f({3, 2}), f({2, 6}), bone, 1),
                       "linear_plus: left: expected [2, 2], got [3, 2]", ShapeError);
  CHECK_THROWS_WITH_AS(linear_plus(x, w, {}, kScalar, f({2, 6}), bone, 1), "linear_plus: left: expected [2, 0], got []",
                       ShapeError);
  CHECK_THROWS_WITH_AS(linear_plus(x, w, {}, f({2, 2}, DType::bf16), f({2, 6}), bone, 1),
                       "linear_plus: left: expected f32, got bf16", ShapeError);
  CHECK_THROWS_WITH_AS(linear_plus(x, w, {}, f({2, 2}), f({6, 2}), bone, 1),
                       "linear_plus: right: expected [2, 6], got [6, 2]", ShapeError);
  CHECK_THROWS_WITH_AS(linear_plus(x, w, {}, f({2, 2}), f({2, 6}), lora, 1),
                       "linear_plus: right: expected [6, 2], got [2, 6]", ShapeError);
  CHECK_THROWS_WITH_AS(block_sum(x, 0), "block_sum: rank: expected at least 1, got 0", ShapeError);
  CHECK_THROWS_WITH_AS(block_sum(kScalar, 2), "block_sum: x: expected [..., at least 1 feature], got []", ShapeError);
  CHECK_THROWS_WITH_AS(block_tile(x, 0), "block_tile: features: expected at least 1, got 0", ShapeError);
  CHECK_THROWS_WITH_AS(block_tile(f({2, 0}), 2), "block_tile: x: expected [..., at least 1 feature], got [2, 0]",
                       ShapeError);
}

TEST_CASE("Bat's op names the argument that does not fit") {
  const Tensor x = f({2, 4}), w = f({6, 4}), blocks = f({3, 2, 2});
  CHECK_THROWS_WITH_AS(bat_linear(kScalar, w, {}, blocks), "bat_linear: x: expected [..., in_features], got a scalar",
                       ShapeError);
  CHECK_THROWS_WITH_AS(bat_linear(x, f({6, 3}), {}, blocks), "bat_linear: weight: expected [out, 4], got [6, 3]",
                       ShapeError);
  CHECK_THROWS_WITH_AS(bat_linear(x, w, {}, f({2, 2})),
                       "bat_linear: blocks: expected [out / rank, rank, rank], got [2, 2]", ShapeError);
  const auto not_fitting = [&](const Shape& shape) {
    CHECK_THROWS_WITH_AS(
        bat_linear(x, w, {}, f(shape)),
        join("bat_linear: blocks: expected [out / rank, rank, rank] with in 4 and out 6 multiples of rank, got ", shape)
            .c_str(),
        ShapeError);
  };
  not_fitting({2, 3, 3});  // divides out, not in
  not_fitting({1, 4, 4});  // divides in, not out
  not_fitting({2, 2, 2});
  not_fitting({3, 1, 2});
  not_fitting({3, 0, 0});
  CHECK_THROWS_WITH_AS(bat_linear(x, f({6, 4}, DType::bf16), {}, blocks), "bat_linear: weight: expected f32, got bf16",
                       ShapeError);
  CHECK_THROWS_WITH_AS(bat_linear(x, w, f({4}), blocks), "bat_linear: bias: expected [6], got f32 [4]", ShapeError);
  CHECK_THROWS_WITH_AS(bat_linear(x, f({6, 4}).set_requires_grad(true), {}, blocks),
                       "bat_linear: weight: expected a frozen base weight, got a trainable one", ShapeError);
}

TEST_CASE("Bat's op with no input features gives zeros") {
  const Tensor y = bat_linear(f({2, 0}), f({4, 0}), {}, f({2, 2, 2}));
  CHECK(y.to_doubles() == std::vector<double>(8, 0.0));
}

TEST_CASE("DoRA's ops name the argument that does not fit") {
  const Tensor x = f({2, 4}), w = f({6, 4}), a = f({2, 4}), b = f({6, 2}), m = f({6}), squares = f({6});
  CHECK_THROWS_WITH_AS(dora_linear(x, f({6, 3}), {}, a, b, m, squares, 1),
                       "dora_linear: weight: expected [out, 4], got [6, 3]", ShapeError);
  CHECK_THROWS_WITH_AS(dora_linear(x, w, {}, f({2, 3}), b, m, squares, 1),
                       "dora_linear: lora_a: expected [rank, 4], got [2, 3]", ShapeError);
  CHECK_THROWS_WITH_AS(dora_linear(x, w, {}, kScalar, b, m, squares, 1),
                       "dora_linear: lora_a: expected [rank, 4], got []", ShapeError);
  CHECK_THROWS_WITH_AS(dora_linear(x, w, {}, a, f({2, 6}), m, squares, 1),
                       "dora_linear: lora_b: expected [6, 2], got [2, 6]", ShapeError);
  CHECK_THROWS_WITH_AS(dora_linear(x, w, f({4}), a, b, m, squares, 1), "dora_linear: bias: expected [6], got f32 [4]",
                       ShapeError);
  CHECK_THROWS_WITH_AS(dora_linear(x, w, {}, a, b, f({4}), squares, 1), "dora_linear: magnitude: expected [6], got [4]",
                       ShapeError);
  CHECK_THROWS_WITH_AS(dora_linear(x, w, {}, a, b, m, f({6}, DType::f64), 1),
                       "dora_linear: base_norm_squared: expected f32 [6], got f64 [6]", ShapeError);
  CHECK_THROWS_WITH_AS(dora_linear(x, f({6, 4}).set_requires_grad(true), {}, a, b, m, squares, 1),
                       "dora_linear: weight: expected a frozen base weight, got a trainable one", ShapeError);
  CHECK_THROWS_WITH_AS(dora_ratio(f({4}), m), "dora_ratio: magnitude: expected [6], got f32 [4]", ShapeError);
  CHECK_THROWS_WITH_AS(dora_scale(x, m, m),
                       "dora_scale: norm: expected f32 of the last size of x, got x f32 [2, 4] and norm f32 [6]",
                       ShapeError);
}

}  // namespace
}  // namespace osteon::test
