#pragma once

#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "autograd/gradcheck.hpp"
#include "autograd/ops.hpp"

namespace osteon::test {

using Values = std::vector<double>;

/// What an input is to its op; it decides the dtype, and whether the audit lists it.
enum class Role {
  activation,  ///< of the case's dtype
  weight,      ///< of the base model: likewise
  adapter,     ///< of a dtype of its own
  wide,        ///< of the accumulator dtype: tables, row norms
  ids          ///< i32
};

struct CaseInput {
  Role role = Role::activation;
  Shape shape;
  bool trainable = false;
  bool batched = false;  ///< the first dimension is a batch of sequences, along which the case may be split
  Values values = {};    ///< else random numbers
  double low = -1, high = 1;
  std::function<Values(const std::vector<Values>&)> from = nullptr;  ///< computed from the inputs before this one
};

/// What an op keeps for its backward.
struct Saves {
  std::vector<std::size_t> inputs = {};
  std::int64_t elements = 0;       ///< of its own, in the case's dtype
  std::int64_t wide_elements = 0;  ///< of its own, in the accumulator dtype
};

/// One op at one size: every check walks all of them.
struct OpCase {
  std::string op;
  std::string variant = {};
  std::vector<CaseInput> inputs;
  TensorFunction f;
  /// f in plain loops on doubles.
  std::function<Values(const std::vector<Values>&)> reference;
  std::optional<Saves> saves = {};  ///< none: the case is several ops
  /// Makes what is differentiated numerically instead of f from the inputs' values, where f's backward holds something
  /// constant.
  std::function<TensorFunction(const std::vector<Tensor>&)> numeric = nullptr;
};

/// Which inputs are trained -> what is saved.
using SavesRule = std::function<Saves(const std::vector<bool>&)>;

class CaseList {
 public:
  /// Adds the case as it is; and, if it is small, with every other choice of its trainable inputs.
  void add(OpCase op_case, const SavesRule& saves = nullptr);
  const std::vector<OpCase>& cases() const { return cases_; }

 private:
  void add_one(OpCase op_case, const SavesRule& saves);
  std::vector<OpCase> cases_;
};

/// Every op of ops.hpp over sizes 1, odd, ragged, empty where that is meant to work, and several blocks long.
const std::vector<OpCase>& op_cases();
/// Ops at sizes that threads share and that are no multiples of any block.
const std::vector<OpCase>& large_op_cases();

struct CaseDTypes {
  DType compute = DType::f64;
  DType adapter = DType::f64;
};

/// The inputs of a case, parameters marked trainable as the case says. Random numbers are multiples of 2^-7, which all
/// dtypes hold: f32 and bf16 compute on the same numbers as f64.
std::vector<Tensor> make_inputs(const OpCase& op_case, CaseDTypes dtypes, std::uint64_t seed = 7,
                                Device device = default_device());

// -- for the files of cases -------------------------------------------------------------------------------------------

CaseInput activation(const Shape& shape);  ///< trainable; batched if it has 3 dimensions or more
CaseInput weight(const Shape& shape);      ///< trainable
CaseInput adapter(const Shape& shape);     ///< trainable
CaseInput frozen(CaseInput input);
CaseInput ids(const Shape& shape, const Values& values, bool batched = false);
CaseInput wide(const Shape& shape, const Values& values);

void add_elementwise_cases(CaseList& list, bool large);
void add_product_cases(CaseList& list, bool large);
void add_norm_cases(CaseList& list, bool large);
void add_attention_cases(CaseList& list, bool large);
void add_loss_cases(CaseList& list, bool large);
void add_adapter_cases(CaseList& list, bool large);
void add_bat_cases(CaseList& list, bool large);
void add_dora_cases(CaseList& list, bool large);
void add_rwkv_cases(CaseList& list, bool large);
void add_wkv_cases(CaseList& list, bool large);
void add_square_cases(CaseList& list, bool large);  ///< the op of docs/adding-an-op.md

}  // namespace osteon::test
