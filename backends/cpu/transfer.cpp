#include "backends/kernels/transfer.hpp"

#include "backends/check.hpp"
#include "backends/kernels/elementwise.hpp"

namespace osteon::kernels {

void upload(Cpu, ConstView from, View to) {
  expect_numel("upload", "to", to, from.numel());
  copy(Cpu{}, from, to);
}

void download(Cpu, ConstView from, View to) {
  expect_numel("download", "to", to, from.numel());
  copy(Cpu{}, from, to);
}

}  // namespace osteon::kernels
