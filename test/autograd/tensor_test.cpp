#include "autograd/tensor.hpp"

#include <doctest/doctest.h>
#include <sstream>

namespace osteon::test {
namespace {

using Values = std::vector<double>;

Tensor counted(const Shape& shape, DType dtype = DType::f32) {
  Values values;
  for (std::int64_t i = 0; i < shape.numel(); ++i)
    values.push_back(static_cast<double>(i));
  return from_values(values, shape, dtype);
}

std::string text(const Tensor& x) {
  std::ostringstream out;
  out << x;
  return out.str();
}

TEST_CASE("tensors hold what they were made of") {
  for (const DType dtype : {DType::f32, DType::bf16, DType::f64}) {
    const Tensor x = counted({2, 3}, dtype);
    CHECK(x.dtype() == dtype);
    CHECK(x.device() == default_device());
    CHECK(x.bytes() == 6 * size_of(dtype));
    CHECK(x.to_doubles() == Values{0, 1, 2, 3, 4, 5});
    CHECK(zeros({2}, dtype).to_doubles() == Values{0, 0});
    CHECK(from_values(Values{7}, {}, dtype).item() == 7);
  }
  CHECK(from_ids(std::vector<std::int32_t>{3, -100}, {2}).to_doubles() == Values{3, -100});
  CHECK(empty({0, 3}, DType::f32).to_doubles().empty());
  CHECK_FALSE(Tensor().defined());
  CHECK_FALSE(Tensor().detach().defined());
  CHECK_FALSE(Tensor().view().given);
}

TEST_CASE("the scalar 1 is known without a look until it changes") {
  for (const DType dtype : {DType::f32, DType::bf16, DType::f64}) {
    const Tensor x = one(dtype), other = x.alias({1});
    CHECK(x.shape().rank() == 0);
    CHECK(x.item() == 1);
    CHECK(other.item() == 1);
    CHECK(x.to_doubles() == std::vector<double>{1});
    copy_elements(from_values(std::vector<double>{3}, {1}, dtype), other);
    CHECK(x.item() == 3);
    CHECK(other.item() == 3);
  }
}

TEST_CASE("conversions round once") {
  const Tensor x = from_values(Values{1.0, 1.00390625, 3.0000001}, {3}, DType::f64);
  CHECK(converted(x, DType::bf16).to_doubles() == Values{1.0, 1.0, 3.0});
  CHECK(converted(x, DType::f32).to_doubles()[2] == static_cast<double>(3.0000001F));
}

TEST_CASE("aliases, slices and copies of a handle share bytes") {
  const Tensor x = counted({4, 3}), rows = x.slice(1, 3), flat = x.alias({12});
  CHECK(rows.shape() == Shape{2, 3});
  CHECK(rows.to_doubles() == Values{3, 4, 5, 6, 7, 8});
  CHECK(rows.slice(1, 2).to_doubles() == Values{6, 7, 8});
  CHECK(rows.slice(1, 1).numel() == 0);
  copy_elements(from_values(Values{100}, {1}, DType::f32), rows.slice(0, 1).alias({3}).slice(0, 1));
  CHECK(flat.to_doubles()[3] == 100);
  const Tensor same = x;
  CHECK(same.storage().id() == x.storage().id());
  CHECK(x.detach().storage().id() == x.storage().id());
  CHECK(counted({0, 3}).slice(0, 0).numel() == 0);
}

TEST_CASE("handles share whether a leaf trains, aliases do not") {
  const Tensor x = counted({2}), same = x;
  x.set_requires_grad(true);
  CHECK(same.requires_grad());
  CHECK_FALSE(x.detach().requires_grad());
  CHECK_FALSE(x.alias({2, 1}).requires_grad());
}

TEST_CASE("errors of tensors say what was expected") {
  CHECK_THROWS_WITH_AS(counted({2, 3}).slice(1, 3), "slice: [1, 3) of [2, 3]", ShapeError);
  CHECK_THROWS_WITH_AS(counted({2, 3}).slice(2, 1), "slice: [2, 1) of [2, 3]", ShapeError);
  CHECK_THROWS_WITH_AS(counted({2, 3}).item(), "item: expected one element, got [2, 3]", ShapeError);
  CHECK_THROWS_WITH_AS(from_values(Values{1, 2}, {3}, DType::f32), "from_values: expected 3 values, got 2", ShapeError);
  CHECK_THROWS_WITH_AS(from_ids(std::vector<std::int32_t>{1}, {2}), "from_ids: expected 2 ids, got 1", ShapeError);
  CHECK_THROWS_WITH_AS(Tensor(Storage(8, default_device(), Category::activation), {3}, DType::f32),
                       "tensor: expected at least 12 bytes, got 8", ShapeError);
  CHECK_THROWS_WITH_AS(Tensor().shape(), "tensor: used before it was given a value", Error);
}

TEST_CASE("a tensor describes itself in messages") {
  CHECK(text(counted({2, 3}, DType::bf16)) == "bf16 [2, 3]");
  CHECK(text(Tensor()) == "nothing");
}

}  // namespace
}  // namespace osteon::test
