#include "backends/open_device.hpp"

#include <doctest/doctest.h>

#include "backends/error.hpp"

using namespace osteon;

TEST_CASE("a device is auto, cpu, or a GPU with its number") {
  CHECK_NOTHROW(check_device("auto"));
  CHECK_NOTHROW(check_device("cpu"));
  for (const char* name : {"", "gpu", "CPU", "cpu:0"})
    CHECK_THROWS_WITH_AS(check_device(name), doctest::Contains("device: expected auto"), ConfigError);
  for (const char* name : {"cuda:", "cuda:x", "cuda:1x", "cuda:-1", "cuda1", "cuda:99999999999999999999"})
    CHECK_THROWS_WITH_AS(check_device(name), doctest::Contains("device: expected auto"), ConfigError);
  for (const char* name : {"cuda", "cuda:0", "cuda:3"}) {
    if (kHasCuda)
      CHECK_NOTHROW(check_device(name));
    else
      CHECK_THROWS_WITH_AS(check_device(name), doctest::Contains("built without CUDA, got cuda"), ConfigError);
  }
}

TEST_CASE("the device that was opened is where tensors are made") {
  CHECK(open_device("cpu") == Device::cpu);
  CHECK(default_device() == Device::cpu);
  if (!kHasCuda)
    CHECK(open_device("auto") == Device::cpu);
}
