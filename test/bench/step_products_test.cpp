#include "bench/step_products.hpp"

#include <doctest/doctest.h>

#include "backends/flops.hpp"
#include "bench/training_step.hpp"

namespace osteon::bench {
namespace {

/// The FLOPs of a step that multiply with an adapter, or with anything else but keys and values.
double counted(const FlopCount& flops, bool adapter) {
  double total = 0;
  for (const Pass pass : {Pass::forward, Pass::backward})
    total += adapter ? flops.of(pass, Work::adapter) : flops.of(pass, Work::base) + flops.of(pass, Work::head);
  return total;
}

ModelShape odd_shape() { return {"odd", 192, 320, 2, 3, 1, 77, true, 3, 100}; }     // 2 sequences in a chunk, then 1
ModelShape long_shape() { return {"long", 128, 192, 2, 2, 2, 77, false, 2, 600}; }  // sequences cut into chunks

}  // namespace

TEST_CASE("the products listed for the roof are those that a step runs") {
  std::vector<ModelShape> shapes(kShapes.begin(), kShapes.end());
  shapes.push_back(odd_shape());
  shapes.push_back(long_shape());
  for (const ModelShape& shape : shapes)
    for (const std::string method : kMethods)
      for (const DType dtype : {DType::f32, DType::bf16}) {
        CAPTURE(std::string(shape.name));
        CAPTURE(method);
        TrainingStep step(shape, method, dtype, Device::meta);
        step.run();
        reset_flop_count(Device::meta);
        step.run();
        const FlopCount flops = flop_count(Device::meta);
        const StepProducts products = step_products(shape, method, dtype);
        CHECK(flops_of(products.base) == doctest::Approx(counted(flops, false)).epsilon(1e-12));
        CHECK(flops_of(products.adapter) == doctest::Approx(counted(flops, true)).epsilon(1e-12));
      }
}

TEST_CASE("a step without memory needs what a real one uses") {
  const ModelShape shape = long_shape();
  for (const std::string method : kMethods)
    for (const DType dtype : {DType::f32, DType::bf16}) {
      CAPTURE(method);
      std::int64_t peaks[2] = {};
      for (const Device device : {Device::meta, Device::cpu}) {
        release_idle_memory(device);
        const std::int64_t before =
            memory_report(device).live.total();  // other threads keep the scratch of other tests
        TrainingStep step(shape, method, dtype, device);
        reset_memory_peak(device);
        step.run();
        step.run();
        peaks[device == Device::cpu ? 1 : 0] = memory_report(device).peak.total() - before;
      }
      CHECK(peaks[0] == peaks[1]);
    }
}

TEST_CASE("only methods whose products are listed have a roof") {
  CHECK_THROWS_AS(step_products(odd_shape(), "bitfit", DType::f32), ConfigError);
}

}  // namespace osteon::bench
