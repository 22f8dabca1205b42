#include "test/op_cases.hpp"

#include <algorithm>
#include <cmath>

namespace osteon::test {
namespace {

/// With all subsets of the trainable inputs, a case of so many elements is still cheap.
constexpr std::int64_t kSmall = 150;

std::string describe(const OpCase& op_case) {
  std::string text = op_case.op + (op_case.variant.empty() ? "" : " " + op_case.variant);
  for (const CaseInput& input : op_case.inputs)
    text += join(' ', input.shape, input.trainable ? "*" : "");
  return text;
}

using Add = void (*)(CaseList&, bool);
constexpr Add kFamilies[] = {add_elementwise_cases, add_product_cases, add_norm_cases,  add_attention_cases,
                             add_loss_cases,        add_adapter_cases, add_bat_cases,   add_dora_cases,
                             add_rwkv_cases,        add_wkv_cases,     add_square_cases};

CaseList all(bool large) {
  CaseList list;
  for (const Add add : kFamilies)
    add(list, large);
  return list;
}

Values random_values(const CaseInput& input, RandomKey key) {
  Values values(static_cast<std::size_t>(input.shape.numel()));
  for (std::size_t i = 0; i < values.size(); ++i) {
    const double at = static_cast<double>(uniform_from(philox(key, i)[0]));
    values[i] = std::round((input.low + (input.high - input.low) * at) * 128) / 128;
  }
  return values;
}

Category category(Role role) {
  switch (role) {
    case Role::activation:
      return Category::activation;
    case Role::adapter:
      return Category::adapter;
    case Role::ids:
      return Category::workspace;
    default:
      return Category::weights;
  }
}

}  // namespace

void CaseList::add(OpCase op_case, const SavesRule& saves) {
  std::vector<std::size_t> trainable;
  std::int64_t elements = 0;
  for (std::size_t i = 0; i < op_case.inputs.size(); ++i) {
    elements += op_case.inputs[i].shape.numel();
    if (op_case.inputs[i].trainable)
      trainable.push_back(i);
  }
  const std::size_t whole = (std::size_t{1} << trainable.size()) - 1;
  for (std::size_t choice = elements <= kSmall ? 1 : whole; choice <= whole; ++choice) {
    OpCase one = op_case;
    for (std::size_t bit = 0; bit < trainable.size(); ++bit)
      one.inputs[trainable[bit]].trainable = ((choice >> bit) & 1U) != 0;
    add_one(std::move(one), saves);
  }
}

void CaseList::add_one(OpCase op_case, const SavesRule& saves) {
  std::vector<bool> wants;
  for (const CaseInput& input : op_case.inputs)
    wants.push_back(input.trainable);
  if (saves)
    op_case.saves = saves(wants);
  op_case.variant = describe(op_case);
  cases_.push_back(std::move(op_case));
}

const std::vector<OpCase>& op_cases() {
  static const CaseList list = all(false);
  return list.cases();
}

const std::vector<OpCase>& large_op_cases() {
  static const CaseList list = all(true);
  return list.cases();
}

std::vector<Tensor> make_inputs(const OpCase& op_case, CaseDTypes dtypes, std::uint64_t seed, Device device) {
  std::vector<Tensor> inputs;
  std::vector<Values> so_far;
  for (std::size_t i = 0; i < op_case.inputs.size(); ++i) {
    const CaseInput& input = op_case.inputs[i];
    Values values = input.values;
    if (input.from)
      values = input.from(so_far);
    else if (values.empty())
      values = random_values(input, RandomKey{seed, i});
    const DType dtype = input.role == Role::ids       ? DType::i32
                        : input.role == Role::wide    ? accumulator(dtypes.compute)
                        : input.role == Role::adapter ? dtypes.adapter
                                                      : dtypes.compute;
    inputs.push_back(dtype == DType::i32
                         ? from_ids(std::vector<std::int32_t>(values.begin(), values.end()), input.shape, device)
                         : from_values(values, input.shape, dtype, device, category(input.role)));
    if (input.trainable)
      inputs.back().set_requires_grad(true);
    so_far.push_back(std::move(values));
  }
  return inputs;
}

CaseInput activation(const Shape& shape) {
  return {.role = Role::activation, .shape = shape, .trainable = true, .batched = shape.rank() >= 3};
}
CaseInput weight(const Shape& shape) { return {.role = Role::weight, .shape = shape, .trainable = true}; }
CaseInput adapter(const Shape& shape) { return {.role = Role::adapter, .shape = shape, .trainable = true}; }
CaseInput frozen(CaseInput input) {
  input.trainable = false;
  return input;
}
CaseInput ids(const Shape& shape, const Values& values, bool batched) {
  return {.role = Role::ids, .shape = shape, .batched = batched, .values = values};
}
CaseInput wide(const Shape& shape, const Values& values) {
  return {.role = Role::wide, .shape = shape, .values = values};
}

}  // namespace osteon::test
