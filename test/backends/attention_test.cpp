#include "backends/kernels/attention.hpp"

#include "backends/cpu/attention_tiles.hpp"
#include "backends/scratch.hpp"
#include "test/backends/kernel_checks.hpp"
#include "test/backends/multiplying.hpp"
#include "test/reference/attention.hpp"

using namespace osteon;
using namespace osteon::test;

namespace {

/// A dtype and, for bf16, how products take it, on whichever processor: what it lacks has a plain twin. A GPU does as
/// it can.
struct Variant {
  DType dtype;
  bool in_pairs = false, on_amx = false;

  /// Whether softmax weights are rounded to bf16.
  bool rounds(std::int64_t head_dim) const { return in_pairs && (kOnCpu || head_dim % 16 == 0); }
};
const std::vector<Variant> kVariants = kOnCpu ? std::vector<Variant>{{DType::f32},
                                                                     {DType::bf16},
                                                                     {DType::bf16, true},
                                                                     {DType::bf16, true, true},
                                                                     {DType::f64}}
                                              : std::vector<Variant>{{DType::f32}, {DType::bf16, true}, {DType::f64}};

enum class Ranges { causal, packed, padded, with_blind };

struct Case {
  std::int64_t batch, queries, keys, heads, kv_heads, head_dim;
  Ranges ranges = Ranges::causal;

  Shape q() const { return {batch, queries, heads, head_dim}; }
  Shape k() const { return {batch, keys, kv_heads, head_dim}; }
  double scale() const { return 1 / std::sqrt(static_cast<double>(head_dim)); }
  Case one_sequence() const {
    Case one = *this;
    one.batch = 1;
    return one;
  }
};

std::vector<std::int64_t> key_ranges(const Case& c) {
  std::vector<std::int64_t> out;
  for (std::int64_t b = 0; b < c.batch; ++b)
    for (std::int64_t t = 0; t < c.queries; ++t) {
      const std::int64_t causal = std::max<std::int64_t>(t + 1 + c.keys - c.queries, 0);
      const std::int64_t document = 3 + 4 * b, padding = std::min(b + 2, c.keys);  // sizes differ from row to row
      std::int64_t first = 0, last = causal;
      if (c.ranges == Ranges::packed)
        first = (causal - 1) / document * document;
      if (c.ranges == Ranges::padded) {  // on the left: the first rows of the padding see themselves
        first = std::min(padding, causal - 1);
      }
      if (c.ranges == Ranges::with_blind && (t + b) % 3 == 0)
        first = last = t % 2 * (c.keys + 70);  // an empty range may lie anywhere
      out.insert(out.end(), {first, last});
    }
  return out;
}

struct Result {
  Array o, lse, dq, dk, dv;
};

struct Inputs {
  Array q, k, v, dout, range;
  Inputs(const Case& c, DType dtype)
      : q(Array::random(dtype, c.q(), 1)),
        k(Array::random(dtype, c.k(), 2)),
        v(Array::random(dtype, c.k(), 3)),
        dout(Array::random(dtype, c.q(), 4)),
        range(integers({c.batch, c.queries, 2}, key_ranges(c))) {
    for (std::int64_t i = 0; i < q.numel(); ++i)
      q.set(i, 4 * q.at(i));  // scores with some spread
  }
};

/// Sequences [begin, end) of an array with the batch in front.
ConstView sequences(const Array& a, std::int64_t begin, std::int64_t end) {
  const std::int64_t batch = a.shape()[0], each = batch == 0 ? 0 : a.numel() / batch;
  const Shape& s = a.shape();
  const Shape part = s.rank() == 4 ? Shape{end - begin, s[1], s[2], s[3]} : Shape{end - begin, s[1], s[2]};
  return a.view().reshape({batch, each}).slice_rows(begin, end).reshape(part);
}
View sequences(Array& a, std::int64_t begin, std::int64_t end) {
  const ConstView part = sequences(std::as_const(a), begin, end);
  return {const_cast<void*>(part.data), part.dtype, part.shape, true};
}

/// Forward and backward, `split` sequences at a time.
Result run(const Case& c, const Inputs& in, std::int64_t split, bool add = false) {
  const DType dtype = in.q.dtype();
  const auto sink_start = [&](const Shape& shape) {
    return add ? Array::random(dtype, shape, 9) : Array(dtype, shape);
  };
  Result r{Array(dtype, c.q()), Array(accumulator(dtype), {c.batch, c.queries, c.heads}), sink_start(c.q()),
           sink_start(c.k()), sink_start(c.k())};
  for (std::int64_t b = 0; b < c.batch; b += split) {
    const std::int64_t end = std::min(b + split, c.batch);
    const auto part = [&](auto& a) { return sequences(a, b, end); };
    const ConstView range = c.ranges == Ranges::causal ? ConstView{} : part(in.range);
    kernels::attention(kDevice, part(in.q), part(in.k), part(in.v), range, c.scale(), part(r.o), part(r.lse));
    const Shape q = part(in.q).shape, k = part(in.k).shape;
    Array workspace(DType::u8, {kernels::attention_backward_workspace(kDevice, q, k, dtype)});
    kernels::attention_backward(kDevice, part(in.dout), part(in.q), part(in.k), part(in.v), part(std::as_const(r.o)),
                                part(std::as_const(r.lse)), range, c.scale(), {part(r.dq), add}, {part(r.dk), add},
                                {part(r.dv), add}, workspace.view());
  }
  return r;
}

std::vector<Array> all(const Result& r) { return {r.o, r.lse, r.dq, r.dk, r.dv}; }

const Case kCases[] = {
    {1, 1, 1, 1, 1, 1},
    {1, 1, 1, 1, 1, 2},
    {2, 5, 5, 3, 3, 7},
    {1, 9, 9, 4, 2, 8},
    {2, 17, 17, 6, 2, 16},
    {3, 12, 12, 4, 1, 5},
    {1, 65, 65, 2, 1, 64},
    {1, 130, 130, 1, 1, 32},
    {2, 64, 64, 2, 2, 80},
    {1, 33, 33, 2, 1, 128},
    {1, 3, 3, 1, 1, 256},
    {2, 1, 37, 4, 2, 16},   // decoding with a cache
    {1, 5, 200, 2, 1, 24},  // a piece of a prompt
    {1, 1, 300, 3, 3, 5},   // many keys for one row: blocks share them
    {2, 3, 290, 4, 2, 16, Ranges::with_blind},
    {2, 4, 270, 4, 1, 80, Ranges::packed},
    {1, 201, 203, 1, 1, 9},  // several blocks of rows, an odd number of keys and of features
    {2, 9, 4, 2, 1, 8},      // more queries than keys: the first ones see none
    {0, 4, 4, 2, 1, 8},
    {2, 0, 5, 2, 1, 8},
    {2, 40, 40, 4, 2, 16, Ranges::packed},
    {1, 150, 150, 2, 2, 8, Ranges::packed},
    {3, 20, 20, 2, 1, 8, Ranges::padded},
    {2, 70, 70, 2, 1, 16, Ranges::with_blind},
    {2, 75, 75, 2, 1, 32, Ranges::packed},
    {1, 150, 150, 4, 2, 96, Ranges::with_blind},
    {2, 1, 37, 4, 1, 64},
};

}  // namespace

TEST_CASE("attention and its gradient agree with written-out scores") {
  for (const Case& c : kCases)
    for (const Variant& variant : kVariants) {
      const DType dtype = variant.dtype;
      const Multiplying used(variant.in_pairs, variant.on_amx);
      CAPTURE(variant.in_pairs);
      CAPTURE(variant.on_amx);
      CAPTURE(c.q());
      CAPTURE(c.k());
      CAPTURE(dtype);
      CAPTURE(static_cast<int>(c.ranges));
      const Inputs in(c, dtype);
      const auto size = [](std::int64_t n) { return static_cast<std::size_t>(n); };
      const reference::AttentionSizes sizes{size(c.batch), size(c.queries),  size(c.keys),
                                            size(c.heads), size(c.kv_heads), size(c.head_dim)};
      const Result r = run(c, in, std::max<std::int64_t>(c.batch, 1));
      const reference::Attention want = reference::attention(sizes, in.q.doubles(), in.k.doubles(), in.v.doubles(),
                                                             key_ranges(c), c.scale(), in.dout.doubles());
      // In pairs weights are rounded to bf16 on their way to o.
      check_close(r.o, want.o, variant.rounds(c.head_dim) ? 0x1p15 : 8);
      check_close(r.lse, want.lse, 8);
      // The gradient reads o as stored: what rounding it to bf16 does to rowsum(do o) is in the slack.
      const double slack = dtype == DType::bf16 ? 0x1p17 : 64;
      check_close(r.dq, want.dq, slack);
      check_close(r.dk, want.dk, slack);
      check_close(r.dv, want.dv, slack);
    }
}

TEST_CASE("attention's gradients are added to what a sink holds") {
  for (const Case& c : {kCases[4], kCases[12], kCases[22]}) {
    const Inputs in(c, DType::f64);
    const Result plain = run(c, in, c.batch), added = run(c, in, c.batch, true);
    for (const auto& [sum, part] : {std::pair{&added.dq, &plain.dq}, {&added.dk, &plain.dk}, {&added.dv, &plain.dv}}) {
      std::vector<double> want = Array::random(DType::f64, sum->shape(), 9).doubles();
      for (std::size_t i = 0; i < want.size(); ++i)
        want[i] += part->at(static_cast<std::int64_t>(i));
      check_close(*sum, want, 1);
    }
  }
}

TEST_CASE("attention's bits depend neither on the number of threads nor on the other sequences of the batch") {
  // Fewer and narrower heads where a GPU is emulated: a minute less.
  const std::int64_t batch = kOnCpu ? 3 : 2, wide = kOnCpu ? 64 : 16, odd = kOnCpu ? 40 : 12, kv_heads = kOnCpu ? 2 : 1;
  for (const Case& c : {Case{batch, 70, 70, 2 * kv_heads, kv_heads, wide},
                        Case{batch, 70, 70, 2 * kv_heads, kv_heads, odd, Ranges::packed}, Case{batch, 2, 300, 4, 2, 32},
                        Case{batch + 2, 33, 33, 3, 1, 16, Ranges::with_blind}})
    for (const Variant& variant : kVariants) {
      const DType dtype = variant.dtype;
      const Multiplying used(variant.in_pairs, variant.on_amx);
      CAPTURE(variant.in_pairs);
      CAPTURE(variant.on_amx);
      CAPTURE(c.q());
      CAPTURE(dtype);
      const Inputs in(c, dtype);
      check_thread_counts([&] { return all(run(c, in, c.batch)); });
      CHECK(all(run(c, in, 1)) == all(run(c, in, c.batch)));
    }
}

TEST_CASE("a query's output does not depend on how many queries are computed with it") {
  const Case whole{1, 90, 90, 4, 2, 32}, last{1, 7, 90, 4, 2, 32};
  for (const Variant& variant : kVariants) {
    const DType dtype = variant.dtype;
    const Multiplying used(variant.in_pairs, variant.on_amx);
    CAPTURE(variant.in_pairs);
    const Inputs in(whole, dtype);
    const Result r = run(whole, in, 1);
    Array o(dtype, last.q()), lse(accumulator(dtype), {1, 7, 4});
    const std::int64_t skip = 83;
    const ConstView q = in.q.view().reshape({90, 4 * 32}).slice_rows(skip, 90).reshape(last.q());
    kernels::attention(kDevice, q, in.k.view(), in.v.view(), {}, whole.scale(), o.view(), lse.view());
    std::vector<double> want;
    for (std::int64_t i = 0; i < o.numel(); ++i)
      want.push_back(r.o.at(skip * 4 * 32 + i));
    check_close(o, want, 8);
  }
}

TEST_CASE("a query's bits do not depend on the keys that queries beside it see") {
  constexpr std::int64_t kKeys = 300, kSeen = 64, d = 32;
  const Case c{1, kOnCpu ? 40 : 8, kKeys, 1, 1, d};
  const double scale = 0.3;  // no power of two: its product with the largest score is rounded
  for (const Variant& variant : kVariants) {
    const Multiplying used(variant.in_pairs, variant.on_amx);
    CAPTURE(variant.dtype);
    CAPTURE(variant.in_pairs);
    CAPTURE(variant.on_amx);
    const Inputs in(c, variant.dtype);
    const auto seen_by_odd = [&](std::int64_t keys) {
      std::vector<std::int64_t> ranges;
      for (std::int64_t t = 0; t < c.queries; ++t)
        ranges.insert(ranges.end(), {0, t % 2 == 0 ? kSeen : keys});
      Array o(variant.dtype, c.q()), lse(accumulator(variant.dtype), {1, c.queries, 1});
      kernels::attention(kDevice, in.q.view(), in.k.view(), in.v.view(), integers({1, c.queries, 2}, ranges).view(),
                         scale, o.view(), lse.view());
      std::vector<double> even;
      for (std::int64_t t = 0; t < c.queries; t += 2) {
        even.push_back(lse.at(t));
        for (std::int64_t i = 0; i < d; ++i)
          even.push_back(o.at(t * d + i));
      }
      return even;
    };
    CHECK(seen_by_odd(kSeen) == seen_by_odd(kKeys));
  }
}

TEST_CASE("attention lets NaN and infinity through to the queries that see them") {
  const Case c{1, 80, 80, 2, 1, 32};
  for (const Variant& variant : kVariants) {
    const DType dtype = variant.dtype;
    const Multiplying used(variant.in_pairs, variant.on_amx);
    CAPTURE(variant.in_pairs);
    Inputs in(c, dtype);
    in.k.set(70 * 32 + 3, std::nan(""));
    const Result r = run(c, in, 1);
    CHECK(std::isfinite(r.o.at(69 * 64)));
    CHECK(std::isnan(r.o.at(70 * 64)));
    CHECK(std::isnan(r.o.at(79 * 64 + 63)));
    CHECK(std::isnan(r.lse.at(75 * 2)));
    CHECK(std::isnan(r.dq.at(75 * 64)));
    Inputs value(c, dtype);
    value.v.set(70 * 32 + 3, std::numeric_limits<double>::infinity());
    const Result s = run(c, value, 1);
    CHECK(std::isfinite(s.o.at(40 * 64 + 3)));
    CHECK(!std::isfinite(s.o.at(70 * 64 + 3)));
    CHECK(std::isfinite(s.o.at(70 * 64 + 4)));
  }
}

TEST_CASE("attention never reads keys behind every query's range, as in a cache with room to grow") {
  const Case c{1, 6, 100, 2, 1, 32}, few{1, 1, 100, 2, 1, 32};
  for (const Case& each : {c, few})
    for (const Variant& variant : kVariants) {
      const DType dtype = variant.dtype;
      const Multiplying used(variant.in_pairs, variant.on_amx);
      CAPTURE(variant.in_pairs);
      CAPTURE(variant.on_amx);
      Inputs in(each, dtype);
      for (std::int64_t i = 70 * 32; i < in.k.numel(); ++i) {
        in.k.set(i, std::nan(""));
        in.v.set(i, std::nan(""));
      }
      std::vector<std::int64_t> ranges;
      for (std::int64_t t = 0; t < each.queries; ++t)
        ranges.insert(ranges.end(), {0, 70});
      Array o(dtype, each.q()), lse(accumulator(dtype), {1, each.queries, 2});
      kernels::attention(kDevice, in.q.view(), in.k.view(), in.v.view(), integers({1, each.queries, 2}, ranges).view(),
                         1, o.view(), lse.view());
      for (std::int64_t i = 0; i < o.numel(); ++i)
        CHECK(std::isfinite(o.at(i)));
    }
}

TEST_CASE("attention's bits do not depend on how many keys a cache has room for") {
  const Case small{1, 2, 260, 4, 2, 16};
  for (const Variant& variant : kVariants)
    for (const std::int64_t used : {100, 200}) {
      const Multiplying with(variant.in_pairs, variant.on_amx);
      CAPTURE(variant.dtype);
      CAPTURE(used);
      const Inputs in(small, variant.dtype);
      const Array range = integers({1, 2, 2}, {0, used - 1, 0, used});
      const auto attend = [&](std::int64_t room) {
        const auto first = [&](const Array& keys) {
          return keys.view().reshape({260, 32}).slice_rows(0, room).reshape({1, room, 2, 16});
        };
        Array o(variant.dtype, small.q()), lse(accumulator(variant.dtype), {1, 2, 4});
        kernels::attention(kDevice, in.q.view(), first(in.k), first(in.v), range.view(), 1, o.view(), lse.view());
        return std::vector<Array>{o, lse};
      };
      CHECK(attend(used) == attend(260));
    }
}

TEST_CASE("attention's working memory is planned") {
  if (kOnCpu)
    return;
  for (const Case& c : {Case{2, 1, 300, 4, 2, 16}, Case{2, 65, 300, 1, 1, 16}}) {
    const Inputs in(c, DType::bf16);
    Array o(DType::bf16, c.q()), lse(DType::f32, {c.batch, c.queries, c.heads});
    release_scratch(Device::cuda);
    release_scratch(Device::meta);
    kernels::attention(kDevice, in.q.view(), in.k.view(), in.v.view(), {}, 1, o.view(), lse.view());
    kernels::attention(Meta{}, in.q.view(), in.k.view(), in.v.view(), {}, 1, o.view(), lse.view());
    const auto bytes = [](Device device) {
      const Storage block = scratch_block(device);
      return block ? block.bytes() : 0;
    };
    CHECK(bytes(Device::cuda) == bytes(Device::meta));
    // Three parts of two sequences' rows: outputs and log-sum-exps.
    CHECK(bytes(Device::cuda) == (c.queries == 1 ? 3 * 2 * 4 * (16 + 1) * 4 : 0));
  }
}

TEST_CASE("attention keeps large scores stable") {
  const Case c{1, 40, 40, 1, 1, 8};
  Inputs in(c, DType::f32);
  for (std::int64_t i = 0; i < in.q.numel(); ++i)
    in.q.set(i, 1000 * in.q.at(i));
  const Result r = run(c, in, 1);
  for (std::int64_t i = 0; i < r.o.numel(); ++i)
    CHECK(std::abs(r.o.at(i)) <= 1);
}

TEST_CASE("attention refuses shapes, dtypes and ranges that do not fit") {
  const Array q(DType::f32, {1, 4, 4, 8}), k(DType::f32, {1, 4, 2, 8}), odd(DType::f32, {1, 4, 3, 8}),
      half(DType::bf16, {1, 4, 2, 8}), wide(DType::f32, {1, 1, 1, 257}), flat(DType::f32, {4, 8});
  Array o(DType::f32, {1, 4, 4, 8}), lse(DType::f32, {1, 4, 4}), short_lse(DType::f32, {1, 4, 2});
  const auto attend = [&](const Array& a, const Array& b, const Array& c, ConstView range, Array& log) {
    kernels::attention(kDevice, a.view(), b.view(), c.view(), range, 1, o.view(), log.view());
  };
  CHECK_THROWS_WITH_AS(attend(flat, k, k, {}, lse), doctest::Contains("attention: q: expected [batch"), ShapeError);
  CHECK_THROWS_WITH_AS(attend(q, flat, k, {}, lse), doctest::Contains("attention: k: expected [batch"), ShapeError);
  CHECK_THROWS_WITH_AS(attend(q, odd, odd, {}, lse), doctest::Contains("divide 4 heads, got 3"), ShapeError);
  CHECK_THROWS_WITH_AS(attend(q, k, odd, {}, lse), doctest::Contains("attention: v: expected shape"), ShapeError);
  CHECK_THROWS_WITH_AS(attend(q, half, half, {}, lse), doctest::Contains("attention: k: expected f32"), ShapeError);
  CHECK_THROWS_WITH_AS(attend(wide, wide, wide, {}, lse), doctest::Contains("head_dim of at most 256"), ShapeError);
  CHECK_THROWS_WITH_AS(attend(q, k, k, {}, short_lse), doctest::Contains("attention: lse: expected shape"), ShapeError);
  for (const double scale : {0.0, -1.0})
    CHECK_THROWS_WITH_AS(kernels::attention(kDevice, q.view(), k.view(), k.view(), {}, scale, o.view(), lse.view()),
                         doctest::Contains("attention: scale: expected a positive number"), ShapeError);
  const Array beyond = integers({1, 4, 2}, {0, 1, 0, 2, 0, 3, 0, 5}),
              before = integers({1, 4, 2}, {-1, 1, 0, 2, 0, 3, 0, 4});
  const auto ranges = [&](const Array& range) { finished([&] { attend(q, k, k, range.view(), lse); }); };
  CHECK_THROWS_WITH_AS(ranges(beyond), doctest::Contains("within [0, 4), got [0, 5) at query 3"), IndexError);
  CHECK_THROWS_WITH_AS(ranges(before), doctest::Contains("got [-1, 1) at query 0"), IndexError);
  Array small(DType::u8, {1});
  CHECK_THROWS_WITH_AS(kernels::attention_backward(kDevice, q.view(), q.view(), k.view(), k.view(), o.view(),
                                                   lse.view(), {}, 1, {}, {}, {}, small.view()),
                       doctest::Contains("attention_backward: workspace: expected"), ShapeError);
}
