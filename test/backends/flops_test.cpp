#include "backends/flops.hpp"

#include <doctest/doctest.h>

#include "backends/kernels/attention.hpp"
#include "backends/kernels/bat.hpp"
#include "backends/kernels/gemm.hpp"
#include "test/backends/array.hpp"

using namespace osteon;
using test::Array;

namespace {

/// What `run(tag, place)` counts on each device, which must be the same; place(array) is a view, without data on meta.
template <class F>
double counted(F&& run) {
  const auto here = [](Array& array) { return array.view(); };
  const auto nowhere = [](Array& array) {
    View view = array.view();
    view.data = nullptr;
    return view;
  };
  constexpr Device kTested = test::kOnCpu ? Device::cpu : Device::cuda;
  reset_flop_count(kTested);
  reset_flop_count(Device::meta);
  run(test::kDevice, here);
  run(Meta{}, nowhere);
  const FlopCount count = flop_count(kTested);
  CHECK(flop_count(Device::meta) == count);
  return count.total(Pass::forward) + count.total(Pass::backward);
}

}  // namespace

TEST_CASE("products count two FLOPs a multiply-add, on a device and on meta") {
  Array a(DType::f32, {5, 7}), b(DType::f32, {7, 3}), c(DType::f32, {5, 3});
  CHECK(counted([&](auto dev, auto at) { kernels::gemm(dev, at(a), at(b), at(c)); }) == 2 * 5 * 7 * 3);
  CHECK(counted([&](auto dev, auto at) {
          kernels::gemm(dev, at(c), at(b), at(a), {.transpose_b = true, .add = true});
        }) == 2 * 5 * 7 * 3);
  // A sum too deep for one product of the library.
  Array tall(DType::f32, {4096, 4}), other(DType::f32, {4096, 3}), small(DType::f32, {4, 3});
  CHECK(counted([&](auto dev, auto at) {
          kernels::gemm(dev, at(tall), at(other), at(small), {.transpose_a = true});
        }) == 2 * 4096 * 4 * 3);
  Array empty_a(DType::f32, {5, 0}), empty_b(DType::f32, {0, 3});
  CHECK(counted([&](auto dev, auto at) { kernels::gemm(dev, at(empty_a), at(empty_b), at(c)); }) == 0);

  Array g(DType::bf16, {2, 80, 6}), x(DType::bf16, {2, 80, 4}), sum(DType::f32, {6, 4});
  CHECK(counted([&](auto dev, auto at) {
          kernels::gemm_tokens(dev, at(g), at(x), Sink{at(sum), false});
        }) == 2 * 160 * 6 * 4);
}

TEST_CASE("Bat's slabs count a block's products with each piece of its rows") {
  Array w(DType::f32, {8, 12}), b(DType::f32, {2, 4, 4}), y(DType::f32, {8, 12});
  CHECK(counted([&](auto dev, auto at) { kernels::bat_weight(dev, at(w), at(b), at(y)); }) == 2 * 8 * 12 * 4);
  CHECK(counted([&](auto dev, auto at) {
          kernels::bat_block_gradient(dev, at(w), at(y), Sink{at(b), false});
        }) == 2 * 8 * 12 * 4);
}

TEST_CASE("attention counts the pairs of causal order: two products forward, five backward") {
  const std::int64_t batch = 2, keys = 6, heads = 4, head_dim = 8;
  for (const std::int64_t queries : {6, 2, 1}) {
    CAPTURE(queries);
    Array q(DType::f32, {batch, queries, heads, head_dim}), k(DType::f32, {batch, keys, 2, head_dim});
    Array v(DType::f32, k.view().shape), o(DType::f32, q.view().shape), lse(DType::f32, {batch, queries, heads});
    double pairs = 0;
    for (std::int64_t t = 0; t < queries; ++t)
      pairs += static_cast<double>(keys - queries + t + 1);
    const double each = pairs * static_cast<double>(batch * heads * head_dim);
    CHECK(counted([&](auto dev, auto at) { kernels::attention(dev, at(q), at(k), at(v), {}, 0.5, at(o), at(lse)); }) ==
          4 * each);
    Array workspace(DType::u8,
                    {kernels::attention_backward_workspace(Cpu{}, q.view().shape, k.view().shape, DType::f32)});
    Array dq(DType::f32, q.view().shape), dk(DType::f32, k.view().shape), dv(DType::f32, k.view().shape);
    CHECK(counted([&](auto dev, auto at) {
            kernels::attention_backward(dev, at(o), at(q), at(k), at(v), at(o), at(lse), {}, 0.5, Sink{at(dq), false},
                                        Sink{at(dk), false}, Sink{at(dv), false}, at(workspace));
          }) == 10 * each);
  }
}

TEST_CASE("FLOPs count as what the innermost scopes say") {
  reset_flop_count(Device::meta);
  count_flops(Device::meta, 1);
  {
    const CountAs adapter(Work::adapter);
    count_flops(Device::meta, 10);
    {
      const CountAs backward(Pass::backward);
      CHECK(CountAs::work() == Work::adapter);
      count_flops(Device::meta, 100);
      const CountAs head(Work::head);
      count_flops(Device::meta, 1000);
    }
    count_flops(Device::meta, 20);
  }
  count_flops(Device::meta, 2);
  const FlopCount count = flop_count(Device::meta);
  CHECK(count.of(Pass::forward, Work::base) == 3);
  CHECK(count.of(Pass::forward, Work::adapter) == 30);
  CHECK(count.of(Pass::backward, Work::adapter) == 100);
  CHECK(count.of(Pass::backward, Work::head) == 1000);
  CHECK(count.total(Pass::forward) == 33);
  CHECK(count.total(Pass::backward) == 1100);
  reset_flop_count(Device::meta);
  CHECK(flop_count(Device::meta) == FlopCount{});
}
