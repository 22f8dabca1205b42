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

TEST_CASE("a GPU can be planned for by a program without CUDA and where there is none") {
  CHECK(device_to_plan("cpu") == Device::cpu);
  CHECK(device_to_plan("cuda") == Device::cuda);
  CHECK(device_to_plan("cuda:3") == Device::cuda);
  if (!kHasCuda)
    CHECK(device_to_plan("auto") == Device::cpu);
  for (const char* name : {"", "gpu", "meta", "cpu:0", "cuda:", "cuda:-1", "cuda1", "cuda:x"})
    CHECK_THROWS_WITH_AS(device_to_plan(name), doctest::Contains("device: expected auto, cpu, cuda or cuda:N, got"),
                         ConfigError);
}

TEST_CASE("meta stands for the CPU, or for what it is told to") {
  const Device before = planned_device();
  set_planned_device(Device::cuda);
  CHECK(deciding_device(Device::meta) == Device::cuda);
  CHECK(deciding_device(Device::cpu) == Device::cpu);
  set_planned_device(Device::cpu);
  CHECK(deciding_device(Device::meta) == Device::cpu);
  CHECK(deciding_device(Device::cuda) == Device::cuda);
  set_planned_device(before);
}

TEST_CASE("the device that was opened is where tensors are made") {
  CHECK(open_device("cpu") == Device::cpu);
  CHECK(default_device() == Device::cpu);
  if (!kHasCuda)
    CHECK(open_device("auto") == Device::cpu);
}
