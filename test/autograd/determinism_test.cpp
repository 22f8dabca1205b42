#include <algorithm>
#include <cmath>
#include <cstring>
#include <doctest/doctest.h>

#include "autograd/shared_step.hpp"
#include "test/backends/threads.hpp"
#include "test/op_cases.hpp"

namespace osteon::test {
namespace {

constexpr CaseDTypes kRuns[] = {{DType::f32, DType::f32}, {DType::bf16, DType::f32}};

/// Random, a function of the element's place only.
Tensor upstream(const Shape& shape, DType dtype) {
  Values values(static_cast<std::size_t>(shape.numel()));
  for (std::size_t i = 0; i < values.size(); ++i)
    values[i] = static_cast<double>(uniform_from(philox({3, 4}, i)[0])) - 0.5;
  return from_values(values, shape, dtype);
}

/// The result and every gradient.
std::vector<Values> results(const OpCase& op_case, CaseDTypes dtypes) {
  const std::vector<Tensor> inputs = make_inputs(op_case, dtypes);
  const Tensor y = op_case.f(inputs);
  y.backward(upstream(y.shape(), y.dtype()));
  std::vector<Values> all = {y.to_doubles()};
  for (const Tensor& input : inputs)
    all.push_back(input.grad().defined() ? input.grad().to_doubles() : Values{});
  return all;
}

TEST_CASE("results and gradients are bit-equal for any number of threads") {
  for (const CaseDTypes dtypes : kRuns)
    for (const OpCase& op_case : large_op_cases()) {
      CAPTURE(op_case.variant);
      std::vector<Values> alone;
      with_threads(1, [&] { alone = results(op_case, dtypes); });
      for (const int threads : {2, 3, 4}) {
        CAPTURE(threads);
        with_threads(threads, [&] { CHECK(results(op_case, dtypes) == alone); });
      }
    }
}

/// Whether the case has parameters whose gradient is a sum over a batch that can be split. Of several ops that read
/// one parameter, each adds its whole sum after the other: a split shows (Llama gives a tied head a leaf of its own).
bool splits(const OpCase& op_case) {
  if (!op_case.saves)
    return false;
  bool batched = false, parameter = false;
  for (const CaseInput& input : op_case.inputs) {
    batched = batched || (input.batched && input.shape[0] > 1);
    parameter = parameter || (input.trainable && !input.batched);
  }
  return batched && parameter;
}

std::int64_t batch_size(const OpCase& op_case) {
  const auto first =
      std::find_if(op_case.inputs.begin(), op_case.inputs.end(), [](const auto& in) { return in.batched; });
  return first->shape[0];
}

/// Gradients of the parameters after backwards over parts of the batch, accumulated.
std::vector<Values> accumulated(const OpCase& op_case, CaseDTypes dtypes, std::int64_t part_size) {
  const std::vector<Tensor> inputs = make_inputs(op_case, dtypes);
  const std::int64_t batch = batch_size(op_case);
  Tensor whole_dy;
  {
    const NoGrad no_grad;
    const Tensor y = op_case.f(inputs);
    whole_dy = y.numel() == 1 ? from_values(std::vector<double>{0.5}, y.shape(), y.dtype())  // a loss: the same for all
                              : upstream(y.shape(), y.dtype());
  }
  for (std::int64_t begin = 0; begin < batch; begin += part_size) {
    const std::int64_t end = std::min(begin + part_size, batch);
    std::vector<Tensor> part;
    for (std::size_t i = 0; i < inputs.size(); ++i)
      part.push_back(op_case.inputs[i].batched
                         ? inputs[i].slice(begin, end).set_requires_grad(inputs[i].requires_grad())
                         : inputs[i]);
    op_case.f(part).backward(whole_dy.numel() == 1 ? whole_dy : whole_dy.slice(begin, end));
  }
  std::vector<Values> gradients;
  for (std::size_t i = 0; i < inputs.size(); ++i)
    if (op_case.inputs[i].trainable && !op_case.inputs[i].batched)
      gradients.push_back(inputs[i].grad().to_doubles());
  return gradients;
}

void check_splits(const std::vector<OpCase>& cases, int least) {
  int count = 0;
  for (const CaseDTypes dtypes : kRuns)
    for (const OpCase& op_case : cases) {
      if (!splits(op_case))
        continue;
      ++count;
      CAPTURE(op_case.variant);
      const std::int64_t batch = batch_size(op_case);
      const std::vector<Values> whole = accumulated(op_case, dtypes, batch);
      REQUIRE(!whole.empty());
      for (const std::int64_t part_size : {std::int64_t{1}, (batch + 1) / 2}) {
        CAPTURE(part_size);
        CHECK(accumulated(op_case, dtypes, part_size) == whole);
      }
    }
  CHECK(count >= least);
}

/// Bat's gradient is summed sequence by sequence while one lives.
struct BatchInvariant {
  BatchInvariant() { batch_invariant = true; }
  ~BatchInvariant() { batch_invariant = false; }
};

TEST_CASE("parameters' gradients are bit-equal for any split of a batch along sequences") {
  const BatchInvariant invariant;
  with_threads(1, [] { check_splits(op_cases(), 500); });
}

TEST_CASE("so they are for long sequences, on several threads") {
  const BatchInvariant invariant;
  with_threads(2, [] { check_splits(large_op_cases(), 20); });
}

/// The largest difference over the largest element.
double difference(const Values& a, const Values& b) {
  double most = 0, scale = 0;
  REQUIRE(a.size() == b.size());
  for (std::size_t i = 0; i < a.size(); ++i) {
    most = std::max(most, std::abs(a[i] - b[i]));
    scale = std::max(scale, std::abs(b[i]));
  }
  return scale == 0 ? most : most / scale;
}

TEST_CASE("Bat's gradient of a whole batch is that of its sequences, to rounding") {
  const std::pair<CaseDTypes, double> runs[] = {
      {{DType::f64, DType::f64}, 1e-13},
      {{DType::f32, DType::f32}, 1e-5},
      {{DType::bf16, DType::f32}, 1e-2},  // dW' may be rounded to bf16 for its product with W
  };
  int other_bits = 0;
  for (const auto* cases : {&op_cases(), &large_op_cases()})
    for (const OpCase& op_case : *cases) {
      if (op_case.op != "bat_linear" || !splits(op_case))
        continue;
      CAPTURE(op_case.variant);
      for (const auto& [dtypes, most] : runs) {
        const std::vector<Values> whole = accumulated(op_case, dtypes, batch_size(op_case));
        const BatchInvariant invariant;
        const std::vector<Values> by_sequence = accumulated(op_case, dtypes, 1);
        REQUIRE(whole.size() == by_sequence.size());
        other_bits += whole != by_sequence;
        for (std::size_t i = 0; i < whole.size(); ++i)
          CHECK(difference(whole[i], by_sequence[i]) < most);
      }
    }
  CHECK(other_bits > 0);  // else nothing was summed another way
}

}  // namespace
}  // namespace osteon::test
