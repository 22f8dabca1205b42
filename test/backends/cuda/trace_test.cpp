#include "backends/trace.hpp"

#include <doctest/doctest.h>

#include "backends/cuda/runtime.hpp"
#include "backends/kernels/gemm.hpp"
#include "test/backends/array.hpp"
#include "test/backends/cuda/emulated.hpp"

using namespace osteon;
using namespace osteon::cuda;
using namespace osteon::test;

TEST_CASE("a product on a GPU is an event") {
  Array a(DType::f32, {5, 7}), b(DType::f32, {7, 3}), c(DType::f32, {5, 3});
  const TraceRecorder recorder;
  kernels::gemm(Cuda{}, a.view(), b.view(), c.view());
  REQUIRE(recorder.events().size() == 1);
  CHECK(recorder.events()[0].name == "gemm");
  CHECK(recorder.events()[0].flops == 2 * 5 * 7 * 3);
  CHECK(recorder.events()[0].bytes == 4 * (5 * 7 + 7 * 3 + 5 * 3));
}

TEST_CASE("an event waits for its work, and leaves what went wrong in it to the next one who asks") {
  const Buffer from(Memory::device, 64), to(Memory::pinned, 64);
  fill_bytes(Cuda{}, from.data(), 7, 64);
  std::fill_n(to.data(), 64, std::byte{0});
  const TraceRecorder recorder;
  {
    const TraceScope scope("copy");
    copy(Cuda{}, from.data(), to.data(), 64);  // the emulation does it as late as it may
  }
  CHECK(to.data()[63] == std::byte{7});
  emulation::fail_call(0, cudaErrorLaunchFailure);
  { const TraceScope scope("failing"); }
  emulation::fail_no_call();
  CHECK_THROWS_WITH_AS(synchronize(Cuda{}), doctest::Contains("cudaStreamSynchronize: cudaErrorLaunchFailure"),
                       DeviceError);
  CHECK(recorder.events().size() == 2);
}
