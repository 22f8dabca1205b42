#include "autograd/recompute.hpp"

#include <doctest/doctest.h>

#include "autograd/audit.hpp"
#include "autograd/node.hpp"
#include "autograd/ops.hpp"
#include "backends/memory.hpp"
#include "test/op_cases.hpp"

namespace osteon::test {
namespace {

using Values = std::vector<double>;

Tensor numbers(const Shape& shape, DType dtype, std::uint64_t stream, Category category = Category::activation) {
  Values values(static_cast<std::size_t>(shape.numel()));
  for (std::size_t i = 0; i < values.size(); ++i)
    values[i] = static_cast<double>(uniform_from(philox({3, stream}, i)[0])) - 0.5;
  return from_values(values, shape, dtype, default_device(), category);
}

Tensor trainable(const Shape& shape, DType dtype, std::uint64_t stream) {
  return numbers(shape, dtype, stream, Category::adapter).set_requires_grad(true);
}

std::int64_t live(Device device = default_device()) { return memory_report(device).live[Category::activation]; }

constexpr std::int64_t kTokens = 6, kHidden = 8;

/// Two readers of a norm, one of its block sum, one of the sum of a dropped copy, and one of a SwiGLU product.
struct Net {
  DType dtype;
  Tensor norm = numbers({kHidden}, dtype, 1, Category::weights),
         base = numbers({5, kHidden}, dtype, 2, Category::weights);
  Tensor a = trainable({5, kHidden}, dtype, 3), b = trainable({5, kHidden}, dtype, 4), d = trainable({3, 5}, dtype, 5),
         e = trainable({2, 5}, dtype, 6), f = trainable({kHidden, 5}, dtype, 7);

  Tensor operator()(const Tensor& x) const {
    const Tensor n = rms_norm(x, norm, 1e-5);
    const Tensor shared = reshape(n, {2, kTokens / 2, kHidden});
    const Tensor gate = linear(shared, a), up = linear(shared, b);
    const Tensor s = linear_plus(shared, base, {}, block_sum(shared, 3), d, RightFactor::rank_by_out, 1.0);
    const Tensor dropped = block_sum(dropout(shared, 0.4, {7, 7}), 2);
    const Tensor t = linear_plus(shared, base, {}, dropped, e, RightFactor::rank_by_out, 1.0);
    return linear(add(swiglu(gate, up), swiglu(s, t)), f);
  }
};

struct Outcome {
  Values y;
  std::vector<Values> gradients;
  std::int64_t kept, audited;
};

Outcome run(DType dtype, bool recompute) {
  const RecomputeCheap policy(recompute);
  const Net net{.dtype = dtype};
  const Tensor x = trainable({kTokens, kHidden}, dtype, 9);
  const std::int64_t before = live();
  Outcome outcome;
  const SavedAudit audit;
  const Tensor y = net(scale(x, 1.0));
  outcome.y = y.to_doubles();
  outcome.kept = live() - before - y.bytes();
  outcome.audited = audit.bytes();
  y.backward(numbers(y.shape(), dtype, 10));
  CHECK(live() - before == y.bytes());
  for (const Tensor& leaf : {x, net.a, net.b, net.d, net.e, net.f})
    outcome.gradients.push_back(leaf.grad().to_doubles());
  return outcome;
}

TEST_CASE("recomputing cheap results changes no bit, and the audit shows what is kept") {
  for (const DType dtype : {DType::f64, DType::f32, DType::bf16}) {
    CAPTURE(dtype);
    const Outcome kept = run(dtype, false), again = run(dtype, true);
    CHECK(again.y == kept.y);
    CHECK(again.gradients == kept.gradients);
    CHECK(kept.kept == kept.audited);
    CHECK(again.kept == again.audited);
    // Not kept: the norm's result, its block sum and that of its dropped copy. The sum of products is no cheap result.
    CHECK(kept.kept - again.kept == kTokens * (kHidden + 3 + 2) * size_of(dtype));
  }
}

TEST_CASE("what is made again is shared by its readers and gone after the last") {
  const RecomputeCheap policy(true);
  const Tensor w = numbers({kHidden}, DType::f32, 1, Category::weights),
               x = trainable({kTokens, kHidden}, DType::f32, 2);
  std::vector<std::int64_t> more;  // bytes beyond what was live before the backward, seen by each reader
  std::vector<std::uint64_t> ids;
  std::int64_t before = 0;
  const auto reader = [&](const Tensor& n) {
    return record("reader", zeros({1}, DType::f32), {n}, [&, sn = save("n", n)](const Tensor&, Grads&) {
      more.push_back(live() - before);
      ids.push_back(sn.tensor().storage().id());
    });
  };
  Tensor total;
  const std::int64_t bytes = kTokens * kHidden * 4;
  {
    const Tensor n = rms_norm(scale(x, 1.0), w, 1e-5), first = reader(n);
    total = add(first, reader(n));
  }
  const Tensor one = from_values(Values{1}, {1}, DType::f32);
  before = live();
  total.backward(one);
  REQUIRE(more.size() == 2);
  CHECK(more[0] == bytes);
  CHECK(more[1] == bytes);
  CHECK(ids[0] == ids[1]);
  total = {};
  CHECK(live() < before);
}

TEST_CASE("a result is kept by its bytes where a recipe would keep more") {
  const RecomputeCheap policy(true);
  const Tensor w = numbers({kHidden}, DType::f32, 1, Category::weights), d = trainable({2, 4}, DType::f32, 2),
               base = numbers({4, kHidden}, DType::f32, 3, Category::weights);
  const auto adapted = [&](const Tensor& x) {
    return linear_plus(x, base, {}, block_sum(x, 2), d, RightFactor::rank_by_out, 1.0);
  };
  const Tensor frozen = numbers({kTokens, kHidden}, DType::f32, 4), leaf = trainable({kTokens, kHidden}, DType::f32, 5);
  const std::int64_t sum_bytes = kTokens * 2 * 4;
  {
    const SavedAudit audit;  // nothing below needs a gradient: the norm keeps nothing that it could be made from
    const Tensor y = adapted(rms_norm(frozen, w, 1e-5));
    CHECK(audit.bytes() == sum_bytes);
  }
  {
    const SavedAudit audit;  // nobody keeps the scaled copy
    const Tensor y = adapted(scale(leaf, 2.0));
    CHECK(audit.bytes() == sum_bytes);
  }
  const Tensor kept = scale(leaf, 2.0);
  const Tensor other = mul(kept, kept);
  const SavedAudit audit;
  const Tensor y = adapted(kept);
  CHECK(audit.bytes() == 0);
}

TEST_CASE("a change in place ends a recipe, and a slice has none") {
  const RecomputeCheap policy(true);
  const Tensor w = numbers({4}, DType::f32, 1, Category::weights), x = trainable({3, 4}, DType::f32, 2);
  const Tensor n = rms_norm(scale(x, 1.0), w, 1e-5);
  CHECK(n.recipe() != nullptr);
  CHECK(reshape(n, {12}).recipe() == n.recipe());
  CHECK(n.slice(0, 1).recipe() == nullptr);
  const Tensor same = n.detach();
  same.mut();
  CHECK(n.recipe() == nullptr);
  const RecomputeCheap off(false);
  CHECK(rms_norm(scale(x, 1.0), w, 1e-5).recipe() == nullptr);
}

TEST_CASE("what is made again is counted on meta as on the CPU") {
  const RecomputeCheap policy(true);
  std::int64_t peaks[2];
  for (const Device device : {default_device(), Device::meta}) {
    const Tensor w = zeros({kHidden}, DType::f32, device, Category::weights);
    const Tensor a = zeros({kTokens, kHidden}, DType::f32, device, Category::adapter).set_requires_grad(true);
    const Tensor x = zeros({kTokens, kHidden}, DType::f32, device).set_requires_grad(true);
    const std::int64_t before = live(device);
    const Tensor y = mul(rms_norm(scale(x, 1.0), w, 1e-5), a);  // read by a kernel that does not run on meta
    reset_memory_peak(device);
    const std::int64_t kept = live(device);
    y.backward(zeros(y.shape(), y.dtype(), device));
    peaks[device == Device::meta ? 1 : 0] = memory_report(device).peak_each[Category::activation] - kept;
    CHECK(kept > before);
  }
  CHECK(peaks[0] == peaks[1]);
  CHECK(peaks[0] >= 2 * kTokens * kHidden * 4);  // the norm's result again, and its gradient
}

}  // namespace
}  // namespace osteon::test
