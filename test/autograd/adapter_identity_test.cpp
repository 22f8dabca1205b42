#include "test/autograd/identity.hpp"

namespace osteon::test {
namespace {

Tensor transposed(const Tensor& x) {
  const Values values = x.to_doubles();
  const std::int64_t rows = x.dim(0), cols = x.dim(1);
  Values turned(values.size());
  for (std::int64_t i = 0; i < rows; ++i)
    for (std::int64_t j = 0; j < cols; ++j)
      turned[static_cast<std::size_t>(j * rows + i)] = values[static_cast<std::size_t>(i * cols + j)];
  return from_values(turned, {cols, rows}, x.dtype());
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
    Values moved = operand.to_doubles();
    moved[1] += 0.75;
    copy_elements(from_values(moved, operand.shape(), DType::f64), operand);
    CHECK(y(w, a, b, squares, 0.5) == fresh(0.5));
  }
}

}  // namespace
}  // namespace osteon::test
