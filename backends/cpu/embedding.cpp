#include "backends/kernels/embedding.hpp"

#include <cstring>

#include "backends/check.hpp"
#include "backends/cpu/parallel.hpp"
#include "backends/cpu/simd.hpp"
#include "backends/kernels/elementwise.hpp"

namespace osteon::kernels {
namespace {

using namespace cpu;

const std::int32_t* checked_ids(const char* op, const ConstView& ids, std::int64_t vocab_size) {
  expect_dtype(op, "ids", ids, DType::i32);
  const std::int32_t* id = ids.as<std::int32_t>();
  for (std::int64_t n = 0; n < ids.numel(); ++n)
    check<IndexError>(0 <= id[n] && id[n] < vocab_size, op, ": ids: expected ids in [0, ", vocab_size, "), got ", id[n],
                      " at position ", n);
  return id;
}

}  // namespace

void embedding(Cpu, ConstView table, ConstView ids, View y) {
  const std::int64_t h = table.cols(), count = ids.numel();
  const std::int32_t* id = checked_ids("embedding", ids, table.rows());
  check(y.numel() == count * h && y.cols() == h, "embedding: y: expected ", count, " rows of ", h, ", got shape ",
        y.shape);
  dispatch_floating(table.dtype, "embedding", [&](auto source) {
    dispatch_floating(y.dtype, "embedding", [&](auto target) {
      using From = decltype(source);
      using To = decltype(target);
      const From* from = table.as<From>();
      To* to = y.as<To>();
      parallel_rows(count, h, [=](std::int64_t n) {
        const From* in = from + id[n] * h;
        To* out = to + n * h;
#pragma omp simd
        for (std::int64_t j = 0; j < h; ++j)
          out[j] = static_cast<To>(in[j]);
      });
    });
  });
}

void embedding_backward(Cpu device, ConstView dy, ConstView ids, Sink dtable) {
  const std::int64_t h = dtable.view.cols(), count = ids.numel();
  const std::int32_t* id = checked_ids("embedding_backward", ids, dtable.view.rows());
  check(dy.numel() == count * h && dy.cols() == h, "embedding_backward: dy: expected ", count, " rows of ", h,
        ", got shape ", dy.shape);
  if (!dtable.add)
    fill(device, dtable.view, 0.0);
  dispatch_floating(dy.dtype, "embedding_backward", [&](auto source) {
    dispatch_floating(dtable.view.dtype, "embedding_backward", [&](auto target) {
      using From = decltype(source);
      using To = decltype(target);
      using C = decltype(load(source) + load(target));
      const From* from = dy.as<From>();
      To* to = dtable.view.as<To>();
      // Threads own columns: each element's sum runs over the rows in order.
      parallel_ranges(h, count, 64, [=](std::int64_t begin, std::int64_t end) {
        for (std::int64_t n = 0; n < count; ++n) {
          const From* in = from + n * h;
          To* out = to + id[n] * h;
#pragma omp simd
          for (std::int64_t j = begin; j < end; ++j)
            store(out[j], static_cast<C>(out[j]) + static_cast<C>(in[j]));
        }
      });
    });
  });
}

}  // namespace osteon::kernels
