#include <numeric>

#include "test/op_cases.hpp"
#include "test/reference/dropout.hpp"
#include "test/reference/swiglu.hpp"

namespace osteon::test {
namespace {

using Inputs = const std::vector<Tensor>&;
using Doubles = const std::vector<Values>&;

/// y[i] = f(a[i], b[i])
template <class F>
Values each(const Values& a, const Values& b, F f) {
  Values y(a.size());
  for (std::size_t i = 0; i < a.size(); ++i)
    y[i] = f(a[i], b[i]);
  return y;
}

Values times(const Values& x, double factor) {
  return each(x, x, [=](double a, double) { return factor * a; });
}

Saves nothing(const std::vector<bool>&) { return {}; }

void add_binary(CaseList& list, const Shape& shape) {
  const std::vector<CaseInput> two = {activation(shape), activation(shape)};
  list.add({.op = "add",
            .inputs = two,
            .f = [](Inputs in) { return add(in[0], in[1]); },
            .reference = [](Doubles in) { return each(in[0], in[1], [](double a, double b) { return a + b; }); }},
           nothing);
  list.add({.op = "mul",
            .inputs = two,
            .f = [](Inputs in) { return mul(in[0], in[1]); },
            .reference = [](Doubles in) { return each(in[0], in[1], [](double a, double b) { return a * b; }); }},
           [](const std::vector<bool>& wants) {
             Saves saves;
             for (const std::size_t i : {0U, 1U})
               if (wants[1 - i])
                 saves.inputs.push_back(i);
             return saves;
           });
  std::vector<CaseInput> wide_range = two;  // far enough out for the sigmoid to saturate
  wide_range[0].low = -20, wide_range[0].high = 20;
  for (const auto& inputs : {two, wide_range})
    list.add({.op = "swiglu",
              .inputs = inputs,
              .f = [](Inputs in) { return swiglu(in[0], in[1]); },
              .reference = [](Doubles in) { return each(in[0], in[1], reference::swiglu); }},
             [](const std::vector<bool>&) {
               return Saves{.inputs = {0, 1}};
             });
}

void add_unary(CaseList& list, const Shape& shape) {
  const std::vector<CaseInput> one = {activation(shape)};
  for (const double factor : {0.0, 1.0, -2.5})
    list.add({.op = "scale",
              .variant = join(factor),
              .inputs = one,
              .f = [=](Inputs in) { return scale(in[0], factor); },
              .reference = [=](Doubles in) { return times(in[0], factor); }},
             nothing);
  list.add({.op = "sum",
            .inputs = one,
            .f = [](Inputs in) { return sum(in[0]); },
            .reference = [](Doubles in) { return Values{std::accumulate(in[0].begin(), in[0].end(), 0.0)}; }},
           nothing);
  list.add({.op = "cast",
            .inputs = one,
            .f = [](Inputs in) { return cast(in[0], in[0].dtype()); },
            .reference = [](Doubles in) { return in[0]; }},
           nothing);
  for (const Shape& to : {Shape{shape.numel()}, Shape{1, shape.numel(), 1}})
    list.add({.op = "reshape",
              .variant = join("to ", to),
              .inputs = one,
              .f = [=](Inputs in) { return reshape(in[0], to); },
              .reference = [](Doubles in) { return in[0]; }},
             nothing);
  for (const double p : {0.0, 0.3, 0.9}) {
    const RandomKey key = {11, static_cast<std::uint64_t>(shape.numel())};
    list.add({.op = "dropout",
              .variant = join("p ", p),
              .inputs = one,
              .f = [=](Inputs in) { return dropout(in[0], p, key); },
              .reference = [=](Doubles in) { return reference::dropout(in[0], p, key); }},
             nothing);
  }
}

/// One tensor taken twice: its gradients meet.
void add_tied(CaseList& list, const Shape& shape) {
  const std::vector<CaseInput> one = {activation(shape)};
  const auto tied = [&](const char* op, const TensorFunction& f, double (*reference)(double, double)) {
    list.add({.op = op, .variant = "tied", .inputs = one, .f = f, .reference = [=](Doubles in) {
                return each(in[0], in[0], reference);
              }});
  };
  tied(
      "add", [](Inputs in) { return add(in[0], in[0]); }, [](double a, double b) { return a + b; });
  tied(
      "mul", [](Inputs in) { return mul(in[0], in[0]); }, [](double a, double b) { return a * b; });
  tied(
      "swiglu", [](Inputs in) { return swiglu(in[0], in[0]); }, reference::swiglu);
  tied(
      "residual", [](Inputs in) { return add(in[0], mul(scale(in[0], 3.0), in[0])); },
      [](double a, double b) { return a + 3 * a * b; });
  tied(
      "fan-out",
      [](Inputs in) {
        const Tensor y = scale(in[0], 2.0);  // read by three ops, one of them twice
        return add(mul(y, y), add(y, scale(y, -0.5)));
      },
      [](double a, double) { return 4 * a * a + a; });
}

}  // namespace

void add_elementwise_cases(CaseList& list, bool large) {
  if (large) {
    add_binary(list, {5, 4001});
    add_unary(list, {5, 4001});
    return;
  }
  for (const Shape& shape :
       {Shape{}, Shape{1}, Shape{7}, Shape{1, 1}, Shape{3, 5}, Shape{2, 3, 4}, Shape{1, 67}, Shape{2, 1, 3, 2}}) {
    add_binary(list, shape);
    add_unary(list, shape);
    add_tied(list, shape);
  }
  add_binary(list, {3, 129});
  add_unary(list, {5, 257});
}

}  // namespace osteon::test
