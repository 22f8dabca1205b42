#include "test/autograd/identity.hpp"

#include "autograd/rwkv_ops.hpp"

namespace osteon::test {
namespace {

TEST_CASE("linear_plus is linear plus a scaled product") {
  rounds([](Draw draw) {
    const std::int64_t in = draw.size(1, 9), out = draw.size(1, 9), rank = draw.size(1, 6);
    const Shape tokens = {draw.size(1, 3), draw.size(1, 4), in};
    const bool lora = draw.coin();
    const Tensor x = draw.leaf(tokens), w = draw.leaf({out, in}), b = draw.bias(out);
    const Tensor left = draw.leaf(tokens.with_last(rank)),
                 right = draw.leaf(lora ? Shape{out, rank} : Shape{rank, out});
    const double scaling = 0.25 * static_cast<double>(draw.size(-4, 4));
    check_equal(
        [&] {
          return linear_plus(x, w, b, left, right, lora ? RightFactor::out_by_rank : RightFactor::rank_by_out, scaling);
        },
        [&] { return add(linear(x, w, b), scale(lora ? linear(left, right) : matmul(left, right), scaling)); },
        {x, w, b, left, right}, draw);
  });
}

TEST_CASE("dropout_linear is linear of dropout") {
  rounds([](Draw draw) {
    const std::int64_t in = draw.size(1, 9), out = draw.size(1, 9);
    const Tensor x = draw.leaf({draw.size(1, 3), draw.size(1, 4), in}), w = draw.leaf({out, in});
    const double p = 0.1 * static_cast<double>(draw.size(0, 9));
    const RandomKey key = {3, static_cast<std::uint64_t>(in)};
    check_equal([&] { return dropout_linear(x, w, p, key); }, [&] { return linear(dropout(x, p, key), w); }, {x, w},
                draw);
  });
}

TEST_CASE("linear_cross_entropy is cross_entropy of linear") {
  rounds([](Draw draw) {
    const std::int64_t in = draw.size(1, 5), vocab_size = draw.size(1, 9);
    const bool long_sequences = draw.size(0, 9) == 0;
    const Shape tokens = {draw.size(1, 3), long_sequences ? draw.size(200, 600) : draw.size(1, 40)};
    const Tensor x = draw.leaf({tokens[0], tokens[1], in});
    const Tensor w = draw.coin() ? draw.leaf({vocab_size, in}) : draw.frozen({vocab_size, in});
    const Tensor targets = draw.targets(tokens, vocab_size);
    const double normalizer = static_cast<double>(draw.size(1, 100));
    check_equal([&] { return linear_cross_entropy(x, w, targets, normalizer); },
                [&] { return cross_entropy(linear(x, w), targets, normalizer); }, {x, w}, draw);
  });
}

TEST_CASE("linear_cross_entropy that pulls at the largest logits is l2_wrap of cross_entropy of linear") {
  rounds([](Draw draw) {
    const std::int64_t in = draw.size(1, 5), vocab_size = draw.size(1, 9);
    const bool long_sequences = draw.size(0, 9) == 0;
    const Shape tokens = {draw.size(1, 3), long_sequences ? draw.size(200, 600) : draw.size(1, 40)};
    const Tensor x = draw.leaf({tokens[0], tokens[1], in});
    const Tensor w = draw.coin() ? draw.leaf({vocab_size, in}) : draw.frozen({vocab_size, in});
    const Tensor targets = draw.targets(tokens, vocab_size);
    const std::int64_t positions = draw.coin() ? 0 : draw.size(1, 100);
    const Normalizer normalizer(1e4 * static_cast<double>(draw.size(1, 100)), positions);  // no larger than the pull
    const auto plainly = [&] {
      const Tensor logits = linear(x, w);
      return l2_wrap(cross_entropy(logits, targets, normalizer), logits, positions);
    };
    check_equal([&] { return linear_cross_entropy(x, w, targets, normalizer, true); }, plainly, {x, w}, draw);
    if (!w.requires_grad())
      return;
    const auto twice = [&](auto&& loss) {  // the second pass finds a gradient of the weight
      for (const Tensor& leaf : {x, w})
        leaf.clear_grad();
      loss().backward();
      loss().backward();
      return w.grad().to_doubles();
    };
    check_close(twice([&] { return linear_cross_entropy(x, w, targets, normalizer, true); }), twice(plainly));
  });
}

TEST_CASE("a loss's normalizer may lie in the device's memory") {
  rounds([](Draw draw) {
    const std::int64_t in = draw.size(1, 5), vocab_size = draw.size(1, 9);
    const Shape tokens = {draw.size(1, 3), draw.size(1, 40)};
    const Tensor x = draw.leaf({tokens[0], tokens[1], in});
    const Tensor w = draw.coin() ? draw.leaf({vocab_size, in}) : draw.frozen({vocab_size, in});
    const Tensor targets = draw.targets(tokens, vocab_size);
    const auto normalizer = static_cast<double>(draw.size(1, 100));
    const Normalizer there(from_values(Values{1.0 / normalizer}, {1}, DType::f64));
    check_equal([&] { return linear_cross_entropy(x, w, targets, there); },
                [&] { return linear_cross_entropy(x, w, targets, normalizer); }, {x, w}, draw);
    check_equal([&] { return cross_entropy(linear(x, w), targets, there); },
                [&] { return cross_entropy(linear(x, w), targets, normalizer); }, {x, w}, draw);
  });
}

/// Gradients and result of attention over the tokens [begin, end) of one row alone.
Results alone(const Tensor& q, const Tensor& k, const Tensor& v, const Tensor& dy, std::int64_t begin,
              std::int64_t end) {
  const auto part = [&](const Tensor& x) {
    const Tensor row = x.alias({x.dim(1), x.dim(2), x.dim(3)}).slice(begin, end);
    return row.alias({1, end - begin, x.dim(2), x.dim(3)});
  };
  const std::vector<Tensor> leaves = {part(q).set_requires_grad(true), part(k).set_requires_grad(true),
                                      part(v).set_requires_grad(true)};
  const Tensor y = attention(leaves[0], leaves[1], leaves[2], {}, 0.6);
  y.backward(converted(part(dy), DType::f64));
  return {y.to_doubles(),
          {leaves[0].grad().to_doubles(), leaves[1].grad().to_doubles(), leaves[2].grad().to_doubles()}};
}

TEST_CASE("attention over packed documents, with padding behind, is attention over each alone") {
  rounds([](Draw draw) {
    const std::int64_t kv_heads = draw.size(1, 2), heads = kv_heads * draw.size(1, 3), head_dim = draw.size(1, 5);
    const std::int64_t first = draw.size(1, 6), second = draw.size(1, 6), padding = draw.size(0, 3);
    const std::int64_t tokens = first + second + padding;
    const Tensor q = draw.leaf({1, tokens, heads, head_dim}), k = draw.leaf({1, tokens, kv_heads, head_dim}),
                 v = draw.leaf({1, tokens, kv_heads, head_dim}), dy = draw.frozen(q.shape());
    std::vector<std::int32_t> range;
    for (std::int64_t t = 0; t < tokens; ++t) {
      const bool padded = t >= first + second;
      range.push_back(static_cast<std::int32_t>(t < first || padded ? 0 : first));
      range.push_back(static_cast<std::int32_t>(padded ? 0 : t + 1));
    }
    const Tensor packed = attention(q, k, v, from_ids(range, {1, tokens, 2}), 0.6);
    packed.backward(dy);
    const Results one = alone(q, k, v, dy, 0, first), two = alone(q, k, v, dy, first, first + second);
    const auto joined = [](const Values& a, const Values& b, std::int64_t size) {
      Values both = a;
      both.insert(both.end(), b.begin(), b.end());
      both.resize(static_cast<std::size_t>(size), 0.0);  // padding: nothing comes out, nothing goes back
      return both;
    };
    check_close(packed.to_doubles(), joined(one.y, two.y, packed.numel()));
    const Tensor leaves[] = {q, k, v};
    for (std::size_t i = 0; i < 3; ++i)
      check_close(leaves[i].grad().to_doubles(), joined(one.gradients[i], two.gradients[i], leaves[i].numel()));
  });
}

TEST_CASE("attention with grouped heads is attention with each key head repeated") {
  rounds([](Draw draw) {
    const std::int64_t kv_heads = draw.size(1, 3), group = draw.size(1, 3), head_dim = draw.size(1, 5);
    const std::int64_t tokens = draw.size(1, 7);
    const Tensor q = draw.frozen({1, tokens, kv_heads * group, head_dim}),
                 k = draw.frozen({1, tokens, kv_heads, head_dim}), v = draw.frozen({1, tokens, kv_heads, head_dim});
    const auto repeated = [&](const Tensor& x) {  // [tokens * kv_heads, head_dim] -> each row `group` times
      return reshape(block_tile(reshape(x, {tokens * kv_heads, head_dim}), group * head_dim),
                     {1, tokens, kv_heads * group, head_dim});
    };
    check_close(attention(q, k, v, {}, 0.4).to_doubles(), attention(q, repeated(k), repeated(v), {}, 0.4).to_doubles());
  });
}

}  // namespace
}  // namespace osteon::test
