#pragma once

#include <algorithm>
#include <cmath>
#include <doctest/doctest.h>
#include <functional>

#include "autograd/ops.hpp"
#include "test/backends/threads.hpp"

namespace osteon::test {

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

inline void check_close(const Values& a, const Values& b) {
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

inline Results run(const Tensor& y, const std::vector<Tensor>& leaves, Draw draw) {
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
inline void check_equal(const std::function<Tensor()>& fused, const std::function<Tensor()>& composed,
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

}  // namespace osteon::test
