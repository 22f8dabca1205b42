#include "backends/cuda/tensor_core.hpp"

#include <cmath>

#include "test/backends/cuda/emulated.hpp"

using namespace osteon;
using namespace osteon::cuda;
using namespace osteon::test;

// The twins of the instructions of a warp, against the layouts that the PTX ISA writes down.

namespace {

int lane() { return static_cast<int>(threadIdx.x); }

/// Small integers, whose sums are exact.
float a_at(int row, int k) { return static_cast<float>((row * 5 + k * 3) % 7 - 3); }
float b_at(int k, int column) { return static_cast<float>((k * 4 + column * 9) % 11 - 5); }

/// Fragments as in the PTX ISA, 9.7.13.4.8: groupID = lane >> 2, threadID_in_group = lane % 4.
__global__ void multiplies(Global<float> out) {
  const int group = lane() >> 2, in_group = lane() % 4;
  const auto a = [&](int i) {  // a0 to a7
    const int row = i < 2 || (i >= 4 && i < 6) ? group : group + 8;
    return a_at(row, in_group * 2 + (i & 1) + (i < 4 ? 0 : 8));
  };
  const auto b = [&](int i) { return b_at(in_group * 2 + (i & 1) + (i < 2 ? 0 : 8), group); };
  Accumulator c{{1, 1, 1, 1}};
  multiply_add(c, {{pair_of(a(0), a(1)), pair_of(a(2), a(3)), pair_of(a(4), a(5)), pair_of(a(6), a(7))}},
               pair_of(b(0), b(1)), pair_of(b(2), b(3)));
  for (int i = 0; i < 4; ++i)
    out[(i < 2 ? group : group + 8) * 8 + in_group * 2 + (i & 1)] = c.value[i];
}

constexpr int kStride = 24;

/// Fills a tile with numbers that tell row and column.
__global__ void loads_matrices(bool transposed, Global<float> out) {
  OSTEON_SHARED(bf16, tile, 32 * kStride);
  for (int c = 0; c < 8; ++c)
    tile[lane() * kStride + c] = bf16(static_cast<float>(lane() * 8 + c));
  __syncwarp();
  const Fragment f = transposed ? load_transposed(tile, lane() * kStride) : load_matrices(tile, lane() * kStride);
  for (int m = 0; m < 4; ++m) {
    out[(m * kWarp + lane()) * 2] = std::bit_cast<float>(f.pair[m] << 16);
    out[(m * kWarp + lane()) * 2 + 1] = std::bit_cast<float>(f.pair[m] & 0xffff0000U);
  }
}

enum class Wait : std::uint8_t { none, without_barrier, with_barrier };

template <Wait kWait>
__global__ void copies(Global<const float> x, Global<float> out) {
  OSTEON_SHARED(float, tile, 4 * kWarp);
  copy_async(tile, 4 * lane(), x, 4 * lane(), lane() != 2);
  if (kWait != Wait::none)
    wait_for_copies();
  if (kWait == Wait::with_barrier)
    __syncwarp();
  const int from = kWait == Wait::none ? lane() : (lane() + 1) % kWarp;
  for (int k = 0; k < 4; ++k)
    out[4 * from + k] = tile[4 * from + k];
}

__global__ void copies_unaligned(Global<const float> x) {
  OSTEON_SHARED(float, tile, 8);
  copy_async(tile, 1, x, 0, true);
}

__global__ void multiplies_in_half_a_warp() {
  Accumulator c{};
  if (lane() < 16)
    multiply_add(c, {}, 0, 0);
}

__global__ void loads_packs(int i, Global<float> out) {
  OSTEON_SHARED(float, tile, 8);
  store_pack(tile, 4, Pack<float, 4>{1, 2, 3, 4});
  const auto pack = load_pack<4>(tile, i);
  out[0] = pack[3];
}

}  // namespace

TEST_CASE("a product of fragments is that of their matrices") {
  DeviceArray<float> out(16 * 8);
  launch("multiplies", multiplies, 1, kWarp, 0, Cuda{}, out.elements);
  for (int row = 0; row < 16; ++row)
    for (int column = 0; column < 8; ++column) {
      float want = 1;
      for (int k = 0; k < 16; ++k)
        want += a_at(row, k) * b_at(k, column);
      CHECK(out.elements[row * 8 + column] == want);
    }
}

TEST_CASE("a lane gets two elements of its row of each matrix, or of its column") {
  DeviceArray<float> out(4 * kWarp * 2);
  for (const bool transposed : {false, true}) {
    launch("loads_matrices", loads_matrices, 1, kWarp, 0, Cuda{}, transposed, out.elements);
    for (int m = 0; m < 4; ++m)
      for (int of_lane = 0; of_lane < kWarp; ++of_lane)
        for (int i = 0; i < 2; ++i) {
          const int row = of_lane / 4, column = of_lane % 4 * 2 + i;
          const int want = transposed ? (8 * m + column) * 8 + row : (8 * m + row) * 8 + column;
          CHECK(out.elements[(m * kWarp + of_lane) * 2 + i] == static_cast<float>(want));
        }
  }
}

TEST_CASE("copies are there for their thread once waited for, for others behind a barrier, and NaN before") {
  DeviceArray<float> x(4 * kWarp, 5), out(4 * kWarp);
  const Global<const float> in = x.elements;
  launch("copies", copies<Wait::with_barrier>, 1, kWarp, 0, Cuda{}, in, out.elements);
  for (int i = 0; i < 4 * kWarp; ++i)
    CHECK(out.elements[i] == (i / 4 == 2 ? 0.0F : 5.0F));
  launch("copies", copies<Wait::none>, 1, kWarp, 0, Cuda{}, in, out.elements);
  CHECK(std::isnan(out.elements[0]));
  CHECK_SAYS(
      kernel_error([&] { launch("copies", copies<Wait::without_barrier>, 1, kWarp, 0, Cuda{}, in, out.elements); }),
      "reads tile[");
  CHECK_SAYS(kernel_error([&] { launch("copies", copies_unaligned, 1, 1, 0, Cuda{}, in); }),
             "element 1 of tile is not aligned to a vector of 16 bytes");
  CHECK_SAYS(
      kernel_error([&] { launch("copies", copies<Wait::with_barrier>, 1, kWarp, 0, Cuda{}, in + 4, out.elements); }),
      "element 127 of argument 0");
}

TEST_CASE("an instruction of the warp waits for all its lanes") {
  CHECK_SAYS(kernel_error([] { launch("half", multiplies_in_half_a_warp, 1, kWarp, 0, Cuda{}); }),
             "waits at an instruction of the warp");
}

TEST_CASE("vectors in shared memory must be aligned and written") {
  DeviceArray<float> out(1);
  launch("packs", loads_packs, 1, 1, 0, Cuda{}, 4, out.elements);
  CHECK(out.elements[0] == 4);
  CHECK_SAYS(kernel_error([&] { launch("packs", loads_packs, 1, 1, 0, Cuda{}, 2, out.elements); }),
             "element 2 of tile is not aligned to a vector of 16 bytes");
  CHECK_SAYS(kernel_error([&] { launch("packs", loads_packs, 1, 1, 0, Cuda{}, 0, out.elements); }),
             "reads tile[0], which no thread of the block has written");
}
