#include "backends/kernels/transfer.hpp"

#include <cstring>

#include "backends/kernels/elementwise.hpp"
#include "test/backends/kernel_checks.hpp"

using namespace osteon;
using namespace osteon::test;

namespace {

constexpr DType kAll[] = {DType::f32, DType::bf16, DType::f64, DType::i32};

/// Elements in memory that only the host has.
struct HostArray {
  DType dtype;
  Shape shape;
  std::vector<std::byte> bytes;

  explicit HostArray(DType dtype_of_all, const Shape& shape_of_all)
      : dtype(dtype_of_all), shape(shape_of_all), bytes(static_cast<std::size_t>(shape.numel() * size_of(dtype))) {}
  explicit HostArray(const Array& x) : HostArray(x.dtype(), x.shape()) {
    finish();
    if (!bytes.empty())
      std::memcpy(bytes.data(), x.view().data, bytes.size());
  }
  View view() { return {bytes.data(), dtype, shape, true}; }
};

/// Values that all dtypes hold, and that no neighbour has.
template <class T>
HostArray counted(std::int64_t count) {
  HostArray x(dtype_of<T>::value, {count});
  for (std::int64_t i = 0; i < count; ++i)
    x.view().as<T>()[i] = static_cast<T>(static_cast<float>(i % 251 - 125));
  return x;
}

}  // namespace

TEST_CASE("upload and download convert between all dtypes as copy does") {
  for (const Shape& shape : {Shape{3, 5}, Shape{1}, Shape{0, 4}, Shape{2, 3, 129}})
    for (const DType from : kAll)
      for (const DType to : kAll) {
        CAPTURE(shape);
        CAPTURE(from);
        CAPTURE(to);
        Array x = Array::random(from == DType::i32 ? DType::f64 : from, shape, 1), y(to, shape), expected(to, shape);
        for (std::int64_t i = 0; i < x.numel(); ++i)
          x.set(i, 1000 * x.at(i));
        if (from == DType::i32)
          x = converted(x, DType::i32);
        kernels::copy(kDevice, x.view(), expected.view());
        HostArray host(x), back(to, shape);
        kernels::upload(kDevice, host.view(), y.view());
        CHECK(y == expected);
        kernels::download(kDevice, x.view(), back.view());
        CHECK(back.bytes == HostArray(expected).bytes);
      }
}

TEST_CASE("transfers of any size arrive whole, though the host changes its side at once") {
  constexpr std::int64_t kCount = (5 << 20) + 77;  // several pieces, the last one ragged
  const HostArray narrow = counted<bf16>(kCount), wide = counted<float>(kCount);
  HostArray host = wide, back(DType::f32, {kCount});
  Array first(DType::bf16, {kCount}), second(DType::bf16, {kCount});
  kernels::upload(kDevice, host.view(), first.view());
  std::fill(host.bytes.begin(), host.bytes.end(), std::byte{0});
  kernels::upload(kDevice, host.view(), second.view());
  CHECK(HostArray(first).bytes == narrow.bytes);
  CHECK(HostArray(second).bytes == HostArray(DType::bf16, {kCount}).bytes);
  kernels::download(kDevice, first.view(), back.view());
  CHECK(back.bytes == wide.bytes);
}

TEST_CASE("what a kernel made is downloaded, and what was uploaded is what a kernel reads") {
  HostArray one(DType::f64, {1}), sum(DType::f64, {1});
  Array x(DType::f32, {1}), y(DType::f32, {1});
  for (const double value : {1.0, 2.0, 3.0}) {
    std::memcpy(one.bytes.data(), &value, sizeof value);
    kernels::upload(kDevice, one.view(), x.view());
    kernels::add(kDevice, x.view(), x.view(), y.view());
    kernels::download(kDevice, y.view(), sum.view());
    double got = 0;
    std::memcpy(&got, sum.bytes.data(), sizeof got);
    CHECK(got == 2 * value);
  }
}

TEST_CASE("transfers refuse another number of elements and dtypes that do not convert") {
  HostArray host(DType::f32, {6}), bytes(DType::u8, {6});
  Array x(DType::f32, {2, 3}), longer(DType::f32, {7});
  CHECK_THROWS_WITH_AS(kernels::upload(kDevice, host.view(), longer.view()),
                       "upload: to: expected 6 elements, got shape [7]", ShapeError);
  CHECK_THROWS_WITH_AS(kernels::download(kDevice, longer.view(), host.view()),
                       "download: to: expected 7 elements, got shape [6]", ShapeError);
  CHECK_THROWS_WITH_AS(kernels::upload(kDevice, bytes.view(), x.view()), "copy: expected a floating dtype, got u8",
                       ShapeError);
  kernels::upload(kDevice, host.view(), x.view());  // shapes may differ
}
