#include "backends/kernels/transfer.hpp"

#include <algorithm>
#include <array>
#include <mutex>

#include "backends/check.hpp"
#include "backends/cuda/runtime.hpp"
#include "backends/kernels/elementwise.hpp"

namespace osteon::kernels {
namespace {

#ifdef OSTEON_CUDA_EMULATED
constexpr std::int64_t kHalfBytes = 64 << 10;  // every launch keeps and compares all memory that there is
#else
constexpr std::int64_t kHalfBytes = 4 << 20;  // a few tenths of a millisecond: many times what starting a copy takes
#endif

/// Pinned memory, by way of which the bus runs at full speed and copies do not wait: one half is on its way while the
/// host converts what is in the other one.
struct Staging {
  struct Half {
    cuda::Buffer memory{cuda::Memory::pinned, kHalfBytes};
    cuda::Event free;  ///< passed once the device is done with it
  };

  std::mutex mutex;  ///< held by who uses the rest
  std::array<Half, 2> halves;
  std::int64_t pieces =
      0;  ///< so far: they take turns beyond a transfer, so that a small one need not wait for the last
};

Staging& staging() {
  static auto* const one = new Staging;  // leaked on purpose: CUDA may be gone before static objects are
  return *one;
}

/// One transfer: from and to as many pieces, which fill a half each. `on_device` is what the halves hold.
class Transfer {
 public:
  struct Piece {
    ConstView from;
    View to, staged;
    Staging::Half& half;

    std::int64_t bytes() const { return staged.numel() * size_of(staged.dtype); }
  };

  Transfer(const ConstView& from, const View& to, DType on_device)
      : lock_(staging().mutex),
        count_(from.numel()),
        from_(from.reshape({count_, 1})),
        to_(to.reshape({count_, 1})),
        on_device_(on_device),
        first_(staging().pieces) {
    staging().pieces += pieces();
  }

  std::int64_t pieces() const { return (count_ + most() - 1) / most(); }
  Piece operator[](std::int64_t i) const {
    const std::int64_t begin = i * most(), end = std::min(begin + most(), count_);
    Staging::Half& half = staging().halves[static_cast<std::size_t>((first_ + i) % 2)];
    return {from_.slice_rows(begin, end), to_.slice_rows(begin, end),
            View{half.memory.data(), on_device_, {end - begin, 1}, true}, half};
  }

 private:
  std::int64_t most() const { return kHalfBytes / size_of(on_device_); }

  std::lock_guard<std::mutex> lock_;
  std::int64_t count_;
  ConstView from_;
  View to_;
  DType on_device_;
  std::int64_t first_;
};

void check_not_captured(const char* op) {
  check<cuda::DeviceError>(!capturing(), op, ": the host would have to wait while a graph is captured");
}

}  // namespace

void upload(Cuda device, ConstView from, View to) {
  check_not_captured("upload");
  expect_numel("upload", "to", to, from.numel());
  const Transfer transfer(from, to, to.dtype);
  for (std::int64_t i = 0; i < transfer.pieces(); ++i) {
    const Transfer::Piece piece = transfer[i];
    piece.half.free.synchronize();
    copy(Cpu{}, piece.from, piece.staged);
    cuda::copy(device, piece.staged.data, piece.to.data, piece.bytes());
    piece.half.free.record(device);
  }
}

void download(Cuda device, ConstView from, View to) {
  check_not_captured("download");
  expect_numel("download", "to", to, from.numel());
  const Transfer transfer(from, to, from.dtype);
  for (std::int64_t i = 0; i <= transfer.pieces(); ++i) {
    if (i < transfer.pieces()) {
      const Transfer::Piece next = transfer[i];
      next.half.free.synchronize();  // of what another stream may still be sent
      cuda::copy(device, next.from.data, next.staged.data, next.bytes());
      next.half.free.record(device);
    }
    if (i > 0) {
      const Transfer::Piece arrived = transfer[i - 1];
      arrived.half.free.synchronize();
      copy(Cpu{}, arrived.staged, arrived.to);
    }
  }
  cuda::synchronize(device);  // throws what kernels reported
}

}  // namespace osteon::kernels
