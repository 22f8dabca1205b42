#include <algorithm>
#include <cmath>
#include <doctest/doctest.h>
#include <functional>

#include "autograd/ops.hpp"
#include "test/backends/threads.hpp"

namespace osteon::test {
namespace {

using Values = std::vector<double>;

constexpr int kRounds = 100;

/// Random sizes and tensors of one round; everything is f64 so that only the order of sums may differ.
class Draw {
 public:
  explicit Draw(int round) : key_{static_cast<std::uint64_t>(round), 17} {}

  std::int64_t size(std::int64_t low, std::int64_t high) { return low + philox(key_, next_++)[0] % (high - low + 1); }
  bool coin() { return size(0, 1) == 1; }
  Values values(const Shape& shape) {
    Values drawn;
    const RandomKey key = key_.split(next_++);
    for (std::int64_t i = 0; i < shape.numel(); ++i)
      drawn.push_back(static_cast<double>(uniform_from(philox(key, static_cast<std::uint64_t>(i))[0])) * 2 - 1);
    return drawn;
  }
  Tensor frozen(const Shape& shape) { return from_values(values(shape), shape, DType::f64); }
  Tensor leaf(const Shape& shape) { return frozen(shape).set_requires_grad(true); }
  Tensor bias(std::int64_t out) { return coin() ? leaf({out}) : Tensor{}; }
  Tensor targets(const Shape& shape, std::int64_t vocab_size) {
    std::vector<std::int32_t> ids;
    for (std::int64_t i = 0; i < shape.numel(); ++i)
      ids.push_back(size(0, 4) == 0 ? -100 : static_cast<std::int32_t>(size(0, vocab_size - 1)));
    return from_ids(ids, shape);
  }

 private:
  RandomKey key_;
  std::uint64_t next_ = 0;
};

void check_close(const Values& a, const Values& b) {
  REQUIRE(a.size() == b.size());
  double largest = 1, difference = 0;
  for (std::size_t i = 0; i < a.size(); ++i) {
    largest = std::max(largest, std::abs(a[i]));
    difference = std::max(difference, std::abs(a[i] - b[i]));
  }
  CHECK(difference <= 1e-12 * largest);
}

struct Results {
  Values y;
  std::vector<Values> gradients;
};

Results run(const Tensor& y, const std::vector<Tensor>& leaves, Draw draw) {
  y.backward(draw.frozen(y.shape()));
  Results results{y.to_doubles(), {}};
  for (const Tensor& leaf : leaves) {
    if (!leaf.defined() || !leaf.requires_grad())
      continue;
    results.gradients.push_back(leaf.grad().to_doubles());
    leaf.clear_grad();
  }
  return results;
}

/// Both are the same function of the leaves: in value and in all gradients.
void check_equal(const std::function<Tensor()>& fused, const std::function<Tensor()>& composed,
                 const std::vector<Tensor>& leaves, const Draw& draw) {
  const Results a = run(fused(), leaves, draw), b = run(composed(), leaves, draw);
  check_close(a.y, b.y);
  REQUIRE(a.gradients.size() == b.gradients.size());
  for (std::size_t i = 0; i < a.gradients.size(); ++i) {
    CAPTURE(i);
    check_close(a.gradients[i], b.gradients[i]);
  }
}

/// f on rounds of random configurations.
template <class F>
void rounds(const F& f) {
  with_threads(1, [&] {
    for (int round = 0; round < kRounds; ++round) {
      CAPTURE(round);
      f(Draw(round));
    }
  });
}

Tensor transposed(const Tensor& x) {
  const Values values = x.to_doubles();
  const std::int64_t rows = x.dim(0), cols = x.dim(1);
  Values turned(values.size());
  for (std::int64_t i = 0; i < rows; ++i)
    for (std::int64_t j = 0; j < cols; ++j)
      turned[static_cast<std::size_t>(j * rows + i)] = values[static_cast<std::size_t>(i * cols + j)];
  return from_values(turned, {cols, rows}, x.dtype());
}

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

/// Bat's W' of one block row, W (I + B) + B for each square piece of W [rank, in], by plain ops.
Tensor bat_row(const Tensor& w, const Tensor& block) {
  const std::int64_t rank = w.dim(0), in = w.dim(1);
  const Tensor pieces = reshape(w, {in, rank});  // each row of W is in / rank pieces
  return add(add(w, reshape(matmul(pieces, block), {rank, in})), block_tile(block, in));
}

TEST_CASE("bat_linear is linear with the weight W' formed") {
  rounds([](Draw draw) {
    const std::int64_t rank = draw.size(1, 6), in = rank * draw.size(1, 4);
    const Tensor x = draw.leaf({draw.size(1, 3), draw.size(1, 4), in}), w = draw.frozen({rank, in});
    const Tensor b = draw.bias(rank), blocks = draw.leaf({1, rank, rank});
    check_equal([&] { return bat_linear(x, w, b, blocks); },
                [&] {
                  return linear(x, bat_row(w, reshape(blocks, {rank, rank})), b);
                },
                {x, b, blocks}, draw);
  });
}

TEST_CASE("bat_linear does each block row by itself, over any number of slabs") {
  rounds([](Draw draw) {
    const std::int64_t rank = draw.size(1, 5), in = rank * draw.size(1, 3), rows = draw.size(2, 300 / rank);
    const Tensor x = draw.leaf({2, 3, in}), w = draw.frozen({rows * rank, in}), blocks = draw.leaf({rows, rank, rank});
    const Tensor y = bat_linear(x, w, {}, blocks);
    const Values whole = y.to_doubles();
    const Tensor whole_dy = draw.frozen(y.shape());
    y.backward(whole_dy);
    const Values gradient = blocks.grad().to_doubles();
    const std::int64_t a = draw.size(0, rows - 1);
    const Tensor block = blocks.detach().slice(a, a + 1).set_requires_grad(true);
    const Tensor row = bat_linear(x, w.slice(a * rank, (a + 1) * rank), {}, block);
    Values columns, dy;
    const Values all_dy = whole_dy.to_doubles();
    for (std::size_t n = 0; n < 6; ++n)
      for (std::int64_t j = 0; j < rank; ++j) {
        const std::size_t at = n * static_cast<std::size_t>(rows * rank) + static_cast<std::size_t>(a * rank + j);
        columns.push_back(whole[at]);
        dy.push_back(all_dy[at]);
      }
    check_close(row.to_doubles(), columns);
    row.backward(from_values(dy, row.shape(), DType::f64));
    const auto first = gradient.begin() + a * rank * rank;
    check_close(block.grad().to_doubles(), Values(first, first + rank * rank));
  });
}

TEST_CASE("Bone is LoRA with the binary matrix A[j, i] = [i mod rank = j]") {
  rounds([](Draw draw) {
    const std::int64_t in = draw.size(1, 9), out = draw.size(1, 9), rank = draw.size(1, 12);
    const Tensor x = draw.leaf({draw.size(1, 3), draw.size(1, 4), in}), w = draw.frozen({out, in});
    const Tensor block = draw.leaf({rank, out}), lora_b = transposed(block).set_requires_grad(true);
    Values binary(static_cast<std::size_t>(rank * in), 0.0);
    for (std::int64_t i = 0; i < in; ++i)
      binary[static_cast<std::size_t>(i % rank * in + i)] = 1;
    const Tensor lora_a = from_values(binary, {rank, in}, DType::f64);
    const Results bone = run(linear_plus(x, w, {}, block_sum(x, rank), block, RightFactor::rank_by_out, 1), {x}, draw);
    const Results lora = run(linear_plus(x, w, {}, linear(x, lora_a), lora_b, RightFactor::out_by_rank, 1), {x}, draw);
    check_close(bone.y, lora.y);
    check_close(bone.gradients[0], lora.gradients[0]);
    check_close(block.grad().to_doubles(), transposed(lora_b.grad()).to_doubles());
  });
}

TEST_CASE("MiSS mini with as many columns as the output is Bone, and else Bone with a tiled block") {
  rounds([](Draw draw) {
    const std::int64_t in = draw.size(1, 9), rank = draw.size(1, 5), mini = draw.size(1, 4);
    const std::int64_t out = mini * draw.size(1, 3);
    const Tensor x = draw.leaf({draw.size(1, 3), draw.size(1, 4), in}), small = draw.leaf({rank, mini});
    check_equal([&] { return block_tile(matmul(block_sum(x, rank), small), out); },
                [&] { return matmul(block_sum(x, rank), block_tile(small, out)); }, {x, small}, draw);
  });
}

TEST_CASE("block_tile is the transpose of block_sum") {
  rounds([](Draw draw) {
    const std::int64_t in = draw.size(1, 20), rank = draw.size(1, 20), rows = draw.size(1, 5);
    const Tensor x = draw.frozen({rows, in}), y = draw.frozen({rows, rank});
    const double one = sum(mul(block_sum(x, rank), y)).item(), other = sum(mul(x, block_tile(y, in))).item();
    CHECK(one == doctest::Approx(other).epsilon(1e-12));
  });
}

/// Row norms of w, and |w_j|^2 as dora_linear takes it.
Values squared_norms(const Tensor& w) {
  const Values values = w.to_doubles();
  Values squares(static_cast<std::size_t>(w.dim(0)), 0.0);
  for (std::size_t i = 0; i < values.size(); ++i)
    squares[i / static_cast<std::size_t>(w.dim(1))] += values[i] * values[i];
  return squares;
}

TEST_CASE("DoRA with its rows' norms as magnitudes is LoRA, and twice them doubles y - bias") {
  rounds([](Draw draw) {
    const std::int64_t in = draw.size(1, 9), out = draw.size(1, 9), rank = draw.size(1, 4);
    const Tensor x = draw.frozen({draw.size(1, 3), draw.size(1, 4), in}), w = draw.frozen({out, in});
    const Tensor a = draw.frozen({rank, in}), b = draw.frozen({out, rank}), bias = draw.frozen({out});
    const double scaling = 0.5 * static_cast<double>(draw.size(1, 4));
    const Tensor adapted = add(w, scale(matmul(b, a), scaling));
    Values norms = squared_norms(adapted), twice;
    for (double& norm : norms) {
      norm = std::sqrt(norm);
      twice.push_back(2 * norm);
    }
    const Tensor squares = from_values(squared_norms(w), {out}, DType::f64);
    const auto dora = [&](const Values& magnitude, const Tensor& with_bias) {
      return dora_linear(x, w, with_bias, a, b, from_values(magnitude, {out}, DType::f64), squares, scaling);
    };
    check_close(dora(norms, bias).to_doubles(), linear(x, adapted, bias).to_doubles());
    check_close(dora(twice, {}).to_doubles(), scale(dora(norms, {}), 2).to_doubles());
  });
}

TEST_CASE("DoRA's norms follow each operand that changes in place") {
  Draw draw(5);
  const Tensor x = draw.frozen({2, 4}), w = draw.frozen({3, 4}), a = draw.frozen({2, 4}), b = draw.frozen({3, 2});
  const Tensor m = draw.frozen({3}), squares = from_values(squared_norms(w), {3}, DType::f64);
  const auto y = [&](const Tensor& from_w, const Tensor& from_a, const Tensor& from_b, const Tensor& from_squares,
                     double scaling) {
    return dora_linear(x, from_w, {}, from_a, from_b, m, from_squares, scaling).to_doubles();
  };
  const auto fresh = [&](double scaling) {
    return y(converted(w, DType::f64), converted(a, DType::f64), converted(b, DType::f64),
             converted(squares, DType::f64), scaling);
  };
  CHECK(y(w, a, b, squares, 1) == fresh(1));
  CHECK(y(w, a, b, squares, 0.5) == fresh(0.5));
  for (const Tensor& operand : {a, w, b, squares}) {
    operand.mut().as<double>()[1] += 0.75;
    CHECK(y(w, a, b, squares, 0.5) == fresh(0.5));
  }
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
