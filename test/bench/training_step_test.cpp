#include "bench/training_step.hpp"

#include <doctest/doctest.h>

namespace osteon::bench {
namespace {

TEST_CASE("bench_step's step loses the same with and without a graph") {
  const ModelShape shape{"tiny", 64, 128, 2, 4, 4, 32, false, 2, 6};
  for (const std::string method : kMethods)
    for (const DType dtype : {DType::f32, DType::bf16}) {
      CAPTURE(method);
      CAPTURE(dtype);
      TrainingStep replayed(shape, method, dtype), eager(shape, method, dtype);
      double before = 0;
      for (int i = 1; i <= 5; ++i) {
        replayed.run();
        eager.run_eagerly();
        CHECK(replayed.loss().item() == eager.loss().item());
        CHECK(replayed.loss().item() != before);
        before = replayed.loss().item();
        CHECK(replayed.captured() == (default_device() == Device::cuda && i > 2));
      }
      replayed.run_eagerly();
      CHECK(!replayed.captured());
    }
}

}  // namespace
}  // namespace osteon::bench
