#define DOCTEST_CONFIG_IMPLEMENT
#include <dlfcn.h>
#include <doctest/doctest.h>
#include <filesystem>
#include <iostream>

#include "backends/cuda/runtime.hpp"
#include "backends/gpu_workspace.hpp"
#ifdef OSTEON_CUDA_EMULATED
#include "backends/cuda/emulation/device_code.hpp"
#endif

namespace {

constexpr int kNotRun = 77;  // as in other test programs that lack what they test

/// Where a driver and a GPU would be, and whether they are.
void print_traces_of_gpu(std::ostream& out) {
  for (const char* file : {"/dev/nvidiactl", "/dev/nvidia0", "/dev/dxg"})
    out << "  " << file << ": " << (std::filesystem::exists(file) ? "there" : "not there") << '\n';
  out << "  libcuda.so.1: ";
  if (dlopen("libcuda.so.1", RTLD_LAZY) != nullptr)
    out << "there\n";
  else
    out << dlerror() << '\n';
}

}  // namespace

// Tests whose tensors are made on a GPU, emulated or not.
int main(int argc, char** argv) {
  try {
    osteon::cuda::open();
    osteon::set_default_device(osteon::Device::cuda);
    osteon::set_planned_device(osteon::Device::cuda);
  } catch (const osteon::cuda::NoGpuError& error) {
    std::cerr << "no GPU or no driver found, nothing was tested: " << error.what() << "\nLooked for:\n";
    print_traces_of_gpu(std::cerr);
    return kNotRun;
  }
#if defined(OSTEON_CUDA_EMULATED) && !defined(OSTEON_TEST_CUDA)
  // Tests of their own have run the kernels in every order of threads.
  osteon::cuda::emulation::launch_mode.every_order = false;
#endif
#ifdef OSTEON_CUDA_EMULATED
  // The emulation fills what is allocated, and what is freed: 32 MiB would take its time.
  osteon::kernels::set_product_workspace(64 << 10);
#endif
  return doctest::Context(argc, argv).run();
}
