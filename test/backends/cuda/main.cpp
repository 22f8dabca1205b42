#define DOCTEST_CONFIG_IMPLEMENT
#include <doctest/doctest.h>

#include "backends/cuda/runtime.hpp"

int main(int argc, char** argv) {
  osteon::cuda::open();
  return doctest::Context(argc, argv).run();
}
