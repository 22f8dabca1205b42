#define DOCTEST_CONFIG_IMPLEMENT
#include <doctest/doctest.h>

#include "backends/omp_threads.hpp"

int main(int argc, char** argv) {
  osteon::limit_spinning(argv);
  return doctest::Context(argc, argv).run();
}
