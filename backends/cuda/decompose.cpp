#include "backends/kernels/decompose.hpp"

#include "backends/cuda/runtime.hpp"
#include "backends/storage.hpp"

// By the CPU, on copies: adapters are initialised and merged by these a few times in a run.

namespace osteon::kernels {
namespace {

/// A matrix's copy in the host's memory, counted as the CPU's workspace.
class HostCopy {
 public:
  /// Not initialised.
  explicit HostCopy(const ConstView& like)
      : storage_(like.numel() * size_of(like.dtype), Device::cpu, Category::workspace),
        view_{storage_.data(), like.dtype, like.shape, like.given} {}

  const View& view() const { return view_; }
  void store(Cuda device, const View& to) const { cuda::copy(device, view_.data, to.data, storage_.bytes()); }

 private:
  Storage storage_;
  View view_;
};

HostCopy fetch(Cuda device, const ConstView& from) {
  HostCopy copy(from);
  cuda::copy(device, from.data, copy.view().data, from.numel() * size_of(from.dtype));
  cuda::synchronize(device);
  return copy;
}

}  // namespace

void svd(Cuda device, ConstView a, View u, View s, View vt) {
  const HostCopy host_a = fetch(device, a), host_u(u), host_s(s), host_vt(vt);
  svd(Cpu{}, host_a.view(), host_u.view(), host_s.view(), host_vt.view());
  host_u.store(device, u);
  host_s.store(device, s);
  host_vt.store(device, vt);
  cuda::synchronize(device);
}

void qr(Cuda device, ConstView a, View q_factor, View r_factor) {
  const HostCopy host_a = fetch(device, a), host_q(q_factor), host_r(r_factor);
  qr(Cpu{}, host_a.view(), host_q.view(), host_r.view());
  host_q.store(device, q_factor);
  host_r.store(device, r_factor);
  cuda::synchronize(device);
}

void solve_spd(Cuda device, ConstView a, ConstView b, View x) {
  const HostCopy host_a = fetch(device, a), host_b = fetch(device, b), host_x(x);
  solve_spd(Cpu{}, host_a.view(), host_b.view(), host_x.view());
  host_x.store(device, x);
  cuda::synchronize(device);
}

void inverse_cholesky(Cuda device, ConstView a, View x) {
  const HostCopy host_a = fetch(device, a), host_x(x);
  inverse_cholesky(Cpu{}, host_a.view(), host_x.view());
  host_x.store(device, x);
  cuda::synchronize(device);
}

double invert(Cuda device, ConstView a, View inverse) {
  const HostCopy host_a = fetch(device, a), host_inverse(inverse);
  const double condition = invert(Cpu{}, host_a.view(), host_inverse.view());
  host_inverse.store(device, inverse);
  cuda::synchronize(device);
  return condition;
}

}  // namespace osteon::kernels
